//! Amounts of memory, disk and network as people write them: `256Mi`, `1MiB`, `4096`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A number of bytes. In files and records it is text, with the largest binary unit that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, schemars::JsonSchema)]
#[schemars(with = "String")]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 4] = [
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
];

impl Bytes {
    /// Parses a whole number of bytes, or of `Ki`, `Mi`, `Gi`, `Ti` with or without a `B` after
    /// it. `None` when the text is not of that form or too large to represent.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit());
        let (number, unit) = text.split_at(end.unwrap_or(text.len()));
        let factor = match unit.strip_suffix('B').unwrap_or(unit) {
            "" => 1,
            unit => UNITS.iter().find(|(name, _)| *name == unit)?.1,
        };
        number.parse::<u64>().ok()?.checked_mul(factor).map(Self)
    }
}

impl std::fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fits = |(_, factor): &&(&str, u64)| self.0 > 0 && self.0.is_multiple_of(*factor);
        match UNITS.iter().find(fits) {
            Some((unit, factor)) => write!(formatter, "{}{unit}", self.0 / factor),
            None => write!(formatter, "{}", self.0),
        }
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom(format_args!("`{text}` is not a number of bytes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_binary_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("512B", 512),
            ("1Ki", 1024),
            ("256Mi", 256 << 20),
            (" 1MiB ", 1 << 20),
            ("2Gi", 2 << 30),
        ] {
            assert_eq!(Bytes::parse(text), Some(Bytes(bytes)), "{text}");
        }
        for text in [
            "",
            "Mi",
            "-1",
            "1.5Mi",
            "1M",
            "1mi",
            "1 Mi",
            "1BB",
            "99999999999Ti",
        ] {
            assert_eq!(Bytes::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_largest_unit_that_fits_is_written() {
        for (bytes, text) in [
            (0, "0"),
            (1000, "1000"),
            (1 << 20, "1Mi"),
            (3 << 29, "1536Mi"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
