//! A file to which entries are added, one JSON text per line, and never changed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use service_kit::folder::sync_folder_of;

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// How much of the file is entries that were added for good, in bytes.
    length: u64,
}

/// Why a journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot open {path}")]
    Open { path: PathBuf, source: io::Error },
    #[error("line {line} of {path} cannot be read")]
    Unreadable {
        path: PathBuf,
        line: usize,
        source: serde_json::Error,
    },
    #[error("cannot add to {path}")]
    Append { path: PathBuf, source: io::Error },
}

impl Journal {
    /// Opens the journal, or makes an empty one, and reads its entries. A line without an end is
    /// what a process left that died while it was adding an entry, before it told anybody: it is cut
    /// off. Anything else that cannot be read is no trace of a crash, and is left as it is.
    pub fn open<T: DeserializeOwned>(path: &Path) -> Result<(Self, Vec<T>), JournalError> {
        let (file, bytes) = read(path).map_err(|source| JournalError::Open {
            path: path.to_owned(),
            source,
        })?;
        let mut entries = Vec::new();
        for (line, text) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
            let entry =
                serde_json::from_slice(text).map_err(|source| JournalError::Unreadable {
                    path: path.to_owned(),
                    line,
                    source,
                })?;
            entries.push(entry);
        }
        let journal = Self {
            path: path.to_owned(),
            file,
            length: bytes.len() as u64,
        };
        Ok((journal, entries))
    }

    /// Adds entries, all of them for good or, after an error, perhaps some.
    pub fn append<T: Serialize>(&mut self, entries: &[T]) -> Result<(), JournalError> {
        let mut text = Vec::new();
        self.lines(entries, &mut text)
            .and_then(|()| self.write(&text))
            .map_err(|source| JournalError::Append {
                path: self.path.clone(),
                source,
            })
    }

    fn lines<T: Serialize>(&self, entries: &[T], text: &mut Vec<u8>) -> io::Result<()> {
        for entry in entries {
            serde_json::to_writer(&mut *text, entry)?;
            text.push(b'\n');
        }
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        // An attempt that failed may have left a part of its text.
        self.file.set_len(self.length)?;
        self.file.write_all(text)?;
        self.file.sync_data()?;
        self.length += text.len() as u64;
        Ok(())
    }
}

/// Opens the file and reads its whole lines; a part of a line at its end is removed.
fn read(path: &Path) -> io::Result<(File, Vec<u8>)> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).append(true).create(true).open(path)?;
    sync_folder_of(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |last| last + 1);
    if whole < bytes.len() {
        tracing::warn!(
            path = %path.display(),
            bytes = bytes.len() - whole,
            "removing the beginning of an entry that was never finished"
        );
        file.set_len(whole as u64)?;
        file.sync_all()?;
        bytes.truncate(whole);
    }
    Ok((file, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<(Journal, Vec<String>), JournalError> {
        Journal::open(path)
    }

    #[test]
    fn entries_are_read_as_they_were_added() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, entries) = open(&path).unwrap();
        assert!(entries.is_empty());
        journal.append(&["하나", "two\nlines"]).unwrap();
        journal.append::<&str>(&[]).unwrap();
        journal.append(&[""]).unwrap();
        let (_, entries) = open(&path).unwrap();
        assert_eq!(entries, ["하나", "two\nlines", ""]);
    }

    #[test]
    fn wherever_a_crash_cuts_the_file_the_entries_before_remain_and_more_can_be_added() {
        let whole = "\"first\"\n\"둘째\"\n\"third\"\n".as_bytes();
        for length in 0..=whole.len() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal");
            std::fs::write(&path, &whole[..length]).unwrap();
            let (mut journal, entries) = open(&path).unwrap();
            let complete = whole[..length].iter().filter(|b| **b == b'\n').count();
            assert_eq!(entries.len(), complete);
            journal.append(&["more"]).unwrap();
            let (_, again) = open(&path).unwrap();
            assert_eq!(again[..complete], entries);
            assert_eq!(again[complete..], ["more"]);
        }
    }

    #[test]
    fn what_a_failed_attempt_left_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, _) = open(&path).unwrap();
        journal.append(&["first"]).unwrap();
        journal.file.write_all(b"\"sec").unwrap();
        journal.append(&["third"]).unwrap();
        assert_eq!(open(&path).unwrap().1, ["first", "third"]);
    }

    #[test]
    fn a_whole_line_that_makes_no_sense_is_an_error_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let text = "\"first\"\nsecond\n\"third\"\n";
        std::fs::write(&path, text).unwrap();
        let failure = open(&path).unwrap_err();
        assert!(matches!(failure, JournalError::Unreadable { line: 2, .. }));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
