//! What proves a fault, for people.

use holdfast_core::evidence::{Part, Said, parts};
use serde_json::Value;

use crate::words;

/// The evidence on one line, with what agents say in it as `proxy began (connections 0, requests 0)`.
pub(crate) fn in_words(evidence: &str) -> String {
    let parts = parts(evidence).into_iter().map(|part| match part {
        Part::Text(text) => text.to_owned(),
        Part::Agent(said) => said_in_words(&said),
    });
    words::one_line(&parts.collect::<String>())
}

fn said_in_words(said: &Said) -> String {
    let pairs = said.evidence.iter();
    let pairs: Vec<String> = pairs
        .map(|(name, value)| format!("{} {}", spaced(name), plain(value)))
        .collect();
    format!("{} {} ({})", said.mode, said.event, pairs.join(", "))
}

/// `delayMicroseconds` as `delay microseconds`.
fn spaced(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            text.push(' ');
        }
        text.push(character.to_ascii_lowercase());
    }
    text
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(fraction) if number.is_f64() => format!("{fraction:.2}"),
            _ => number.to_string(),
        },
        Value::Null => words::NOT_MEASURED.to_owned(),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn what_agents_say_is_put_in_words() {
        let said = r#"pod a created; pod a is ready: {"about":{"active":true,"evidence":{"delayMicroseconds":0,"load":0.5,"podName":"pay-1"},"mode":"proxy","until":1764443400},"event":"began"}; service pay has a ready endpoint"#;
        assert_eq!(
            in_words(said),
            "pod a created; pod a is ready: proxy began (delay microseconds 0, load 0.50, \
             pod name pay-1); service pay has a ready endpoint"
        );
        assert_eq!(in_words("{other}\ntext"), "{other} text");
    }
}
