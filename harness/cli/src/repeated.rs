//! What there would be to say again and again: said once, with how often it came.

use crate::terminal;

/// The latest of what may come several times in a row.
#[derive(Debug, Default)]
pub(crate) struct Repeated {
    text: String,
    times: u32,
}

impl Repeated {
    /// Says it, unless it was the last that came; returns how often it came in a row.
    pub(crate) fn say(&mut self, text: &str) -> u32 {
        for line in self.take(text) {
            terminal::say(&line);
        }
        self.times
    }

    /// It comes no longer: says how often it came, if that was more than once.
    pub(crate) fn end(&mut self) {
        if let Some(line) = std::mem::take(self).count() {
            terminal::say(&line);
        }
    }

    fn take(&mut self, text: &str) -> Vec<String> {
        if self.text == text {
            self.times += 1;
            return Vec::new();
        }
        let before = Self {
            text: text.to_owned(),
            times: 1,
        };
        let before = std::mem::replace(self, before);
        before
            .count()
            .into_iter()
            .chain([text.to_owned()])
            .collect()
    }

    fn count(&self) -> Option<String> {
        (self.times > 1).then(|| format!("(that {} times)", self.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_and_counted() {
        let mut repeated = Repeated::default();
        let said: Vec<_> = ["a", "a", "a", "b", "a"]
            .into_iter()
            .flat_map(|text| repeated.take(text))
            .collect();
        assert_eq!(said, ["a", "(that 3 times)", "b", "a"]);
        assert_eq!(repeated.count(), None);
    }
}
