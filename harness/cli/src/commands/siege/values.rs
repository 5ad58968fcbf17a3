//! The values of siege's options, as siege writes them, and of ours beside them.

use std::time::Duration;

use holdfast_core::duration;
use holdfast_core::spec::{LONGEST, RATES};

/// How often each user sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repetitions {
    /// So many requests.
    Times(u64),
    /// One request for each URL.
    Once,
}

/// `--reps`: a number, or `once`.
pub(super) fn repetitions(text: &str) -> Result<Repetitions, String> {
    if text == "once" {
        return Ok(Repetitions::Once);
    }
    let times = text.parse().ok().filter(|times| *times > 0);
    times
        .map(Repetitions::Times)
        .ok_or_else(|| "expected a whole number above 0, or `once`".to_owned())
}

/// `--time`: a whole number and S, M or H in either case; minutes without one.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let seconds_per_unit = match text[digits.len()..].trim().to_ascii_uppercase().as_str() {
        "S" => Some(1),
        "M" | "" => Some(60),
        "H" => Some(3600),
        _ => None,
    };
    let count = digits.parse::<u32>().ok().filter(|count| *count > 0);
    let seconds = seconds_per_unit
        .zip(count)
        .map(|(unit, count)| u64::from(count) * unit);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "expected a whole number with S, M or H, e.g. 60S, 5M or 1H".to_owned())
}

/// `--delay`: seconds.
pub(super) fn delay(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(Duration::try_from_secs_f64);
    seconds
        .and_then(Result::ok)
        .filter(|delay| *delay <= LONGEST)
        .ok_or_else(|| "expected seconds, at most a day, e.g. 1 or 0.5".to_owned())
}

/// `--header`: `Name: value`.
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        }
        _ => Err("expected 'Name: value'".to_owned()),
    }
}

/// `--timeout`: a duration of the experiment file, or seconds.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    let timeout = seconds.or_else(|| duration::parse(text));
    timeout
        .filter(|timeout| !timeout.is_zero() && *timeout <= LONGEST)
        .ok_or_else(|| {
            "expected a time above 0, at most 24h, e.g. 30s, 500ms or 30 (seconds)".to_owned()
        })
}

/// `--rate` and `--prober`: requests per second, with or without `/s`.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse();
    number
        .ok()
        .filter(|rate| RATES.contains(rate))
        .ok_or_else(|| {
            "expected requests per second, 0.001 to 100000, e.g. 200 or 0.5/s".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_siege_writes_them() {
        for (text, seconds) in [
            ("60S", 60),
            ("60s", 60),
            ("5M", 300),
            ("2m", 120),
            ("1H", 3600),
            ("90", 5400),
            ("5 M", 300),
        ] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "S",
            "0S",
            "1.5M",
            "10X",
            "-1S",
            "1e3S",
            "99999999999S",
            "5 M 3",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn repetitions_delays_and_rates() {
        assert_eq!(repetitions("10"), Ok(Repetitions::Times(10)));
        assert_eq!(repetitions("once"), Ok(Repetitions::Once));
        assert_eq!(delay("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(timeout("30"), timeout("30s"));
        assert_eq!((rate("200"), rate("0.5/s")), (Ok(200.0), Ok(0.5)));
        assert_eq!(header("X-A: b:c"), Ok(("x-a".to_owned(), "b:c".to_owned())));
        let wrong = [
            repetitions("0").is_err(),
            repetitions("twice").is_err(),
            delay("-1").is_err(),
            delay("nan").is_err(),
            timeout("0").is_err(),
            rate("0").is_err(),
            rate("inf").is_err(),
            delay("1e19").is_err(),
            timeout("18446744073709551615").is_err(),
            header("no colon").is_err(),
            header(": value").is_err(),
        ];
        assert_eq!(wrong, [true; 11]);
    }
}
