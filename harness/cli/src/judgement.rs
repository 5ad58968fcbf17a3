//! A run that is over: judged, told and kept.

use std::path::PathBuf;

use holdfast_core::record::Record;
use holdfast_core::summary::{self, Summary};
use holdfast_core::verdict::{self, Outcome, Verdict};
use holdfast_report::{Colours, Format, Report, SiegeFormat};

use crate::failure::{Failure, chain};
use crate::run_folder::RunFolder;
use crate::terminal;

/// A record with its figures and its verdict.
#[derive(Debug)]
pub(crate) struct Judgement {
    record: Record,
    summary: Summary,
    verdict: Verdict,
}

impl Judgement {
    pub(crate) fn of(record: Record) -> Self {
        let summary = summary::summarize(&record);
        let verdict = verdict::judge(&record, &summary);
        Self {
            record,
            summary,
            verdict,
        }
    }

    pub(crate) fn report(&self) -> Report<'_> {
        Report {
            record: &self.record,
            summary: &self.summary,
            verdict: &self.verdict,
        }
    }

    /// The process exit code.
    pub(crate) fn code(&self) -> u8 {
        self.verdict.outcome.exit_code()
    }

    /// Writes the run's folder and returns where it is; see [`Judgement::unless_graver`].
    pub(crate) fn keep(
        &self,
        folder: RunFolder,
        siege_format: SiegeFormat,
    ) -> Result<Option<PathBuf>, Failure> {
        self.unless_graver(self.write(folder, siege_format))
    }

    /// What was written; nothing, and the failure told, where that failed and the run has something
    /// graver to say.
    pub(crate) fn unless_graver<T>(
        &self,
        written: Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        match written {
            Ok(written) => Ok(Some(written)),
            Err(failure) if self.is_grave() => {
                terminal::say(&failure.to_string());
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// What could not be put back, or was interrupted, is graver than a report that is missing.
    fn is_grave(&self) -> bool {
        matches!(
            self.verdict.outcome,
            Outcome::NotReverted | Outcome::Interrupted | Outcome::Terminated
        )
    }

    fn write(&self, folder: RunFolder, siege_format: SiegeFormat) -> Result<PathBuf, Failure> {
        let mut files = Vec::new();
        for format in Format::ALL {
            let text = format
                .render(&self.report(), siege_format)
                .map_err(|error| unrendered(&error))?;
            files.push((format.file_name(), text.into_bytes()));
        }
        folder.finish(&files)
    }
}

/// A report that cannot be made.
pub(crate) fn unrendered(error: &dyn std::error::Error) -> Failure {
    Failure::carrying_out(format!("cannot make the report: {}", chain(error)))
}

/// Colours where a person watches and wants them.
pub(crate) fn colours() -> Colours {
    if terminal::wants_colour() {
        Colours::Always
    } else {
        Colours::Never
    }
}
