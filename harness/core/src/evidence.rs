//! What proves a fault: text, in which an agent tells of itself as in its log, in JSON
//! (`harness/docs/agent.md`).

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
    fn connections_are_those_of_all_proxies() {
        assert_eq!(connections(&format!("{SAID}; {SAID}")), Some(14));
        assert_eq!(connections(&SAID.replace("proxy", "cpu")), None);
        assert_eq!(connections("service pay has a ready endpoint"), None);
    }
}
