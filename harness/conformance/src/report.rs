//! What a run of the suite found: values, and a table of them for people.

use serde::Serialize;

use crate::check::Check;
use crate::context::Bounds;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The cluster does what is expected.
    Passed,
    /// It does something else.
    Failed,
    /// It was not put to the test, which says nothing about the cluster.
    Skipped,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "pass",
            Self::Failed => "FAIL",
            Self::Skipped => "skip",
        }
    }
}

/// One check's result.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The check's number.
    pub check: u16,
    /// The name of its group.
    pub group: &'static str,
    /// The check's name.
    pub title: &'static str,
    /// What a faithful cluster does.
    pub expected: &'static str,
    /// What was observed, or why nothing was.
    pub observed: String,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took.
    pub seconds: f64,
}

impl Row {
    pub(crate) fn new(check: &Check, verdict: Verdict, observed: String, seconds: f64) -> Self {
        Self {
            check: check.number,
            group: check.group.name(),
            title: check.title,
            expected: check.expected,
            observed,
            verdict,
            // A tenth is as exact as anybody wants to read it.
            seconds: (seconds * 10.0).round() / 10.0,
        }
    }
}

/// The results of a run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The version that the API server reports.
    pub server_version: String,
    /// How exactly the cluster was measured.
    pub bounds: Bounds,
    /// What the cluster emulates, in its own words; only the local one says so.
    pub emulations: Vec<String>,
    /// The checks that ended, by number.
    pub rows: Vec<Row>,
    /// The numbers of checks that an interruption kept from ending.
    pub unfinished: Vec<u16>,
    /// What the run could not remove.
    pub left_behind: Vec<String>,
    /// How long all of it took.
    pub seconds: f64,
}

/// The widths of the columns with prose.
const EXPECTED_WIDTH: usize = 46;
const OBSERVED_WIDTH: usize = 60;

impl Report {
    /// How many checks ended so.
    pub fn count(&self, verdict: Verdict) -> usize {
        let rows = self.rows.iter();
        rows.filter(|row| row.verdict == verdict).count()
    }

    /// A table for people, and the sums below it.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:>3}  {:<7}  {:<4}  {:>4}    {:<EXPECTED_WIDTH$}  OBSERVED\n",
            "NO", "GROUP", "", "TIME", "EXPECTED"
        );
        for row in &self.rows {
            let expected = wrapped(&format!("{}: {}", row.title, row.expected), EXPECTED_WIDTH);
            let observed = wrapped(&row.observed, OBSERVED_WIDTH);
            for index in 0..expected.len().max(observed.len()) {
                let head = if index == 0 {
                    let word = row.verdict.word();
                    format!(
                        "{:>3}  {:<7}  {word:<4}  {:>4.1} s",
                        row.check, row.group, row.seconds
                    )
                } else {
                    String::new()
                };
                let line = |lines: &[String]| lines.get(index).cloned().unwrap_or_default();
                let (left, right) = (line(&expected), line(&observed));
                let whole = format!("{head:<26}  {left:<EXPECTED_WIDTH$}  {right}");
                text.push_str(whole.trim_end());
                text.push('\n');
            }
        }
        text.push_str(&self.sums());
        text
    }

    fn sums(&self) -> String {
        let mut text = format!(
            "{} passed, {} failed, {} skipped in {:.0} s; tolerance {} s; server {}\n",
            self.count(Verdict::Passed),
            self.count(Verdict::Failed),
            self.count(Verdict::Skipped),
            self.seconds,
            self.bounds.epsilon.as_secs(),
            self.server_version,
        );
        for emulation in &self.emulations {
            text.push_str(&format!("emulated: {emulation}\n"));
        }
        if !self.unfinished.is_empty() {
            let numbers: Vec<String> = self.unfinished.iter().map(u16::to_string).collect();
            text.push_str(&format!("interrupted before: {}\n", numbers.join(", ")));
        }
        for left in &self.left_behind {
            text.push_str(&format!("left behind: {left}\n"));
        }
        text
    }
}

/// The text in lines of at most `width` characters; a longer word has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines
            .last_mut()
            .expect("`lines` begins with one line and only grows");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(check: u16, verdict: Verdict, observed: &str) -> Row {
        Row {
            check,
            group: "Rollout",
            title: "Fencepost",
            expected: "surge 0 and unavailable 25 % of 2 pods still progresses",
            observed: observed.to_owned(),
            verdict,
            seconds: 3.4,
        }
    }

    #[test]
    fn a_table_keeps_its_columns_and_a_skip_is_no_pass() {
        let report = Report {
            server_version: "v1.33.0".to_owned(),
            bounds: Bounds::LOCAL,
            emulations: vec!["userspace proxy".to_owned()],
            rows: vec![
                row(5, Verdict::Passed, "complete after 2.1 s"),
                row(47, Verdict::Skipped, "local only"),
            ],
            unfinished: vec![42],
            left_behind: Vec::new(),
            seconds: 12.3,
        };
        assert_eq!(report.count(Verdict::Passed), 1);
        let table = report.table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines[1],
            "  5  Rollout  pass   3.4 s  Fencepost: surge 0 and unavailable 25 % of 2    complete after 2.1 s"
        );
        assert_eq!(lines[2].trim(), "pods still progresses");
        assert!(lines[3].starts_with(" 47  Rollout  skip"), "{table}");
        assert!(
            table.contains("1 passed, 0 failed, 1 skipped in 12 s; tolerance 2 s; server v1.33.0")
        );
        assert!(table.contains("interrupted before: 42"), "{table}");
    }

    #[test]
    fn a_long_word_is_not_cut() {
        assert_eq!(wrapped("a bbbbbbbb c", 4), ["a", "bbbbbbbb", "c"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
