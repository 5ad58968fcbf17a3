//! Latency histograms: microseconds, three significant digits, merged exactly, stored as
//! base64 of HdrHistogram's V2 + deflate encoding.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram as Hdr;
use hdrhistogram::serialization::{
    Deserializer as HdrDeserializer, Serializer as _, V2DeflateSerializer,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

/// Counts of durations. Grows with the largest value, never with the number of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram(Hdr<u64>);

impl Default for Histogram {
    fn default() -> Self {
        Self(Hdr::new(3).expect("three significant digits are within HdrHistogram's bounds"))
    }
}

impl Histogram {
    /// Adds one duration, rounded up to a whole microsecond.
    pub fn record(&mut self, value: Duration) {
        let micros = u64::try_from(value.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX >> 2);
        // Not `saturating_record`: that clamps to the current range instead of growing it.
        self.0
            .record(micros.clamp(1, u64::MAX >> 2))
            .expect("an auto-resizing histogram takes any value within u64");
    }

    /// Adds all of `other`, without loss.
    pub fn merge(&mut self, other: &Self) {
        self.0
            .add(&other.0)
            .expect("an auto-resizing histogram of the same precision takes any other");
    }

    /// How many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value at or below which `percent` (0 to 100) of the durations lie; `None` when empty.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.value_at_percentile(percent)))
    }

    /// The arithmetic mean; `None` when empty.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_secs_f64(self.0.mean() / 1e6))
    }

    /// The largest duration; `None` when empty.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.max()))
    }

    /// The histogram itself, for log formats.
    #[must_use]
    pub fn as_hdr(&self) -> &Hdr<u64> {
        &self.0
    }
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() {
            return serializer.serialize_str("");
        }
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.0, &mut bytes)
            .map_err(S::Error::custom)?;
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self::default());
        }
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        let mut read: Hdr<u64> = HdrDeserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(D::Error::custom)?;
        read.auto(true);
        Ok(Self(read))
    }
}
