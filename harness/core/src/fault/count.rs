//! How many pods of a workload a fault takes; which ones, is drawn from the UIDs of those that are ready.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error, de::Visitor};

/// A number of pods, or a share of those there are. In files and records `1` or `"50%"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// So many; at least 1.
    Pods(u32),
    /// So many of a hundred; 1 to 100.
    Percent(u8),
}

impl Count {
    /// Of `total` pods, how many are taken. A share is rounded down, so that it never takes more
    /// than it says, but takes one at least: a fault that takes nothing tests nothing. Never more
    /// than there are.
    #[must_use]
    pub fn of(self, total: u32) -> u32 {
        let wanted = match self {
            Self::Pods(pods) => pods,
            Self::Percent(percent) => {
                let share = u64::from(total) * u64::from(percent) / 100;
                u32::try_from(share).unwrap_or(u32::MAX).max(1)
            }
        };
        wanted.min(total)
    }

    /// Reads `50%`.
    pub(crate) fn percent(text: &str) -> Option<Self> {
        let digits = text.trim().strip_suffix('%')?;
        let whole = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
        let percent = digits.parse().ok().filter(|_| whole)?;
        (1..=100)
            .contains(&percent)
            .then_some(Self::Percent(percent))
    }
}

/// `1 pod`, `3 pods`, `50% of the pods`.
impl std::fmt::Display for Count {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pods(1) => formatter.write_str("1 pod"),
            Self::Pods(pods) => write!(formatter, "{pods} pods"),
            Self::Percent(percent) => write!(formatter, "{percent}% of the pods"),
        }
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Pods(pods) => serializer.serialize_u32(*pods),
            Self::Percent(percent) => serializer.collect_str(&format_args!("{percent}%")),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Form)
    }
}

/// A number or text: which of the two says which count it is.
struct Form;

impl Visitor<'_> for Form {
    type Value = Count;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a number of pods or a percentage such as \"50%\"")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Count, E> {
        let pods = u32::try_from(value).ok().filter(|pods| *pods > 0);
        pods.map(Count::Pods)
            .ok_or_else(|| E::custom(format_args!("{value} is not a number of pods")))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Count, E> {
        let value = u64::try_from(value);
        self.visit_u64(value.map_err(|_| E::custom("a number of pods is not negative"))?)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Count, E> {
        Count::percent(text).ok_or_else(|| E::custom(format_args!("`{text}` is not a percentage")))
    }
}

impl schemars::JsonSchema for Count {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "a number of pods, or a share of them such as \"50%\"",
            "x-kubernetes-int-or-string": true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_down_and_takes_one_at_least() {
        for (count, total, taken) in [
            (Count::Pods(2), 3, 2),
            (Count::Pods(5), 3, 3),
            (Count::Percent(50), 4, 2),
            (Count::Percent(50), 5, 2),
            (Count::Percent(50), 1, 1),
            (Count::Percent(1), 3, 1),
            (Count::Percent(99), 3, 2),
            (Count::Percent(100), 3, 3),
            (Count::Percent(50), 0, 0),
        ] {
            assert_eq!(count.of(total), taken, "{count:?} of {total}");
        }
    }

    #[test]
    fn a_file_and_a_record_have_the_same_form() {
        for (count, text) in [(Count::Pods(3), "3"), (Count::Percent(50), "\"50%\"")] {
            assert_eq!(serde_json::to_string(&count).unwrap(), text);
            assert_eq!(serde_json::from_str::<Count>(text).unwrap(), count);
        }
        for text in [
            "0", "-1", "1.5", "\"3\"", "\"0%\"", "\"101%\"", "\"+5%\"", "\"%\"",
        ] {
            assert!(serde_json::from_str::<Count>(text).is_err(), "{text}");
        }
    }
}
