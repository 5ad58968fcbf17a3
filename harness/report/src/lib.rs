//! Lays out what a run said, one file per format: siege's text and JSON, the record, the latency
//! log, Markdown, HTML, the machine result and the terminal's text.
//!
//! Every function here is pure: values in, text out. Figures come from
//! [`holdfast_core::summary`] and judgements from [`holdfast_core::verdict`]; formats only lay
//! them out, with words they share, so that the same number reads the same everywhere.

use holdfast_core::experiment::Reference;
use holdfast_core::record::Record;
use holdfast_core::summary::Summary;
use holdfast_core::verdict::Verdict;

mod content;
mod html;
mod latency_log;
mod machine;
mod markdown;
pub mod siege;
pub mod terminal;
mod timeline;
mod words;

pub use machine::result_json;
pub use siege::SiegeFormat;
pub use terminal::Colours;

/// A run with everything that can be said about it.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// What happened.
    pub record: &'a Record,
    /// The figures of `record`.
    pub summary: &'a Summary,
    /// The judgement of `summary`.
    pub verdict: &'a Verdict,
}

impl<'a> Report<'a> {
    /// The published figures to print beside ours.
    pub(crate) fn reference(&self) -> Option<&'a Reference> {
        self.record.run.plan.reference.as_ref()
    }
}

/// A file that a run leaves in its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// siege's summary block.
    SiegeText,
    /// siege's JSON.
    SiegeJson,
    /// The record, from which every other file can be made again.
    RecordJson,
    /// Latencies second by second as an HdrHistogram V2 interval log.
    LatencyLog,
    /// A summary in GitHub-flavoured Markdown, for a pull request or a job page.
    Markdown,
    /// The report for people: one page without scripts that asks nothing of the network.
    Html,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] = [
        Self::SiegeText,
        Self::SiegeJson,
        Self::RecordJson,
        Self::LatencyLog,
        Self::Markdown,
        Self::Html,
    ];

    /// The file's name in the run's folder.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::SiegeText => "siege.txt",
            Self::SiegeJson => "siege.json",
            Self::RecordJson => "record.json",
            Self::LatencyLog => "latency.hdr",
            Self::Markdown => "summary.md",
            Self::Html => "report.html",
        }
    }

    /// The file's text.
    ///
    /// # Errors
    ///
    /// When the record holds something the format cannot express, e.g. a start time that is not
    /// RFC 3339.
    pub fn render(
        self,
        report: &Report<'_>,
        siege_format: SiegeFormat,
    ) -> Result<String, RenderError> {
        match self {
            Self::SiegeText => Ok(siege::text(&report.summary.siege, siege_format)),
            Self::SiegeJson => Ok(siege::json(&report.summary.siege)),
            Self::RecordJson => machine::record_json(report.record),
            Self::LatencyLog => latency_log::render(report.record),
            Self::Markdown => Ok(markdown::render(report, siege_format)),
            Self::Html => html::render(report, siege_format),
        }
        .map_err(|cause| RenderError {
            format: self,
            cause,
        })
    }
}

/// A format could not be made from a record.
#[derive(Debug, thiserror::Error)]
#[error("cannot render {}", format.file_name())]
pub struct RenderError {
    format: Format,
    #[source]
    cause: Cause,
}

/// Why a format could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error("the record's start time {text:?} is not RFC 3339")]
    StartTime {
        text: String,
        #[source]
        source: jiff::Error,
    },
    #[error("a histogram cannot be encoded")]
    Histogram(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("a value cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    #[error("the page's template failed")]
    Template(#[from] askama::Error),
}
