//! Strips under the time axis: what was seen of breakers and endpoints, from one change to the
//! next.

use std::collections::BTreeMap;

use holdfast_core::event::Observation;
use holdfast_core::record::Record;

use crate::content::faults::since_load_start;
use crate::words;

/// More strips than this would bury the plot; the rest is counted.
const MOST_BANDS: usize = 8;

/// One observed thing over time.
#[derive(Clone, Debug)]
pub(crate) struct Band {
    /// What was observed.
    pub(crate) label: String,
    /// Its states in order.
    pub(crate) states: Vec<State>,
}

/// A state and how long it lasted, in seconds since the start of the load.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// Start.
    pub(crate) start: f64,
    /// End.
    pub(crate) end: f64,
    /// How good it is.
    pub(crate) class: &'static str,
    /// In words.
    pub(crate) label: String,
}

/// The strips, and how many were left out.
pub(crate) fn bands(record: &Record, end: f64) -> (Vec<Band>, usize) {
    let mut changes: BTreeMap<(u8, String), Vec<State>> = BTreeMap::new();
    for seen in &record.observations {
        let start = since_load_start(record, seen.at);
        let (rank, label, class, state) = worded(&seen.observation);
        let states = changes.entry((rank, label)).or_default();
        if let Some(before) = states.last_mut() {
            before.end = start;
        }
        states.push(State {
            start,
            end,
            class,
            label: state,
        });
    }
    let left_out = changes.len().saturating_sub(MOST_BANDS);
    let bands = changes.into_iter().take(MOST_BANDS);
    let bands = bands.map(|((_, label), states)| Band {
        label,
        states: states.into_iter().filter(|s| s.end > s.start).collect(),
    });
    (bands.collect(), left_out)
}

fn worded(observation: &Observation) -> (u8, String, &'static str, String) {
    match observation {
        Observation::Breaker {
            pod,
            breaker,
            state,
        } => {
            let class = match state.as_str() {
                "closed" => "good",
                "open" => "bad",
                _ => "doubtful",
            };
            let label = format!("breaker {breaker} in {pod}");
            (0, words::one_line(&label), class, state.replace('_', "-"))
        }
        Observation::Endpoints {
            service,
            ready,
            total,
        } => {
            let class = match (*ready, *total) {
                (0, _) => "bad",
                (ready, total) if ready < total => "doubtful",
                _ => "good",
            };
            let label = format!("ready endpoints of {service}");
            (
                1,
                words::one_line(&label),
                class,
                format!("{ready} of {total}"),
            )
        }
    }
}
