//! Kubernetes quantities: `100m`, `0.5`, `64Mi`, `12345678n`.

/// An amount of something: of cores, of bytes. Kept in thousand-millionths, the smallest step that
/// Kubernetes knows.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Default, Debug)]
pub(crate) struct Quantity {
    nanos: i128,
}

const NANO: i128 = 1_000_000_000;
const MILLI: i128 = NANO / 1000;

/// Powers of a thousand, from the smallest, with the place of one.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
/// Powers of 1024, from the first.
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

impl Quantity {
    /// Parses a quantity; what is finer than a thousand-millionth is rounded up.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (sign, unsigned) = match text.as_bytes().first()? {
            b'-' => (-1, &text[1..]),
            b'+' => (1, &text[1..]),
            _ => (1, text),
        };
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let (times, parts) = scale(suffix)?;
        let divisor = 10_i128
            .checked_pow(u32::try_from(fraction.len()).ok()?)?
            .checked_mul(parts)?;
        let scaled = digits.checked_mul(times)?;
        let rounded_up = scaled.checked_add(divisor - 1)? / divisor;
        Some(Self {
            nanos: sign * rounded_up,
        })
    }

    pub(crate) fn of_milli(milli: i64) -> Self {
        Self {
            nanos: i128::from(milli) * MILLI,
        }
    }

    /// In thousandths, rounded up.
    pub(crate) fn milli(self) -> i64 {
        let rounded_up = (self.nanos + MILLI - 1).div_euclid(MILLI);
        i64::try_from(rounded_up).unwrap_or(i64::MAX)
    }

    pub(crate) fn is_positive(self) -> bool {
        self.nanos > 0
    }
}

/// By how much a suffix multiplies to get thousand-millionths, as a fraction.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    if let Some(position) = DECIMAL.iter().position(|known| *known == suffix) {
        return Some((1000_i128.pow(u32::try_from(position).ok()?), 1));
    }
    if let Some(position) = BINARY.iter().position(|known| *known == suffix) {
        let factor = 1024_i128.pow(u32::try_from(position + 1).ok()?);
        return Some((factor * NANO, 1));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    if exponent < 0 {
        Some((NANO, power))
    } else {
        Some((NANO.checked_mul(power)?, 1))
    }
}

/// In the canonical form: no fraction, the largest suffix that allows this.
impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut amount = self.nanos;
        let mut suffixes = DECIMAL.iter();
        let mut suffix = suffixes.next().copied().unwrap_or_default();
        if amount == 0 {
            return f.write_str("0");
        }
        while amount % 1000 == 0
            && let Some(larger) = suffixes.next()
        {
            amount /= 1000;
            suffix = larger;
        }
        write!(f, "{amount}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn milli(text: &str) -> Option<i64> {
        Quantity::parse(text).map(Quantity::milli)
    }

    #[test]
    fn suffixes_and_fractions_are_understood() {
        for (text, expected) in [
            ("100m", 100),
            ("0.1", 100),
            (".5", 500),
            ("2", 2000),
            ("12345678n", 13),
            ("1k", 1_000_000),
            ("1Ki", 1_024_000),
            ("1.5Gi", 1_610_612_736_000),
            ("1e3", 1_000_000),
            ("5E-1", 500),
            ("10E", i64::MAX),
            ("-1", -1000),
        ] {
            assert_eq!(milli(text), Some(expected), "{text}");
        }
        for text in ["", ".", "m", "1.2.3", "1x", "--1", "1e", "e3", "1 "] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }

    #[test]
    fn equal_amounts_are_written_the_same() {
        for (text, canonical) in [
            ("0.1", "100m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("20000000", "20M"),
            ("20971520", "20971520"),
            ("0m", "0"),
        ] {
            let quantity = Quantity::parse(text).unwrap();
            assert_eq!(quantity.to_string(), canonical, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(milli in any::<i64>()) {
            let quantity = Quantity::of_milli(milli);
            prop_assert_eq!(Quantity::parse(&quantity.to_string()), Some(quantity));
        }

        #[test]
        fn no_text_is_too_much(text in "\\PC*") {
            if let Some(quantity) = Quantity::parse(&text) {
                quantity.milli();
            }
        }
    }
}
