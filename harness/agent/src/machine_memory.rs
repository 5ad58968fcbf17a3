//! How much memory the machine has left, and how much of it may be taken.

use std::fs;

use crate::error::Error;

const MEMORY: &str = "/proc/meminfo";

/// Bytes that could be had without swapping.
pub(crate) fn available() -> Result<u64, Error> {
    let read = fs::read_to_string(MEMORY).and_then(|text| {
        parse(&text).ok_or_else(|| std::io::Error::other("it has no line MemAvailable"))
    });
    read.map_err(|source| Error::Machine {
        path: MEMORY,
        source,
    })
}

fn parse(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The most that may be taken when that much is available: half of it.
pub(crate) fn most(available: u64) -> u64 {
    available / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts_in_kibibytes() {
        let text = "MemTotal:  100 kB\nMemAvailable:     64 kB\n";
        assert_eq!(parse(text), Some(65536));
        assert_eq!(parse("MemTotal:  100 kB\n"), None);
        assert_eq!(most(65536), 32768);
    }
}
