//! The distribution of service and response times as positioned shapes: time over percentile, with
//! the high percentiles stretched so that the tail can be read.

use holdfast_core::event::Tick as RecordTick;
use holdfast_core::histogram::Histogram;
use holdfast_core::outcome::Source;
use holdfast_core::record::Record;

use super::axis::{Scale, Tick, decade_label, decades, px};
use super::timeline_plot::{RIGHT, Room};

const HEIGHT: f64 = 230.0;
const TOP: f64 = 10.0;
const AXIS: f64 = 40.0;
/// Steps of the curve per power of ten of the remaining share.
const STEPS_PER_NINE: u32 = 40;
/// Percentiles with a label, by the number of nines.
const LABELS: [(f64, &str); 6] = [
    (std::f64::consts::LOG10_2, "50 %"),
    (1.0, "90 %"),
    (2.0, "99 %"),
    (3.0, "99.9 %"),
    (4.0, "99.99 %"),
    (5.0, "99.999 %"),
];

/// The curves with their axes. Coordinates in pixels.
#[derive(Debug)]
pub(crate) struct LatencyPlot {
    pub(crate) name: &'static str,
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
    pub(crate) label_y: f64,
    pub(crate) percentiles: Vec<Tick>,
    pub(crate) times: Vec<Tick>,
    pub(crate) expected: String,
    pub(crate) unexpected: String,
    /// Of everything that was meant to be sent at a certain time.
    pub(crate) response: String,
    /// Whose that is.
    pub(crate) response_label: &'static str,
}

/// Places the curves of the load's requests, with the response times of an open model or, beside a
/// closed one, of the prober; `None` when none of the load's requests ended.
pub(crate) fn place(record: &Record, room: Room) -> Option<LatencyPlot> {
    let of = |source, times: fn(&RecordTick) -> &Histogram| {
        let mut all = Histogram::default();
        for tick in record.ticks.iter().filter(|tick| tick.source == source) {
            all.merge(times(tick));
        }
        all
    };
    let expected = of(Source::Users, |tick| &tick.latency_expected);
    let unexpected = of(Source::Users, |tick| &tick.latency_unexpected);
    let users = of(Source::Users, |tick| &tick.response);
    let (response, response_label) = if users.count() > 0 {
        (users, "response time, from the intended send")
    } else {
        let prober = of(Source::Prober, |tick| &tick.response);
        (prober, "the prober's response time")
    };
    if expected.count() + unexpected.count() == 0 {
        return None;
    }
    let all = [&expected, &unexpected, &response];
    let lowest = all.iter().filter_map(|times| times.percentile(0.0));
    let highest = all.iter().filter_map(|times| times.max());
    let (first, last) = decades(lowest.min()?.as_secs_f64(), highest.max()?.as_secs_f64());
    let most = all.iter().map(|times| times.count()).max()? as f64;
    let nines = most.log10().ceil().clamp(1.0, 5.0);
    let right = room.width - RIGHT;
    let bottom = TOP + HEIGHT;
    let across = Scale::new((0.0, nines), (room.left, right));
    let up = Scale::new((f64::from(first), f64::from(last)), (bottom, TOP));
    let labels = LABELS.iter().filter(|(at, _)| *at <= nines);
    Some(LatencyPlot {
        name: room.name,
        width: room.width,
        height: bottom + AXIS,
        left: room.left,
        right,
        top: TOP,
        bottom,
        label_y: bottom + 17.0,
        percentiles: labels
            .map(|(at, label)| Tick {
                at: across.at(*at),
                label: (*label).to_owned(),
            })
            .collect(),
        times: (first..=last)
            .map(|exponent| Tick {
                at: up.at(f64::from(exponent)),
                label: decade_label(exponent),
            })
            .collect(),
        expected: curve(&expected, across, up),
        unexpected: curve(&unexpected, across, up),
        response: curve(&response, across, up),
        response_label,
    })
}

/// The curve as far as the number of values carries it: the last step is the largest value.
fn curve(histogram: &Histogram, across: Scale, up: Scale) -> String {
    let reach = (histogram.count() as f64).log10();
    let steps = (reach * f64::from(STEPS_PER_NINE)).floor() as u32;
    let mut path = String::new();
    let mut before = String::new();
    for step in 0..=steps {
        let nines = f64::from(step) / f64::from(STEPS_PER_NINE);
        let percent = 100.0 * (1.0 - 10_f64.powf(-nines));
        let Some(value) = histogram.percentile(percent) else {
            return path;
        };
        let y = px(up.at(value.as_secs_f64().log10()));
        let x = px(across.at(nines));
        if step == 0 {
            path.push_str(&format!("M{x} {y}"));
        } else if y != before {
            path.push_str(&format!("L{x} {y}"));
        } else {
            path.push_str(&format!("H{x}"));
        }
        before = y;
    }
    path
}
