//! The timeline's diagrams, each with its own vertical axis: requests by outcome, availability
//! and latency.

use holdfast_core::outcome::Reason;

use super::axis::{Scale, Tick, decade_label, decades, px, round_values};
use crate::timeline::{Column, Timeline};

/// One diagram with its own vertical axis.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) title_y: f64,
    pub(crate) ticks: Vec<Tick>,
    pub(crate) series: Vec<Series>,
}

/// One path.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) class: String,
    pub(crate) path: String,
}

/// Places one diagram between two heights, bottom first.
pub(crate) type PanelOf = fn(&Timeline, &[Reason], Scale, (f64, f64)) -> Panel;

/// The end of a column, in seconds since the start of the load.
pub(crate) fn column_end(timeline: &Timeline, column: &Column) -> f64 {
    f64::from(column.start + timeline.column_seconds)
}

pub(crate) fn requests_panel(
    timeline: &Timeline,
    reasons: &[Reason],
    time: Scale,
    (bottom, top): (f64, f64),
) -> Panel {
    let seconds = f64::from(timeline.column_seconds);
    let totals = timeline.columns.iter().map(|column| column.users.total());
    let values = round_values(totals.max().unwrap_or(0).max(1) as f64 / seconds, 4.0);
    let highest = values.last().copied().unwrap_or(1.0);
    let scale = Scale::new((0.0, highest), (bottom, top));
    let mut paths = vec![String::new(); reasons.len() + 1];
    for column in &timeline.columns {
        let x = time.at(f64::from(column.start));
        let width = time.at(column_end(timeline, column)) - x;
        let gap = if width > 3.0 { 1.0 } else { 0.0 };
        let counts = reasons.iter().map(|reason| {
            let count = column.users.unexpected.get(reason);
            count.copied().unwrap_or(0)
        });
        let mut below = 0;
        for (path, count) in paths
            .iter_mut()
            .zip([column.users.expected].into_iter().chain(counts))
        {
            if count == 0 {
                continue;
            }
            let low = scale.at(below as f64 / seconds);
            below += count;
            let high = scale.at(below as f64 / seconds);
            path.push_str(&format!(
                "M{} {}V{}h{}V{}z",
                px(x),
                px(low),
                px(high),
                px(width - gap),
                px(low)
            ));
        }
    }
    let classes = (0..reasons.len()).map(super::reason_class);
    let classes = std::iter::once("expected".to_owned()).chain(classes);
    Panel {
        title: "Requests of the load per second".to_owned(),
        title_y: 0.0,
        ticks: linear_ticks(&values, scale, ""),
        series: classes
            .zip(paths)
            .map(|(class, path)| Series {
                class: format!("bar {class}"),
                path,
            })
            .collect(),
    }
}

fn linear_ticks(values: &[f64], scale: Scale, unit: &str) -> Vec<Tick> {
    let ticks = values.iter().map(|value| Tick {
        at: scale.at(*value),
        label: format!("{value}{unit}"),
    });
    ticks.collect()
}

pub(crate) fn availability_panel(
    timeline: &Timeline,
    _: &[Reason],
    time: Scale,
    (bottom, top): (f64, f64),
) -> Panel {
    let scale = Scale::new((0.0, 100.0), (bottom, top));
    let mut series = vec![Series {
        class: "line users".to_owned(),
        path: steps(timeline, time, scale, |column| column.users.availability()),
    }];
    let mut title = "Availability".to_owned();
    if timeline.has_prober() {
        title.push_str(": load solid, prober dashed");
        series.push(Series {
            class: "line prober".to_owned(),
            path: steps(timeline, time, scale, |column| column.prober.availability()),
        });
    }
    Panel {
        title,
        title_y: 0.0,
        ticks: linear_ticks(&[0.0, 50.0, 100.0], scale, " %"),
        series,
    }
}

pub(crate) fn latency_panel(
    timeline: &Timeline,
    _: &[Reason],
    time: Scale,
    (bottom, top): (f64, f64),
) -> Panel {
    let at = |percent: f64| {
        move |column: &Column| Some(column.latency.percentile(percent)?.as_secs_f64())
    };
    let (median, tail) = (at(50.0), at(99.0));
    let lowest = timeline.columns.iter().filter_map(median).reduce(f64::min);
    let highest = timeline.columns.iter().filter_map(tail).reduce(f64::max);
    let (first, last) = decades(lowest.unwrap_or(0.001), highest.unwrap_or(1.0));
    let scale = Scale::new((f64::from(first), f64::from(last)), (bottom, top));
    let logarithm = |value: Option<f64>| value.map(f64::log10);
    let ticks = (first..=last).map(|exponent| Tick {
        at: scale.at(f64::from(exponent)),
        label: decade_label(exponent),
    });
    Panel {
        title: "Time of expected answers: p50 thick, p99 thin".to_owned(),
        title_y: 0.0,
        ticks: ticks.collect(),
        series: vec![
            Series {
                class: "line p99".to_owned(),
                path: steps(timeline, time, scale, |column| logarithm(tail(column))),
            },
            Series {
                class: "line p50".to_owned(),
                path: steps(timeline, time, scale, |column| logarithm(median(column))),
            },
        ],
    }
}

/// A line that keeps each column's value for the column's length and breaks where there is none.
fn steps(
    timeline: &Timeline,
    time: Scale,
    scale: Scale,
    value: impl Fn(&Column) -> Option<f64>,
) -> String {
    let mut path = String::new();
    let mut drawing = false;
    for column in &timeline.columns {
        let Some(value) = value(column) else {
            drawing = false;
            continue;
        };
        let y = px(scale.at(value));
        if drawing {
            path.push_str(&format!("V{y}"));
        } else {
            let x = time.at(f64::from(column.start));
            path.push_str(&format!("M{} {y}", px(x)));
        }
        let x = time.at(column_end(timeline, column));
        path.push_str(&format!("H{}", px(x)));
        drawing = true;
    }
    path
}
