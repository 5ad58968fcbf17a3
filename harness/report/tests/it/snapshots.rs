//! Every format of every fixed run, as text to read and to compare.

use holdfast_report::{Colours, Format, SiegeFormat, result_json, terminal};

use crate::runs::Run;
use crate::scenarios;

fn runs() -> [(&'static str, Run); 8] {
    [
        ("clean-pass", scenarios::clean_pass()),
        ("failed", scenarios::failed()),
        ("outage", scenarios::outage()),
        ("aborted-at-once", scenarios::aborted_at_once()),
        ("interrupted", scenarios::interrupted()),
        ("open-model", scenarios::open_model()),
        ("frozen", scenarios::frozen()),
        ("unsettled", scenarios::unsettled()),
    ]
}

#[test]
fn every_file_of_every_run() {
    for (name, run) in runs() {
        for format in Format::ALL {
            let text = format.render(&run.report(), SiegeFormat::V4_0).unwrap();
            insta::assert_snapshot!(format!("{name}-{}", format.file_name()), text);
        }
    }
}

#[test]
fn what_the_terminal_and_programs_get() {
    for (name, run) in runs() {
        let report = run.report();
        let text = terminal::text(&report, SiegeFormat::V4_0, Colours::Never);
        for line in text.lines() {
            assert!(line.chars().count() <= terminal::COLUMNS, "{name}: {line}");
        }
        insta::assert_snapshot!(format!("{name}-terminal"), text);
        let result = result_json(&report, "reports/pay-outage/run").unwrap();
        let result: serde_json::Value = serde_json::from_str(&result).unwrap();
        insta::assert_json_snapshot!(format!("{name}-result.json"), result);
    }
}

#[test]
fn siege_since_4_1_7_prints_milliseconds() {
    let figures = scenarios::failed().summary.siege;
    insta::assert_snapshot!(holdfast_report::siege::text(&figures, SiegeFormat::V4_1_7));
}

#[test]
fn colours_change_no_word() {
    let run = scenarios::failed();
    let plain = terminal::text(&run.report(), SiegeFormat::V4_0, Colours::Never);
    let coloured = terminal::text(&run.report(), SiegeFormat::V4_0, Colours::Always);
    assert!(coloured.contains("\u{1b}[1;31mFAILED\u{1b}[0m"));
    let mut stripped = coloured;
    for code in ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[1;31m"] {
        stripped = stripped.replace(code, "");
    }
    assert_eq!(stripped, plain);
}

#[test]
fn a_record_is_read_back_as_it_was() {
    let run = scenarios::failed();
    let text = Format::RecordJson
        .render(&run.report(), SiegeFormat::V4_0)
        .unwrap();
    let read: holdfast_core::record::Record = serde_json::from_str(&text).unwrap();
    assert_eq!(read, run.record);
}

#[test]
fn a_start_time_that_is_none_is_an_error_that_says_so() {
    let mut run = scenarios::clean_pass();
    run.record.run.started_at = "yesterday".to_owned();
    let error = Format::LatencyLog
        .render(&run.report(), SiegeFormat::V4_0)
        .unwrap_err();
    assert_eq!(error.to_string(), "cannot render latency.hdr");
    let cause = std::error::Error::source(&error).unwrap();
    assert_eq!(
        cause.to_string(),
        "the record's start time \"yesterday\" is not RFC 3339"
    );
}
