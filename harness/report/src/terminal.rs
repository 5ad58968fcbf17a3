//! What `holdfast run` prints at its end for people: plain text within [`COLUMNS`] columns, the
//! verdict last, where the eye is when the prompt returns.

use holdfast_core::verdict::Outcome;

use crate::Report;
use crate::content::{
    Align, Table, breakdown, checks, faults, figures, invariants, reconciliation, run, windows,
};
use crate::siege::{self, SiegeFormat};
use crate::words;

/// The width that lines keep within, except for single words that are longer.
pub const COLUMNS: usize = 100;

/// Whether to mark headings and the verdict with terminal colours; the caller knows the terminal
/// and `NO_COLOR`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colours {
    /// Plain text.
    #[default]
    Never,
    /// ANSI escape codes.
    Always,
}

#[derive(Clone, Copy)]
enum Tone {
    Heading,
    Good,
    Bad,
    Doubtful,
}

impl Colours {
    fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Heading => "1",
            Tone::Good => "1;32",
            Tone::Bad => "1;31",
            Tone::Doubtful => "1;33",
        };
        match self {
            Self::Never => text.to_owned(),
            Self::Always => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}

/// The whole text, with a line feed at the end.
#[must_use]
pub fn text(report: &Report<'_>, siege_format: SiegeFormat, colours: Colours) -> String {
    let mut page = Page {
        text: siege::text(&report.summary.siege, siege_format),
        colours,
    };
    page.key_figures(report);
    page.wrapped("  ", &reconciliation::line(report));
    if let Some(table) = figures::reference_table(report) {
        page.heading("Beside the published figures");
        page.table(&table);
    }
    page.heading("Windows as observed (availability strict, latencies of expected answers)");
    page.table(&windows::windows_table(report.summary));
    if let Some(table) = windows::reasons_table(report.summary) {
        page.heading("Failures by reason (windows: load)");
        page.table(&table);
    }
    if let Some(omission) = breakdown::omission(report.summary) {
        page.heading("What the closed load left out");
        page.wrapped("  ", &omission);
    }
    for part in breakdown::parts(report) {
        page.heading(part.title);
        page.wrapped("  ", part.caption);
        page.table(&part.table);
    }
    page.faults(report);
    page.heading("Accounting");
    for equation in checks::equations(&report.summary.accounting) {
        page.wrapped("  ", &equation);
    }
    page.wrapped("  ", checks::equations_line(&report.summary.accounting));
    if let Some(hops) = checks::hops_line(report.summary.hops) {
        page.wrapped("  ", &hops);
    }
    page.heading("Self-check of the load generator");
    page.pairs(&checks::self_check_rows(&report.summary.self_check));
    page.wrapped("  ", checks::self_check_line(&report.summary.self_check));
    let check = &report.summary.self_check;
    for line in check.problems.iter().chain(&check.notes) {
        page.wrapped("  - ", line);
    }
    page.verdict(report);
    page.text
}

/// The verdict alone, with a line feed at the end.
#[must_use]
pub fn verdict(report: &Report<'_>, colours: Colours) -> String {
    let mut page = Page {
        text: String::new(),
        colours,
    };
    page.verdict(report);
    page.text.trim_start().to_owned()
}

struct Page {
    text: String,
    colours: Colours,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn heading(&mut self, heading: &str) {
        let painted = self.colours.paint(Tone::Heading, heading);
        self.text.push('\n');
        self.line(&painted);
    }

    /// A paragraph whose first line begins with `mark` and whose others are indented as far.
    fn wrapped(&mut self, mark: &str, text: &str) {
        let indent = " ".repeat(mark.chars().count());
        let mut line = mark.to_owned();
        let mut empty = true;
        for word in text.split_whitespace() {
            let longer = line.chars().count() + 1 + word.chars().count() > COLUMNS;
            if longer && !empty {
                self.line(&line);
                line.clone_from(&indent);
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        self.line(&line);
    }

    fn key_figures(&mut self, report: &Report<'_>) {
        self.text.push('\n');
        for figure in figures::key_figures(report) {
            let reference = figure.reference.unwrap_or_default();
            let separator = if reference.is_empty() { "" } else { "; " };
            let mark = format!("{:<20} {:>12}  ", figure.name, figure.value);
            self.wrapped(&mark, &format!("{reference}{separator}{}", figure.note));
        }
        self.text.push('\n');
    }

    fn table(&mut self, table: &Table) {
        let widths: Vec<usize> = (0..table.head.len())
            .map(|column| {
                let cells = table.rows.iter().map(|row| row[column].chars().count());
                cells
                    .chain([table.head[column].0.chars().count()])
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let head: Vec<String> = table.head.iter().map(|(name, _)| name.clone()).collect();
        for row in std::iter::once(&head).chain(&table.rows) {
            let mut line = String::from(" ");
            for ((align, cell), width) in table.aligned(row).zip(&widths) {
                line.push(' ');
                line.push_str(&match align {
                    Align::Left => format!("{cell:<width$} "),
                    Align::Right => format!("{cell:>width$} "),
                });
            }
            self.line(&line);
        }
    }

    fn pairs(&mut self, pairs: &[(&str, String)]) {
        let names = pairs.iter().map(|(name, _)| name.chars().count());
        let width = names.max().unwrap_or(0);
        for (name, value) in pairs {
            self.wrapped(&format!("  {name:<width$}  "), value);
        }
    }

    fn faults(&mut self, report: &Report<'_>) {
        let faults = faults::faults(report.record);
        if faults.is_empty() {
            return;
        }
        self.heading("Faults as observed (seconds since the load began)");
        for fault in faults {
            self.wrapped("  ", &format!("{}: {}", fault.name, fault.what));
            self.wrapped("    injected  ", &fault.injected);
            self.wrapped("    undone    ", &fault.recovered);
            for error in &fault.errors {
                self.wrapped("    error     ", error);
            }
        }
        if let Some(left) = faults::left_behind(report.record) {
            self.wrapped("  left behind   ", &left);
        }
    }

    fn verdict(&mut self, report: &Report<'_>) {
        let outcome = report.verdict.outcome;
        let tone = match outcome {
            Outcome::Passed | Outcome::Measured => Tone::Good,
            Outcome::Failed | Outcome::NotReverted => Tone::Bad,
            Outcome::Inconclusive
            | Outcome::Aborted
            | Outcome::Interrupted
            | Outcome::Terminated => Tone::Doubtful,
        };
        let word = self.colours.paint(tone, words::outcome(outcome));
        self.text.push('\n');
        let sentence = words::outcome_sentence(outcome);
        self.line(&format!(
            "{word}  {sentence} (exit code {})",
            outcome.exit_code()
        ));
        if let Some(line) = run::profile_line(report.record) {
            self.wrapped("  ", line);
        }
        for judged in &report.verdict.objectives {
            self.wrapped(&format!("  {:<16}  ", checks::result(judged)), &judged.text);
        }
        for judged in &report.verdict.invariants {
            self.wrapped(
                &format!("  {:<16}  ", invariants::result(judged)),
                &judged.text,
            );
        }
        for reason in checks::other_reasons(report.verdict) {
            self.wrapped("  - ", reason);
        }
    }
}
