//! `summary.md`: the report in GitHub-flavoured Markdown, verdict first.

use crate::Report;
use crate::content::{
    Align, Table, breakdown, checks, faults, figures, invariants, reconciliation, run, windows,
};
use crate::siege::{self, SiegeFormat};
use crate::words;

/// GitHub refuses a job summary above 1 MiB. Only words from outside can get long; each is cut
/// to this many characters, and lists and tables to [`MOST_ROWS`].
const LONGEST_TEXT: usize = 500;
/// More rows than this are counted instead of shown.
const MOST_ROWS: usize = 60;

pub(crate) fn render(report: &Report<'_>, siege_format: SiegeFormat) -> String {
    let mut page = Page::default();
    page.verdict(report);
    page.heading("Key figures");
    page.key_figures(report);
    page.heading("siege");
    page.fence(&siege::text(&report.summary.siege, siege_format));
    page.paragraph(&reconciliation::line(report));
    if let Some(table) = figures::reference_table(report) {
        page.heading("Beside the published figures");
        page.table(&table);
    }
    page.heading("Windows");
    page.paragraph("As observed; availability is strict, latencies are those of expected answers.");
    page.table(&windows::windows_table(report.summary));
    if let Some(table) = windows::reasons_table(report.summary) {
        page.heading("Failures by reason");
        page.paragraph("By window: the load's requests.");
        page.table(&table);
    }
    if let Some(omission) = breakdown::omission(report.summary) {
        page.heading("What the closed load left out");
        page.paragraph(&omission);
    }
    for part in breakdown::parts(report) {
        page.heading(part.title);
        page.paragraph(&format!("{}.", part.caption));
        page.table(&part.table);
    }
    page.faults(report);
    page.heading("Accounting");
    page.list(&checks::equations(&report.summary.accounting));
    page.paragraph(checks::equations_line(&report.summary.accounting));
    if let Some(hops) = checks::hops_line(report.summary.hops) {
        page.paragraph(&hops);
    }
    page.self_check(report);
    page.heading("Environment");
    page.pairs(&run::environment_rows(report.record));
    page.heading("Run it again");
    page.fence(&run::command_line(report.record));
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn heading(&mut self, heading: &str) {
        self.text.push_str(&format!("## {heading}\n\n"));
    }

    fn paragraph(&mut self, text: &str) {
        self.text.push_str(&escaped(text));
        self.text.push_str("\n\n");
    }

    fn list(&mut self, items: &[String]) {
        for item in items.iter().take(MOST_ROWS) {
            self.text.push_str(&format!("- {}\n", escaped(item)));
        }
        if items.len() > MOST_ROWS {
            let more = items.len() - MOST_ROWS;
            self.text.push_str(&format!("- and {more} more\n"));
        }
        if !items.is_empty() {
            self.text.push('\n');
        }
    }

    /// Text as it is; the fence is longer than any run of backquotes inside.
    fn fence(&mut self, text: &str) {
        let runs = text.split(|c| c != '`').map(str::len);
        let fence = "`".repeat(runs.max().unwrap_or(0).max(2) + 1);
        let text = text.trim_end_matches('\n');
        self.text
            .push_str(&format!("{fence}text\n{text}\n{fence}\n\n"));
    }

    fn table(&mut self, table: &Table) {
        self.row(table.head.iter().map(|(name, _)| escaped(name)));
        self.row(table.head.iter().map(|(_, align)| {
            match align {
                Align::Left => ":---",
                Align::Right => "---:",
            }
            .to_owned()
        }));
        for row in table.rows.iter().take(MOST_ROWS) {
            self.row(row.iter().map(|cell| escaped(cell)));
        }
        self.text.push('\n');
        if table.rows.len() > MOST_ROWS {
            self.paragraph(&format!("and {} more", table.rows.len() - MOST_ROWS));
        }
    }

    fn row(&mut self, cells: impl Iterator<Item = String>) {
        let cells: Vec<String> = cells.collect();
        self.text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }

    fn pairs(&mut self, pairs: &[(&str, String)]) {
        let mut table = Table::new([("what", Align::Left), ("value", Align::Left)]);
        for (name, value) in pairs {
            table.rows.push(vec![(*name).to_owned(), value.clone()]);
        }
        self.table(&table);
    }

    fn verdict(&mut self, report: &Report<'_>) {
        let plan = &report.record.run.plan;
        let verdict = report.verdict;
        self.text.push_str(&format!(
            "# {}: {}\n\n**{}** Exit code {}.\n\n",
            words::outcome(verdict.outcome),
            escaped(&plan.title),
            words::outcome_sentence(verdict.outcome),
            verdict.outcome.exit_code(),
        ));
        if let Some(line) = run::profile_line(report.record) {
            self.paragraph(line);
        }
        self.list(&verdict.reasons);
        if !verdict.objectives.is_empty() {
            self.heading("Objectives");
            self.table(&checks::objectives_table(verdict));
        }
        if let Some(table) = invariants::invariants_table(verdict) {
            self.heading("Invariants");
            self.table(&table);
        }
    }

    fn key_figures(&mut self, report: &Report<'_>) {
        let mut table = Table::new([
            ("figure", Align::Left),
            ("measured", Align::Right),
            ("published", Align::Right),
            ("note", Align::Left),
        ]);
        for figure in figures::key_figures(report) {
            table.rows.push(vec![
                figure.name.into_owned(),
                figure.value,
                figure.reference.unwrap_or_default(),
                figure.note,
            ]);
        }
        self.table(&table);
    }

    fn faults(&mut self, report: &Report<'_>) {
        let faults = faults::faults(report.record);
        if faults.is_empty() {
            return;
        }
        self.heading("Faults");
        self.paragraph("Times since the load began, as observed.");
        let mut table = Table::new(
            ["fault", "what", "injected", "undone", "errors"].map(|name| (name, Align::Left)),
        );
        for fault in faults {
            table.rows.push(vec![
                fault.name,
                fault.what,
                fault.injected,
                fault.recovered,
                fault.errors.join("; "),
            ]);
        }
        self.table(&table);
        if let Some(left) = faults::left_behind(report.record) {
            self.paragraph(&format!("Left behind: {left}"));
        }
    }

    fn self_check(&mut self, report: &Report<'_>) {
        let check = &report.summary.self_check;
        self.heading("Self-check of the load generator");
        self.paragraph(checks::self_check_line(check));
        self.list(&check.problems);
        self.list(&check.notes);
        self.pairs(&checks::self_check_rows(check));
    }
}

/// Text that Markdown shows as it is: on one line, bounded, no mark-up, no cell separators.
fn escaped(text: &str) -> String {
    let text = words::one_line(text);
    let mut out = String::with_capacity(text.len());
    for character in text.chars().take(LONGEST_TEXT) {
        match character {
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' | '#' => {
                out.push('\\');
                out.push(character);
            }
            plain => out.push(plain),
        }
    }
    if text.chars().count() > LONGEST_TEXT {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_from_outside_cannot_change_the_layout() {
        assert_eq!(
            escaped("a | b\n# <img> *x* _y_ `z` &lt;"),
            r"a \| b \# \<img\> \*x\* \_y\_ \`z\` &amp;lt;"
        );
        assert_eq!(escaped(&"x".repeat(2000)).chars().count(), LONGEST_TEXT + 1);
    }

    #[test]
    fn a_fence_is_longer_than_what_it_holds() {
        let mut page = Page::default();
        page.fence("a ``` b");
        assert_eq!(page.text, "````text\na ``` b\n````\n\n");
    }
}
