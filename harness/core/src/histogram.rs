//! Latency histograms: microseconds, three significant digits, merged exactly, stored as
//! base64 of HdrHistogram's V2 + deflate encoding.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram as Hdr;
use hdrhistogram::serialization::{
    DeserializeError, Deserializer as HdrDeserializer, Serializer as _, V2DeflateSerializer,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Counts of durations. Grows with the largest value, never with the number of values.
#[derive(Clone, Debug)]
pub struct Histogram(Form);

/// A long run keeps thousands of histograms: what is not recorded into stays encoded, in some
/// hundred bytes instead of 16 to 120 KB.
#[derive(Clone, Debug)]
enum Form {
    /// V2 + deflate; no bytes at all when nothing was recorded.
    Packed(Vec<u8>),
    /// Ready to be recorded into.
    Open(Hdr<u64>),
}

impl Default for Histogram {
    fn default() -> Self {
        Self(Form::Packed(Vec::new()))
    }
}

impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.as_hdr() == other.as_hdr()
    }
}

impl Histogram {
    /// Adds one duration, rounded up to a whole microsecond.
    pub fn record(&mut self, value: Duration) {
        let micros = u64::try_from(value.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX >> 2);
        // Not `saturating_record`: that clamps to the current range instead of growing it.
        self.open()
            .record(micros.clamp(1, u64::MAX >> 2))
            .expect("an auto-resizing histogram takes any value within u64");
    }

    /// Adds all of `other`, without loss.
    pub fn merge(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        self.open()
            .add(&*other.as_hdr())
            .expect("an auto-resizing histogram of the same precision takes any other");
    }

    /// How many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.as_hdr().len()
    }

    /// The value at or below which `percent` (0 to 100) of the durations lie; `None` when empty.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        (!self.is_empty())
            .then(|| Duration::from_micros(self.as_hdr().value_at_percentile(percent)))
    }

    /// The arithmetic mean; `None` when empty.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        (!self.is_empty()).then(|| Duration::from_secs_f64(self.as_hdr().mean() / 1e6))
    }

    /// The largest duration; `None` when empty.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        (!self.is_empty()).then(|| Duration::from_micros(self.as_hdr().max()))
    }

    /// With what was not recorded because its sender hung: for each duration longer than
    /// `interval`, those of senders that would have come after it at that pace
    /// (HdrHistogram's correction for coordinated omission).
    #[must_use]
    pub fn corrected(&self, interval: Duration) -> Self {
        let micros = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
        let mut corrected = self.as_hdr().clone_correct(micros.max(1));
        corrected.auto(true);
        Self(Form::Open(corrected))
    }

    /// The histogram itself, for log formats.
    #[must_use]
    pub fn as_hdr(&self) -> Cow<'_, Hdr<u64>> {
        match &self.0 {
            Form::Open(hdr) => Cow::Borrowed(hdr),
            Form::Packed(bytes) => Cow::Owned(unpacked(bytes)),
        }
    }

    /// Takes as little memory as it can until something is recorded again.
    pub(crate) fn pack(&mut self) {
        self.0 = Form::Packed(self.encoded().into_owned());
    }

    fn is_empty(&self) -> bool {
        match &self.0 {
            Form::Packed(bytes) => bytes.is_empty(),
            Form::Open(hdr) => hdr.is_empty(),
        }
    }

    fn open(&mut self) -> &mut Hdr<u64> {
        if let Form::Packed(bytes) = &self.0 {
            self.0 = Form::Open(unpacked(bytes));
        }
        match &mut self.0 {
            Form::Open(hdr) => hdr,
            Form::Packed(_) => unreachable!("it was opened above"),
        }
    }

    fn encoded(&self) -> Cow<'_, [u8]> {
        match &self.0 {
            Form::Packed(bytes) => Cow::Borrowed(bytes),
            Form::Open(hdr) if hdr.is_empty() => Cow::Borrowed(&[]),
            Form::Open(hdr) => {
                let mut bytes = Vec::new();
                V2DeflateSerializer::new()
                    .serialize(hdr, &mut bytes)
                    .expect("counts of requests are below 2^63 and memory takes any byte");
                bytes.shrink_to_fit();
                Cow::Owned(bytes)
            }
        }
    }
}

fn unpacked(bytes: &[u8]) -> Hdr<u64> {
    if bytes.is_empty() {
        return Hdr::new(3).expect("three significant digits are within HdrHistogram's bounds");
    }
    decode(bytes).expect("packed bytes were encoded or checked here")
}

fn decode(mut bytes: &[u8]) -> Result<Hdr<u64>, DeserializeError> {
    let mut hdr = HdrDeserializer::new().deserialize(&mut bytes)?;
    hdr.auto(true);
    Ok(hdr)
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.encoded()))
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        if !bytes.is_empty() {
            decode(&bytes).map_err(D::Error::custom)?;
        }
        Ok(Self(Form::Packed(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Environment, Event, RunStarted, Stamped, Tick};
    use crate::outcome::{Sample, Source};
    use crate::plan::plan;
    use crate::record::Record;
    use crate::spec::{self, SourceFile};

    fn record() -> Record {
        let source = SourceFile {
            name: "hour.yaml",
            text: "apiVersion: holdfast.dev/v1alpha1
kind: Experiment
metadata: {name: hour}
spec:
  load:
    target: {url: 'http://localhost:1'}
    stages: [{users: 1, duration: 1h}]
    requests: [{get: /}]
",
            directory: std::path::Path::new("."),
        };
        let experiment = spec::parse(&source, &[], &|_| true).unwrap();
        Record::new(RunStarted {
            run_id: String::new(),
            started_at: String::new(),
            source_file: source.name.to_owned(),
            command: Vec::new(),
            profile: crate::experiment::Profile::Full,
            params: [].into(),
            environment: Environment::default(),
            plan: plan(&experiment, 1),
        })
    }

    /// A hundred answers, from milliseconds to half a minute.
    fn tick(second: u32) -> Tick {
        let mut tick = Tick::new(Source::Users, second, false);
        for number in 0..100_u64 {
            let micros = (u64::from(second) + 1) * (number + 1) * 7919 % 30_000_000;
            let time = Duration::from_micros(micros);
            tick.count(&Sample {
                service_time: time,
                response_time: None,
                status: Some(200),
                body_bytes: 1,
                failure: None,
                hops: Vec::new(),
                endpoint: None,
            });
        }
        tick
    }

    fn bytes_held(histogram: &Histogram) -> usize {
        match &histogram.0 {
            Form::Packed(bytes) => bytes.capacity(),
            Form::Open(hdr) => hdr.distinct_values() * size_of::<u64>(),
        }
    }

    #[test]
    fn an_hour_of_ticks_takes_less_than_a_megabyte() {
        let mut record = record();
        for second in 0..3600 {
            record.apply(&Stamped {
                at: Duration::from_secs(u64::from(second)),
                event: Event::Tick(Box::new(tick(second))),
            });
        }
        let histograms = record
            .ticks
            .iter()
            .flat_map(|tick| [&tick.latency_expected, &tick.latency_unexpected]);
        let held: usize = histograms.map(bytes_held).sum();
        assert!(held < 1 << 20, "{held} bytes");
        assert!(bytes_held(&tick(0).latency_expected) > 16 << 10);
    }

    #[test]
    fn the_correction_adds_what_a_hanging_sender_left_out() {
        let mut times = Histogram::default();
        let secs = Duration::from_secs;
        times.record(secs(10));
        times.record(secs(1));
        // As if one had come in each of the two-second cycles: 10, 8, 6, 4 and 2 s.
        let corrected = times.corrected(secs(2));
        assert_eq!(corrected.count(), 2 + 4);
        assert_eq!(corrected.max(), times.max());
        let mean = corrected.mean().unwrap().as_secs_f64();
        assert!((mean - 31.0 / 6.0).abs() < 0.01, "{mean}");
        assert_eq!(times.corrected(secs(11)), times);
        assert_eq!(Histogram::default().corrected(secs(1)).count(), 0);
    }

    #[test]
    fn packing_changes_no_figure() {
        let open = tick(17).latency_expected;
        let mut packed = open.clone();
        packed.pack();
        assert!(matches!(packed.0, Form::Packed(_)));
        assert_eq!(packed, open);
        assert_eq!(packed.count(), 100);
        for percent in [0.0, 50.0, 95.0, 99.0, 100.0] {
            assert_eq!(packed.percentile(percent), open.percentile(percent));
        }
        assert_eq!((packed.mean(), packed.max()), (open.mean(), open.max()));
        let json = |histogram: &Histogram| serde_json::to_string(histogram).unwrap();
        assert_eq!(json(&packed), json(&open));

        let mut merged = [tick(3).latency_expected, tick(3).latency_expected];
        merged[0].merge(&open);
        merged[1].merge(&packed);
        assert_eq!(json(&merged[0]), json(&merged[1]));
        packed.record(Duration::from_secs(3600));
        assert_eq!(packed.count(), 101);
    }
}
