//! Settings from environment variables. Every read gives a value at once; what was wrong with it is
//! kept, so that `finish` can name all mistakes together.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// Nobody means more, and clocks can still be added to it: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The variables of one process and the mistakes found in them so far.
#[derive(Debug)]
pub struct Env {
    variables: BTreeMap<String, String>,
    problems: Vec<String>,
}

/// Every setting that could not be understood.
#[derive(Debug, thiserror::Error)]
pub struct EnvError {
    problems: Vec<String>,
}

impl fmt::Display for EnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid settings: {}", self.problems.join("; "))
    }
}

impl Env {
    /// The environment of this process.
    pub fn of_process() -> Self {
        Self {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            problems: Vec::new(),
        }
    }

    /// An environment made of the given pairs, for tests.
    pub fn of_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self {
            variables: pairs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            problems: Vec::new(),
        }
    }

    /// The value of `name`; an empty one counts as absent.
    pub fn text(&self, name: &str) -> Option<String> {
        self.variables
            .get(name)
            .filter(|value| !value.is_empty())
            .cloned()
    }

    /// The value of `name` read as `T`, or `default` when it is absent or wrong.
    pub fn parse<T>(&mut self, name: &str, default: T) -> T
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.read(name, default, |text| {
            text.parse().map_err(|error: T::Err| error.to_string())
        })
    }

    /// Like [`Env::parse`], without a default.
    pub fn parse_optional<T>(&mut self, name: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.read(name, None, |text| {
            text.parse()
                .map(Some)
                .map_err(|error: T::Err| error.to_string())
        })
    }

    /// Like [`Env::parse`], for a number that must be in `range`.
    pub fn within<T>(&mut self, name: &str, default: T, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + fmt::Display,
        T::Err: fmt::Display,
    {
        self.read(name, default, |text| {
            let value = text.parse().map_err(|error: T::Err| error.to_string())?;
            if range.contains(&value) {
                Ok(value)
            } else {
                let (least, most) = (range.start(), range.end());
                Err(format!("must be between {least} and {most}"))
            }
        })
    }

    /// The value of `name` as a length of time such as `610ms`, `4.8ms`, `5s` or `0`, up to a hundred
    /// years.
    pub fn duration(&mut self, name: &str, default: Duration) -> Duration {
        self.read(name, default, parse_duration)
    }

    /// The value of `name` as one of the named `choices`.
    pub fn choice<T: Clone>(&mut self, name: &str, default: T, choices: &[(&str, T)]) -> T {
        self.read(name, default, |text| {
            choices
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, value)| value.clone())
                .ok_or_else(|| {
                    let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                    format!("expected {}", words.join(" or "))
                })
        })
    }

    /// Adds a mistake that a caller found in values that are each well formed.
    pub fn complain(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Fails with every mistake found so far.
    pub fn finish(self) -> Result<(), EnvError> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(EnvError {
                problems: self.problems,
            })
        }
    }

    fn read<T>(
        &mut self,
        name: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let Some(text) = self.text(name) else {
            return default;
        };
        parse(text.trim()).unwrap_or_else(|reason| {
            self.problems.push(format!("{name}={text:?}: {reason}"));
            default
        })
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a length of time such as 610ms, 4.8ms, 5s or 0".to_owned();
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "" if number == 0.0 => 0.0,
        _ => return Err(wrong()),
    };
    if seconds < 0.0 {
        return Err(wrong());
    }
    let length = Duration::try_from_secs_f64(seconds).ok();
    length
        .filter(|length| *length <= LONGEST)
        .ok_or_else(|| "is longer than a hundred years".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_in_every_unit() {
        let mut env = Env::of_pairs([
            ("A", "610ms"),
            ("B", "4.8ms"),
            ("C", "5s"),
            ("D", "200us"),
            ("E", "0"),
            ("F", "1.5m"),
            ("G", "168h"),
        ]);
        let mut read = |name| env.duration(name, Duration::MAX);
        assert_eq!(read("A"), Duration::from_millis(610));
        assert_eq!(read("B"), Duration::from_micros(4800));
        assert_eq!(read("C"), Duration::from_secs(5));
        assert_eq!(read("D"), Duration::from_micros(200));
        assert_eq!(read("E"), Duration::ZERO);
        assert_eq!(read("F"), Duration::from_secs(90));
        assert_eq!(read("G"), Duration::from_secs(604_800));
        env.finish().unwrap();
    }

    #[test]
    fn absent_and_empty_values_give_the_default() {
        let mut env = Env::of_pairs([("EMPTY", "")]);
        assert_eq!(env.parse("EMPTY", 3), 3);
        assert_eq!(env.parse_optional::<u16>("ABSENT"), None);
        env.finish().unwrap();
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let mut env = Env::of_pairs([("PORT", "http"), ("WAIT", "5"), ("BREAKER", "maybe")]);
        env.parse::<u16>("PORT", 8080);
        env.duration("WAIT", Duration::ZERO);
        env.choice("BREAKER", true, &[("on", true), ("off", false)]);
        assert_eq!(
            env.finish().unwrap_err().to_string(),
            "invalid settings: PORT=\"http\": invalid digit found in string; \
             WAIT=\"5\": expected a length of time such as 610ms, 4.8ms, 5s or 0; \
             BREAKER=\"maybe\": expected on or off"
        );
    }

    #[test]
    fn negative_and_endless_lengths_are_refused() {
        let mut env = Env::of_pairs([("A", "-1s"), ("B", "infs"), ("C", "1e400s")]);
        for name in ["A", "B", "C"] {
            env.duration(name, Duration::ZERO);
        }
        assert_eq!(env.finish().unwrap_err().problems.len(), 3);
    }

    #[test]
    fn lengths_that_clocks_cannot_be_added_to_are_refused() {
        let endless = format!("{}h", "9".repeat(30));
        let mut env = Env::of_pairs([("A", "876000h"), ("B", "876001h"), ("C", &endless)]);
        assert_eq!(env.duration("A", Duration::ZERO), LONGEST);
        env.duration("B", Duration::ZERO);
        env.duration("C", Duration::ZERO);
        let problems = env.finish().unwrap_err().problems;
        assert_eq!(problems.len(), 2);
        for problem in problems {
            assert!(
                problem.ends_with("is longer than a hundred years"),
                "{problem}"
            );
        }
    }

    #[test]
    fn a_number_is_within_its_range() {
        let mut env = Env::of_pairs([("A", "1"), ("B", "100"), ("C", "0"), ("D", "101")]);
        let mut read = |name| env.within(name, 50, 1..=100);
        assert_eq!(
            ["A", "B", "C", "D", "E"].map(&mut read),
            [1, 100, 50, 50, 50]
        );
        assert_eq!(
            env.finish().unwrap_err().to_string(),
            "invalid settings: C=\"0\": must be between 1 and 100; \
             D=\"101\": must be between 1 and 100"
        );
    }
}
