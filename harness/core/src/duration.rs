//! Durations as people write them (`610ms`, `30s`, `1.5s`, `2m`) and as records store them
//! (seconds, as a number).

use std::time::Duration;

/// Parses `250us`, `610ms`, `4.8ms`, `30s`, `2m`, `1h`: a decimal number, and its unit without a
/// space between them; spaces around both are ignored, and `µs` is `us`. `None` when the text is not
/// of that form, is negative, or is too large to represent.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let seconds_per_unit = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let value: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(value * seconds_per_unit).ok()
}

/// Text that [`parse`] reads as the same duration: a whole number of the largest unit of which it is
/// a multiple, or else microseconds with three decimals.
#[must_use]
pub fn format(value: Duration) -> String {
    let nanos = value.as_nanos();
    let units: [(u128, &str); 5] = [
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
    ];
    if nanos == 0 {
        return "0s".to_owned();
    }
    match units
        .iter()
        .find(|(length, _)| nanos.is_multiple_of(*length))
    {
        Some((length, unit)) => format!("{}{unit}", nanos / length),
        None => format!("{}.{:03}us", nanos / 1_000, nanos % 1_000),
    }
}

/// Text such as `30s`, as a file has it, for `#[serde(with = "duration::text")]`.
pub mod text {
    use super::{Duration, format, parse};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes what [`format`] makes of it.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*value))
    }

    /// Reads what [`parse`] reads.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| D::Error::custom(format_args!("`{text}` is not a duration")))
    }

    /// The same for `Option<Duration>`.
    pub mod option {
        use super::{Deserialize, Deserializer, Duration, Error, Serializer, format, parse};

        /// Writes what [`format`] makes of it, or null.
        pub fn serialize<S: Serializer>(
            value: &Option<Duration>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match value {
                Some(duration) => serializer.serialize_some(&format(*duration)),
                None => serializer.serialize_none(),
            }
        }

        /// Reads what [`parse`] reads, or null.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Duration>, D::Error> {
            let text = Option::<String>::deserialize(deserializer)?;
            text.map(|text| {
                parse(&text)
                    .ok_or_else(|| D::Error::custom(format_args!("`{text}` is not a duration")))
            })
            .transpose()
        }
    }
}

/// Seconds as a JSON number, for `#[serde(with = "duration::seconds")]`.
pub mod seconds {
    use super::Duration;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the duration as fractional seconds.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(value.as_secs_f64())
    }

    /// Reads fractional seconds; negative and non-finite numbers are refused.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    /// The same for `Option<Duration>`.
    pub mod option {
        use super::{Deserialize, Deserializer, Duration, Error, Serializer};

        /// Writes fractional seconds or null.
        pub fn serialize<S: Serializer>(
            value: &Option<Duration>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match value {
                Some(duration) => serializer.serialize_some(&duration.as_secs_f64()),
                None => serializer.serialize_none(),
            }
        }

        /// Reads fractional seconds or null.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Duration>, D::Error> {
            Option::<f64>::deserialize(deserializer)?
                .map(|seconds| Duration::try_from_secs_f64(seconds).map_err(D::Error::custom))
                .transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_a_number_and_its_unit() {
        for (text, nanos) in [
            ("250us", 250_000),
            ("4.8ms", 4_800_000),
            ("610ms", 610_000_000),
            ("0s", 0),
            ("1.5s", 1_500_000_000),
            (" 2m ", 120_000_000_000),
            ("1h", 3_600_000_000_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for text in [
            "", "s", "30", "30 s", "-1s", "+1s", "1.2.3s", "1d", "1e3s", "1s1s", "∞s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&format!("{}h", "9".repeat(400))), None);
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "0.001us"),
            (250_000, "250us"),
            (610_000_000, "610ms"),
            (90_000_000_000, "90s"),
            (120_000_000_000, "2m"),
            (86_400_000_000_000, "24h"),
        ] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(format(duration), text);
            assert_eq!(parse(text), Some(duration), "{text}");
        }
    }
}
