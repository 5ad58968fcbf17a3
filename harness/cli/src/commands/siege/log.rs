//! `--log`: a row for each run in siege's own log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use holdfast_core::siege::Figures;
use holdfast_report::siege;

use crate::failure::Failure;

/// Where siege writes when it is not told.
pub(super) const DEFAULT_FILE: &str = "/var/log/siege.log";

/// An open log.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens the log, so that one that cannot be written is known before the run.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let open = || -> io::Result<File> {
            let mut file = OpenOptions::new().append(true).create(true).open(path)?;
            if file.metadata()?.len() == 0 {
                file.write_all(siege::LOG_HEADER.as_bytes())?;
            }
            Ok(file)
        };
        let file = open().map_err(|error| {
            Failure::input(format!("cannot write the log {}: {error}", path.display()))
                .hint("name another file with --log=FILE")
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line that is not about a run.
    pub(super) fn mark(&mut self, text: &str) -> Result<(), Failure> {
        self.add(&siege::log_mark(text))
    }

    /// Adds a run that ended now.
    pub(super) fn row(&mut self, figures: &Figures) -> Result<(), Failure> {
        let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S");
        self.add(&siege::log_row(figures, &now.to_string()))
    }

    fn add(&mut self, line: &str) -> Result<(), Failure> {
        self.file.write_all(line.as_bytes()).map_err(|error| {
            let path = self.path.display();
            Failure::carrying_out(format!("cannot write the log {path}: {error}"))
        })
    }
}
