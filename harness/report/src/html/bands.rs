//! Strips under the time axis: what was seen of breakers and endpoints, from one change to the
//! next.

use std::collections::BTreeMap;

use holdfast_core::event::Observation;
use holdfast_core::record::Record;

use crate::content::faults::since_load_start;
use crate::words;

/// More strips than this would bury the plot. Those in which something happened are kept; of the
/// others, the rest is counted.
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
    let bands = changes.into_iter().map(|((_, label), states)| Band {
        label,
        states: states.into_iter().filter(|s| s.end > s.start).collect(),
    });
    most_telling(bands.collect())
}

/// At most so many, in their order, and how many were left out.
fn most_telling(mut bands: Vec<Band>) -> (Vec<Band>, usize) {
    let left_out = bands.len().saturating_sub(MOST_BANDS);
    let eventful = bands.iter().filter(|band| band.states.len() > 1).count();
    let mut room = MOST_BANDS.saturating_sub(eventful);
    bands.retain(|band| {
        let quiet = band.states.len() <= 1;
        let kept = !quiet || room > 0;
        room -= usize::from(quiet && kept);
        kept
    });
    bands.truncate(MOST_BANDS);
    (bands, left_out)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn band(label: &str, states: usize) -> Band {
        let state = State {
            start: 0.0,
            end: 1.0,
            class: "good",
            label: String::new(),
        };
        Band {
            label: label.to_owned(),
            states: vec![state; states],
        }
    }

    #[test]
    fn what_never_changed_gives_way_to_what_did() {
        let mut bands: Vec<Band> = (0..9).map(|index| band(&index.to_string(), 1)).collect();
        bands.push(band("changed", 3));
        let (kept, left_out) = most_telling(bands);
        let labels: Vec<&str> = kept.iter().map(|band| band.label.as_str()).collect();
        assert_eq!(labels, ["0", "1", "2", "3", "4", "5", "6", "changed"]);
        assert_eq!(left_out, 2);
    }
}
