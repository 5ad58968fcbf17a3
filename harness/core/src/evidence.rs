//! What proves a fault: text, in which an agent tells of itself as in its log, in JSON
//! (`harness/docs/agent.md`). That of a recovery begins with why the fault had ended before, if it had,
//! and ends with what was seen of the targets afterwards.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Deserializer, Map, Value};

/// A part of the text.
#[derive(Clone, Debug, PartialEq)]
pub enum Part<'a> {
    /// As it is.
    Text(&'a str),
    /// What an agent said there.
    Agent(Said),
}

/// What an agent said.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// What it does: `proxy`, `freeze`, `cpu`, `memory` or `disk`.
    pub mode: String,
    /// What has happened: `began`, `counted` or `ended`.
    pub event: String,
    /// What it knows, by name.
    pub evidence: Map<String, Value>,
}

/// The parts of a piece of evidence, in order.
#[must_use]
pub fn parts(evidence: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut told, mut looked) = (0, 0);
    while let Some(ahead) = evidence[looked..].find('{') {
        let start = looked + ahead;
        let mut lines = Deserializer::from_str(&evidence[start..]).into_iter::<Line>();
        // Another brace is somebody else's.
        looked = start + '{'.len_utf8();
        if let Some(Ok(line)) = lines.next() {
            if told < start {
                parts.push(Part::Text(&evidence[told..start]));
            }
            parts.push(Part::Agent(line.into()));
            told = start + lines.byte_offset();
            looked = told;
        }
    }
    if told < evidence.len() {
        parts.push(Part::Text(&evidence[told..]));
    }
    parts
}

/// How the evidence of a recovery begins when the fault was no longer in effect by then.
const ENDED_EARLY: &str = "ended early: ";

/// The evidence of the recovery of a fault that had ended before its run came to undo it.
#[must_use]
pub fn ended_early(why: &str, proof: &str) -> String {
    // The first semicolon ends the reason.
    let why = why.replace("; ", ", ");
    format!("{ENDED_EARLY}{why}; {proof}")
}

/// Why the fault had ended before its run came to undo it; `None` where it had not.
pub(crate) fn early_end(evidence: &str) -> Option<&str> {
    let told = evidence.strip_prefix(ENDED_EARLY)?;
    Some(told.split_once("; ").map_or(told, |(why, _)| why))
}

/// What parts the proof that all is undone from what was seen afterwards.
const LATER: &str = " s later: ";

/// The evidence of a recovery after which it was waited for what the fault had taken.
#[must_use]
pub fn afterwards(proof: &str, waited: Duration, seen: &str) -> String {
    format!("{proof}; {:.2}{LATER}{seen}", waited.as_secs_f64())
}

/// How long it was waited after all was undone.
pub(crate) fn waited(evidence: &str) -> Duration {
    let told = evidence.rsplit_once(LATER);
    let told = told.and_then(|(before, _)| before.rsplit_once("; "));
    let seconds = told.and_then(|(_, seconds)| seconds.parse().ok());
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or_default()
}

/// How many connections the proxies had taken that speak in it; `None` where none does.
pub(crate) fn connections(evidence: &str) -> Option<u64> {
    let counts = parts(evidence).into_iter().filter_map(|part| match part {
        Part::Agent(said) if said.mode == "proxy" => said.evidence.get("connections")?.as_u64(),
        Part::Agent(_) | Part::Text(_) => None,
    });
    counts.reduce(|sum, count| sum + count)
}

/// A line of an agent's log.
#[derive(Deserialize)]
struct Line {
    event: String,
    about: About,
}

#[derive(Deserialize)]
struct About {
    mode: String,
    evidence: Map<String, Value>,
}

impl From<Line> for Said {
    fn from(line: Line) -> Self {
        Self {
            mode: line.about.mode,
            event: line.event,
            evidence: line.about.evidence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = r#"pod a said: {"about":{"active":true,"evidence":{"connections":7},"mode":"proxy","until":1764443400},"event":"counted"}; pod a deleted"#;

    #[test]
    fn what_agents_say_is_told_from_the_rest() {
        let parts = parts(SAID);
        let [Part::Text(before), Part::Agent(said), Part::Text(after)] = parts.as_slice() else {
            panic!("{parts:?}");
        };
        assert_eq!((*before, *after), ("pod a said: ", "; pod a deleted"));
        assert_eq!((&*said.mode, &*said.event), ("proxy", "counted"));
        assert_eq!(said.evidence["connections"], 7);
    }

    #[test]
    fn other_text_is_one_part() {
        assert_eq!(parts(""), []);
        for text in [
            "{",
            "replicas {1} and {\"a\": 1}",
            "said: {\"event\":",
            "{{é}}",
        ] {
            assert_eq!(parts(text), [Part::Text(text)]);
        }
    }

    #[test]
    fn an_early_end_is_told_from_the_proof() {
        let evidence = ended_early("everything is halted: hot; go home", SAID);
        assert_eq!(
            early_end(&evidence),
            Some("everything is halted: hot, go home")
        );
        assert!(evidence.ends_with(SAID), "{evidence}");
        assert_eq!(connections(&evidence), Some(7));
        assert_eq!(early_end(SAID), None);
    }

    #[test]
    fn a_wait_after_the_proof_is_told_from_it() {
        let evidence = afterwards("all is back", Duration::from_millis(1934), "3 are ready");
        assert_eq!(evidence, "all is back; 1.93 s later: 3 are ready");
        assert_eq!(waited(&evidence), Duration::from_millis(1930));
        assert_eq!(waited("all is back"), Duration::ZERO);
    }

    #[test]
    fn connections_are_those_of_all_proxies() {
        assert_eq!(connections(&format!("{SAID}; {SAID}")), Some(14));
        assert_eq!(connections(&SAID.replace("proxy", "cpu")), None);
        assert_eq!(connections("service pay has a ready endpoint"), None);
    }
}
