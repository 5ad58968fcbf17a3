//! The figures a reader looks for first, each beside the published one where there is one.

use std::borrow::Cow;

use holdfast_core::experiment::Reference;
use holdfast_core::summary::{Measured, Summary};

use super::{Align, Table};
use crate::Report;
use crate::words;

/// One figure with what is needed to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyFigure {
    /// What it is.
    pub(crate) name: Cow<'static, str>,
    /// Its value with unit.
    pub(crate) value: String,
    /// What it rests on.
    pub(crate) note: String,
    /// The published figure, with its source.
    pub(crate) reference: Option<String>,
}

/// The figures a reader looks for first.
pub(crate) fn key_figures(report: &Report<'_>) -> Vec<KeyFigure> {
    let Summary { siege, users, .. } = report.summary;
    let published = |name: &str, figure: fn(&Reference) -> Option<f64>, word: fn(f64) -> String| {
        let reference = report.reference()?;
        let value = word(figure(reference)?);
        Some(format!("{}{name}: {value}", reference.source))
    };
    let mut figures = vec![
        KeyFigure {
            name: "strict availability".into(),
            value: words::percent_or_none(users.availability),
            note: format!(
                "{}{} of {} as expected",
                interval_clause(users),
                users.expected,
                words::counted(users.requests, "request", "requests"),
            ),
            reference: None,
        },
        KeyFigure {
            name: "siege availability".into(),
            value: words::percent(siege.availability),
            note: "by siege's own rules".to_owned(),
            reference: published("", |reference| Some(reference.availability), words::percent),
        },
    ];
    if let Some(prober) = &report.summary.prober {
        figures.push(KeyFigure {
            name: "prober availability".into(),
            value: words::percent_or_none(prober.availability),
            note: format!(
                "{}open model, fixed rate; {} without any success",
                interval_clause(prober),
                words::counted(report.summary.failed_seconds, "second", "seconds"),
            ),
            reference: None,
        });
    }
    figures.extend([
        KeyFigure {
            name: "goodput".into(),
            value: words::rate_or_none(users.goodput),
            note: "expected answers per second".to_owned(),
            reference: published(
                " (transactions)",
                |reference| reference.transaction_rate,
                words::rate,
            ),
        },
        KeyFigure {
            name: "p50 of expected".into(),
            value: words::seconds_or_none(users.latency_expected.p50),
            note: "half of the expected answers took no longer".to_owned(),
            reference: None,
        },
        KeyFigure {
            name: "p99 of expected".into(),
            value: words::seconds_or_none(users.latency_expected.p99),
            note: format!(
                "longest {}",
                words::seconds_or_none(users.latency_expected.max)
            ),
            reference: None,
        },
    ]);
    figures.extend(response_figures(report.summary));
    if let Some(recovered) = report.summary.recovered {
        figures.push(KeyFigure {
            name: "recovery time".into(),
            value: words::seconds_or_none(report.summary.recovery_time),
            note: if recovered {
                "from the last fault's end to three steady seconds in a row".to_owned()
            } else {
                "no three steady seconds in a row after the last fault".to_owned()
            },
            reference: None,
        });
    }
    for (invariant, settled) in &report.summary.convergence {
        figures.push(KeyFigure {
            name: format!("convergence {invariant}").into(),
            value: words::seconds_or_none(*settled),
            note: if settled.is_some() {
                "from the end of the load and the last undo until the system had settled".to_owned()
            } else {
                "the system was not seen to settle".to_owned()
            },
            reference: None,
        });
    }
    figures
}

/// Response times, of whoever meant to send at a certain time.
fn response_figures(summary: &Summary) -> Vec<KeyFigure> {
    let prober = summary.prober.as_ref();
    let sources = [
        ("p99 response time", Some(&summary.users)),
        ("prober's p99", prober),
    ];
    let measured = sources.into_iter().filter_map(|(name, measured)| {
        let response = &measured?.response;
        Some(KeyFigure {
            name: name.into(),
            value: words::seconds(response.p99?),
            note: format!(
                "response time, from the intended send; p50 {}, mean {}, longest {}",
                words::seconds_or_none(response.p50),
                words::seconds_or_none(response.mean),
                words::seconds_or_none(response.max)
            ),
            reference: None,
        })
    });
    measured.collect()
}

fn interval_clause(measured: &Measured) -> String {
    match measured.availability_interval {
        None => String::new(),
        interval @ Some(_) => format!("95 % interval {} %; ", words::interval(interval)),
    }
}

/// siege's figures beside the published ones, as far as any were published.
pub(crate) fn reference_table(report: &Report<'_>) -> Option<Table> {
    let reference = report.reference()?;
    let siege = &report.summary.siege;
    let secs = |value: f64| format!("{value:.2} secs");
    let plain = |value: f64| format!("{value:.2}");
    let rows = [
        (
            "availability",
            words::percent(siege.availability),
            Some(words::percent(reference.availability)),
        ),
        (
            "transaction rate",
            words::rate(siege.transaction_rate),
            reference.transaction_rate.map(words::rate),
        ),
        (
            "response time",
            secs(siege.response_time),
            reference.response_time.map(secs),
        ),
        (
            "concurrency",
            plain(siege.concurrency),
            reference.concurrency.map(plain),
        ),
        (
            "longest transaction",
            secs(siege.longest),
            reference.longest.map(secs),
        ),
        (
            "shortest transaction",
            secs(siege.shortest),
            reference.shortest.map(secs),
        ),
    ];
    let mut table = Table::new([
        ("siege's figure", Align::Left),
        ("measured", Align::Right),
        (reference.source.as_str(), Align::Right),
    ]);
    for (name, measured, published) in rows {
        if let Some(published) = published {
            table.rows.push(vec![name.to_owned(), measured, published]);
        }
    }
    Some(table)
}
