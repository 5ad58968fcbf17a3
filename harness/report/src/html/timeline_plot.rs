//! The timeline as positioned shapes: requests by outcome, availability and latency on one time
//! axis, with the faults, the drain and what was observed.

use holdfast_core::outcome::Reason;
use holdfast_core::record::Record;

use super::axis::{Scale, Tick, px, round_times};
use super::bands;
use super::panels::{
    Panel, PanelOf, availability_panel, column_end, latency_panel, requests_panel,
};
use crate::content::faults::since_load_start;
use crate::timeline::{Column, Timeline};
use crate::words;

const LANE: f64 = 18.0;
const PANEL_TITLE: f64 = 30.0;
/// Room for half a label at the right end of an axis.
pub(crate) const RIGHT: f64 = 26.0;
const BAND_LABEL: f64 = 15.0;
const BAND_HEIGHT: f64 = 14.0;
const BAND_GAP: f64 = 5.0;
const AXIS: f64 = 30.0;
/// Width of a character of a label, in pixels, generously.
const CHARACTER: f64 = 6.3;

/// How much room a plot has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Told apart in style sheets and identifiers.
    pub(crate) name: &'static str,
    /// Of the whole plot, in pixels.
    pub(crate) width: f64,
    /// Of the labels at the left.
    pub(crate) left: f64,
    /// More columns than this are grouped.
    pub(crate) most_columns: u32,
    /// More labels than this do not fit on the time axis.
    pub(crate) most_ticks: f64,
}

/// Screens of 600 pixels and more, and paper.
pub(crate) const WIDE: Room = Room {
    name: "wide",
    width: 900.0,
    left: 56.0,
    most_columns: 300,
    most_ticks: 13.0,
};

/// Telephones.
pub(crate) const NARROW: Room = Room {
    name: "narrow",
    width: 380.0,
    left: 48.0,
    most_columns: 120,
    most_ticks: 7.0,
};

/// A timeline with every shape in place. Coordinates in pixels, as text.
#[derive(Debug)]
pub(crate) struct TimelinePlot {
    pub(crate) name: &'static str,
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
    pub(crate) axis_y: f64,
    pub(crate) description: String,
    pub(crate) faults: Vec<FaultMark>,
    pub(crate) drain: Option<Span>,
    pub(crate) panels: Vec<Panel>,
    pub(crate) bands: Vec<BandShape>,
    pub(crate) bands_left_out: usize,
    pub(crate) time_ticks: Vec<Tick>,
    pub(crate) columns: Vec<ColumnShape>,
}

/// A stretch of the time axis.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) x: String,
    pub(crate) width: String,
}

/// A fault's window with its label.
#[derive(Debug)]
pub(crate) struct FaultMark {
    pub(crate) span: Span,
    pub(crate) label: String,
    pub(crate) label_x: String,
    pub(crate) label_anchor: &'static str,
    pub(crate) label_y: f64,
}

/// One strip.
#[derive(Debug)]
pub(crate) struct BandShape {
    pub(crate) label: String,
    pub(crate) label_y: f64,
    pub(crate) y: f64,
    pub(crate) states: Vec<StateShape>,
}

/// One state of a strip.
#[derive(Debug)]
pub(crate) struct StateShape {
    pub(crate) span: Span,
    pub(crate) class: &'static str,
    pub(crate) title: String,
    /// Empty where it does not fit.
    pub(crate) label: String,
    pub(crate) label_x: String,
}

/// What the pointer finds over a column.
#[derive(Debug)]
pub(crate) struct ColumnShape {
    pub(crate) span: Span,
    pub(crate) title: String,
}

/// Places everything. `reasons` in the order of their colours.
pub(crate) fn place(record: &Record, reasons: &[Reason], room: Room) -> TimelinePlot {
    let timeline = Timeline::new(record, room.most_columns);
    let right = room.width - RIGHT;
    let time = Scale::new((0.0, timeline.end), (room.left, right));
    let faults = fault_marks(record, time, timeline.end, right);
    let top = LANE * faults.len() as f64;
    let mut y = top;
    let mut panels = Vec::new();
    for (height, panel) in [
        (190.0, requests_panel as PanelOf),
        (90.0, availability_panel),
        (130.0, latency_panel),
    ] {
        y += PANEL_TITLE;
        let mut placed = panel(&timeline, reasons, time, (y + height, y));
        placed.title_y = y - 8.0;
        panels.push(placed);
        y += height;
    }
    let bottom = y;
    let (seen, bands_left_out) = bands::bands(record, timeline.end);
    y += AXIS;
    let bands: Vec<BandShape> = seen
        .iter()
        .map(|band| {
            let shape = band_shape(band, time, y);
            y += BAND_LABEL + BAND_HEIGHT + BAND_GAP;
            shape
        })
        .collect();
    TimelinePlot {
        name: room.name,
        width: room.width,
        height: y + 2.0,
        left: room.left,
        right,
        top,
        bottom,
        axis_y: bottom + 17.0,
        description: description(&timeline),
        faults,
        drain: drain(&timeline, time),
        panels,
        bands,
        bands_left_out,
        time_ticks: time_ticks(&timeline, time, room),
        columns: timeline
            .columns
            .iter()
            .map(|column| ColumnShape {
                span: column_span(&timeline, column, time),
                title: column_title(&timeline, column),
            })
            .collect(),
    }
}

fn span(time: Scale, start: f64, end: f64) -> Span {
    let x = time.at(start);
    Span {
        x: px(x),
        width: px((time.at(end) - x).max(1.0)),
    }
}

fn column_span(timeline: &Timeline, column: &Column, time: Scale) -> Span {
    span(time, f64::from(column.start), column_end(timeline, column))
}

fn drain(timeline: &Timeline, time: Scale) -> Option<Span> {
    let stopped = timeline.load_stopped?;
    (stopped < timeline.end).then(|| span(time, stopped, timeline.end))
}

fn time_ticks(timeline: &Timeline, time: Scale, room: Room) -> Vec<Tick> {
    let values = round_times(timeline.end, room.most_ticks);
    values
        .into_iter()
        .map(|value| Tick {
            at: time.at(value),
            label: format!("{value} s"),
        })
        .collect()
}

fn fault_marks(record: &Record, time: Scale, end: f64, right: f64) -> Vec<FaultMark> {
    let injected = record.faults.iter().filter_map(|fault| {
        let injected = since_load_start(record, fault.injected?);
        let recovered = fault.recovered.map(|at| since_load_start(record, at));
        Some((fault, injected, recovered))
    });
    let marks = injected
        .enumerate()
        .map(|(lane, (fault, injected, recovered))| {
            let label = match recovered {
                Some(at) => format!("{} {}", fault.name, words::span(injected, at)),
                None => format!(
                    "{} from {}, not undone",
                    fault.name,
                    words::moment(injected)
                ),
            };
            let start = time.at(injected);
            let fits = start + label.chars().count() as f64 * CHARACTER < right;
            FaultMark {
                span: span(time, injected, recovered.unwrap_or(end)),
                label,
                label_x: px(if fits { start } else { right }),
                label_anchor: if fits { "start" } else { "end" },
                label_y: LANE * lane as f64 + 12.0,
            }
        });
    marks.collect()
}

fn band_shape(band: &bands::Band, time: Scale, y: f64) -> BandShape {
    let states = band.states.iter().map(|state| {
        let room = time.at(state.end) - time.at(state.start);
        let fits = room > state.label.chars().count() as f64 * CHARACTER + 8.0;
        StateShape {
            span: span(time, state.start, state.end),
            class: state.class,
            title: format!(
                "{}: {}, {:.1}–{}",
                band.label,
                state.label,
                state.start.max(0.0),
                words::moment(state.end)
            ),
            label: if fits {
                state.label.clone()
            } else {
                String::new()
            },
            label_x: px(time.at(state.start) + 4.0),
        }
    });
    BandShape {
        label: band.label.clone(),
        label_y: y + BAND_LABEL - 4.0,
        y: y + BAND_LABEL,
        states: states.collect(),
    }
}

fn column_title(timeline: &Timeline, column: &Column) -> String {
    let when = if timeline.column_seconds == 1 {
        format!("second {}", column.start)
    } else {
        format!(
            "seconds {} to {}",
            column.start,
            column.start + timeline.column_seconds
        )
    };
    let mut lines = vec![format!(
        "{when}: {} of {} as expected ({})",
        column.users.expected,
        words::counted(column.users.total(), "request", "requests"),
        words::percent_or_none(column.users.availability()),
    )];
    let unexpected = column.users.unexpected.iter();
    lines.extend(unexpected.map(|(reason, count)| format!("{}: {count}", reason.label())));
    let time = |percent| {
        let value = column.latency.percentile(percent);
        words::seconds_or_none(value.map(|value| value.as_secs_f64()))
    };
    if column.latency.count() > 0 {
        lines.push(format!("p50 {}, p99 {}", time(50.0), time(99.0)));
    }
    if column.prober.total() > 0 {
        lines.push(format!(
            "prober: {} of {} as expected",
            column.prober.expected,
            column.prober.total()
        ));
    }
    lines.join("\n")
}

fn description(timeline: &Timeline) -> String {
    let grouped = if timeline.column_seconds == 1 {
        "second by second".to_owned()
    } else {
        format!("in columns of {} seconds", timeline.column_seconds)
    };
    format!(
        "Three diagrams over the same time axis, 0 to {} seconds, {grouped}: the load's requests \
         by outcome, availability, and service time of expected answers; with the faults, the \
         drain, and the observed states of circuit breakers and endpoints. The same numbers are \
         in the table that follows.",
        timeline.end
    )
}
