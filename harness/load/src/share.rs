//! A process's part of a load that several send together.

use serde::{Deserialize, Serialize};

/// Which part of a load is this process's: every `count`th user and arrival, from `index` on.
/// Together the shares are the whole load, none of it twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// This process's number, from 0, below `count`.
    pub index: u32,
    /// How many processes there are; at least 1.
    pub count: u32,
}

impl Default for Share {
    fn default() -> Self {
        Self { index: 0, count: 1 }
    }
}

impl Share {
    /// How many of the numbers below `whole` are in it.
    pub(crate) fn of(self, whole: u32) -> u32 {
        whole.saturating_sub(self.index).div_ceil(self.count)
    }

    /// Its `own`th number, from 0.
    pub(crate) fn number(self, own: u32) -> u32 {
        self.index + own * self.count
    }

    /// What of a sequence is in it.
    pub(crate) fn among<Item>(self, all: impl Iterator<Item = Item>) -> impl Iterator<Item = Item> {
        all.skip(self.index as usize).step_by(self.count as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_the_whole_and_nothing_twice() {
        for (whole, count) in [(0, 3), (1, 3), (7, 3), (9, 3), (5, 1)] {
            let mut numbers: Vec<u32> = (0..count)
                .map(|index| Share { index, count })
                .flat_map(|share| (0..share.of(whole)).map(move |own| share.number(own)))
                .collect();
            numbers.sort_unstable();
            assert_eq!(numbers, Vec::from_iter(0..whole));
        }
        let share = Share { index: 1, count: 3 };
        assert_eq!(Vec::from_iter(share.among(0..9)), [1, 4, 7]);
    }
}
