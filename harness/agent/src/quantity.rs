//! Amounts as they are written on the command line.

use std::time::Duration;

/// `1048576`, `256Mi`, `1G`: bytes, with the suffixes of Kubernetes.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (number, suffix) = split(text);
    let factor: u64 = match suffix {
        "" => 1,
        "k" => 1000,
        "M" => 1000_u64.pow(2),
        "G" => 1000_u64.pow(3),
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return Err(expected("bytes such as 1048576, 256Mi or 1G")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| expected("bytes such as 1048576, 256Mi or 1G"))
}

/// `200ms`, `1.5s`, `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err(expected("a duration such as 200ms, 1.5s or 2m")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| expected("a duration such as 200ms, 1.5s or 2m"))?;
    Duration::try_from_secs_f64(number * seconds)
        .map_err(|_| expected("a duration such as 200ms, 1.5s or 2m"))
}

/// A part of everything: from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct Share(pub(crate) f64);

impl Share {
    pub(crate) const NONE: Self = Self(0.0);
}

/// `12.5%` or `12.5`.
pub(crate) fn percent(text: &str) -> Result<Share, String> {
    let (number, sign) = split(text);
    let percent: Option<f64> = number.parse().ok();
    percent
        .filter(|percent| matches!(sign, "" | "%") && (0.0..=100.0).contains(percent))
        .map(|percent| Share(percent / 100.0))
        .ok_or_else(|| expected("a percentage from 0 to 100, such as 12.5%"))
}

/// A number and its unit.
fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    text.split_at(end)
}

fn expected(what: &str) -> String {
    format!("expected {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_suffixes_of_kubernetes() {
        assert_eq!(bytes("256Mi"), Ok(256 << 20));
        assert_eq!(bytes("3k"), Ok(3000));
        assert_eq!(bytes("17"), Ok(17));
        for wrong in ["", "Mi", "1.5Gi", "-1", "1mb", "99999999999Gi"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "5", "s", "-1s", "1h", "1..2s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn percentages_end_at_a_hundred() {
        assert_eq!(percent("12.5%"), Ok(Share(0.125)));
        assert_eq!(percent("100"), Ok(Share(1.0)));
        for wrong in ["", "%", "101", "-1%", "1percent", "NaN"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }
}
