//! The mistakes of an experiment file, each at its place, as text for people.

use std::fmt;
use std::ops::Range;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
};

/// Every mistake found in one experiment file, in the order of the file.
///
/// `Display` is the full diagnostic: plain text, no colour, with the offending lines.
#[derive(Debug)]
pub struct SpecErrors {
    /// The mistakes; never empty.
    pub errors: Vec<SpecError>,
}

/// One mistake.
#[derive(Debug)]
pub struct SpecError {
    /// What is wrong.
    pub message: String,
    /// What is allowed instead.
    pub allowed: String,
    /// Where; `None` for a mistake on the command line.
    pub place: Option<Place>,
    source: NamedSource<String>,
}

/// A stretch of the experiment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes from the start of the text.
    pub bytes: Range<usize>,
    /// Line of the first character, from 1.
    pub line: usize,
    /// Column of the first character, in characters, from 1.
    pub column: usize,
}

impl Place {
    /// The place of `bytes` in `text`, brought within the text and onto whole characters.
    fn new(text: &str, bytes: &Range<usize>) -> Self {
        let start = text.floor_char_boundary(bytes.start);
        let end = text.floor_char_boundary(bytes.end).max(start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            bytes: start..end,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl SpecError {
    pub(super) fn new(
        file: &str,
        text: &str,
        at: Option<&Range<usize>>,
        message: String,
        allowed: String,
    ) -> Self {
        Self {
            message,
            allowed,
            place: at.map(|bytes| Place::new(text, bytes)),
            source: NamedSource::new(file, text.to_owned()),
        }
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for SpecError {}

impl Diagnostic for SpecError {
    fn help(&self) -> Option<Box<dyn fmt::Display + '_>> {
        Some(Box::new(&self.allowed))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.as_ref().map(|_| &self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let bytes = self.place.as_ref()?.bytes.clone();
        let label = LabeledSpan::new(None, bytes.start, bytes.len());
        Some(Box::new(std::iter::once(label)))
    }
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::none())
            .with_context_lines(1)
            .with_wrap_lines(false);
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            handler.render_report(formatter, error)?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecErrors {}
