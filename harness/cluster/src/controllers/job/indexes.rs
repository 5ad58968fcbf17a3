//! Sets of completion indexes, written as in a Job's status: `0,2-4`.

use std::collections::BTreeSet;
use std::fmt;

#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(super) struct Indexes(BTreeSet<u32>);

impl Indexes {
    /// Reads indexes below `limit`. What is no index is left out: a status may be written by anyone.
    pub(super) fn parse(text: &str, limit: u32) -> Self {
        let ranges = text.split(',').filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.parse::<u32>().ok()?, last.parse::<u32>().ok()?))
        });
        Self(
            ranges
                .flat_map(|(first, last)| first..=last.min(limit.saturating_sub(1)))
                .filter(|index| *index < limit)
                .collect(),
        )
    }

    pub(super) fn insert(&mut self, index: u32) -> bool {
        self.0.insert(index)
    }

    pub(super) fn contains(&self, index: u32) -> bool {
        self.0.contains(&index)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut separator = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while rest.next_if_eq(&(last + 1)).is_some() {
                last += 1;
            }
            match last - first {
                0 => write!(formatter, "{separator}{first}")?,
                1 => write!(formatter, "{separator}{first},{last}")?,
                _ => write!(formatter, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn indexes_are_written_as_ranges() {
        for text in ["", "0", "0,2-4", "1,3,4,7-9"] {
            assert_eq!(Indexes::parse(text, 10).to_string(), text);
        }
        assert_eq!(
            Indexes::parse("4,x,2-99999999999,8-9,-1", 9).to_string(),
            "4,8"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(numbers: BTreeSet<u8>) {
            let indexes = Indexes(numbers.iter().map(|number| u32::from(*number)).collect());
            prop_assert_eq!(&Indexes::parse(&indexes.to_string(), 256), &indexes);
        }

        #[test]
        fn any_text_is_read(text: String) {
            prop_assert!(Indexes::parse(&text, 100).len() <= 100);
        }
    }
}
