//! Times at which something holds, since the program's start: `always`, `never`, or windows like
//! `3s..9s,20s..`.

use std::time::Duration;

/// Windows of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows(Vec<(Duration, Duration)>);

impl Windows {
    /// At any time.
    pub fn always() -> Self {
        Self(vec![(Duration::ZERO, Duration::MAX)])
    }

    /// At no time.
    pub fn never() -> Self {
        Self(Vec::new())
    }

    /// Whether it holds then.
    pub fn contain(&self, time: Duration) -> bool {
        let mut windows = self.0.iter();
        windows.any(|(from, until)| (*from..*until).contains(&time))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "always" => return Some(Self::always()),
            "never" => return Some(Self::never()),
            _ => {}
        }
        let windows = text.split(',').map(|window| {
            let (from, until) = window.split_once("..")?;
            let until = match until {
                "" => Duration::MAX,
                until => duration(until)?,
            };
            Some((duration(from)?, until))
        });
        windows.collect::<Option<_>>().map(Self)
    }
}

/// `3s`, `1.5s` or `200ms`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s')?, 1.0),
    };
    let number: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(number * unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_from_their_start_until_before_their_end() {
        let windows = Windows::parse("3s..9s,20s..").unwrap();
        let held = [0, 3, 8, 9, 19, 20, 1000].map(|s| windows.contain(Duration::from_secs(s)));
        assert_eq!(held, [false, true, true, false, false, true, true]);
        assert!(!Windows::never().contain(Duration::ZERO));
        assert!(Windows::always().contain(Duration::ZERO));
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("200ms"), Some(Duration::from_millis(200)));
        for mistake in ["3", "-1s", "xs", "s", ""] {
            assert_eq!(duration(mistake), None, "{mistake}");
        }
        assert_eq!(Windows::parse("1s"), None);
    }
}
