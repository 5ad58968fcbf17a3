//! How a service says whether the system's data is as it must be: a JSON object with
//!
//! | field | | |
//! |---|---|---|
//! | `holds` | required | `false`: something is wrong that no waiting makes right |
//! | `settled` | required | `true`: nothing is under way any more that could still change the answer |
//! | `violations` | none | what is wrong |
//! | `due` | none | what is not so yet, while not settled |
//!
//! Both lists are of objects with `invariant` (a name, required), `statement` (the promise in
//! words) and lists of text under any other names: the things concerned, by their own names.
//!
//! ```json
//! {"holds": false, "settled": false,
//!  "violations": [{"invariant": "paidOnce", "statement": "each order is paid exactly once",
//!                  "orderIds": ["7", "9"]}]}
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::duration::seconds;

/// Things concerned that are kept by name; the others are counted.
const MOST_NAMED: usize = 20;

/// What an invariant's service answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Nothing is under way any more, and all is well.
    pub settled: bool,
    /// What is wrong for good.
    pub violations: Vec<Finding>,
    /// What is not so yet.
    pub due: Vec<Finding>,
}

/// A promise that is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Its name.
    pub invariant: String,
    /// The promise in words; empty where it was not told.
    pub statement: String,
    /// The first things concerned.
    pub about: Vec<String>,
    /// How many there are.
    pub count: u64,
}

/// What became of an invariant, as the run tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// The invariant's name.
    pub name: String,
    /// Whether the system came to rest in its time, with nothing wrong.
    pub settled: bool,
    /// From the end of the load or the last undo, whichever was later, to the last answer.
    #[serde(with = "seconds")]
    pub after: Duration,
    /// What is wrong for good.
    pub violations: Vec<Finding>,
    /// What was still due at the last answer.
    pub due: Vec<Finding>,
    /// Why it could not be asked; `None`: the last answer is the one above.
    pub error: Option<String>,
}

/// Why an answer says nothing.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Not JSON, or a required field is missing or of another type.
    #[error("the answer is not of the form that experiment.md describes: {0}")]
    Form(#[from] serde_json::Error),
    /// An entry of a list has no name.
    #[error("an entry of `{0}` has no text `invariant`")]
    Nameless(&'static str),
}

#[derive(Deserialize)]
struct Told {
    holds: bool,
    settled: bool,
    #[serde(default)]
    violations: Vec<Map<String, Value>>,
    #[serde(default)]
    due: Vec<Map<String, Value>>,
}

/// Reads an answer's body.
///
/// # Errors
/// The body is not of the form that this module describes.
pub fn read(body: &[u8]) -> Result<Answer, AnswerError> {
    let told: Told = serde_json::from_slice(body)?;
    let mut violations = findings(&told.violations, "violations")?;
    if !told.holds && violations.is_empty() {
        violations.push(Finding {
            invariant: "unnamed".to_owned(),
            statement: "the service says no more than that something is wrong".to_owned(),
            about: Vec::new(),
            count: 0,
        });
    }
    let due = findings(&told.due, "due")?;
    Ok(Answer {
        settled: told.settled && violations.is_empty() && due.is_empty(),
        violations,
        due,
    })
}

fn findings(told: &[Map<String, Value>], list: &'static str) -> Result<Vec<Finding>, AnswerError> {
    told.iter().map(|entry| finding(entry, list)).collect()
}

fn finding(entry: &Map<String, Value>, list: &'static str) -> Result<Finding, AnswerError> {
    let text = |field: &str| entry.get(field).and_then(Value::as_str).map(str::to_owned);
    let invariant = text("invariant").ok_or(AnswerError::Nameless(list))?;
    let statement = text("statement").unwrap_or_default();
    let lists = entry.values().filter_map(Value::as_array);
    let things = lists.flatten().filter_map(Value::as_str);
    let count = things.clone().count() as u64;
    Ok(Finding {
        invariant,
        statement,
        about: things.take(MOST_NAMED).map(str::to_owned).collect(),
        count,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(invariant: &str, about: &[&str], count: u64) -> Finding {
        Finding {
            invariant: invariant.to_owned(),
            statement: "in words".to_owned(),
            about: about.iter().map(|id| (*id).to_owned()).collect(),
            count,
        }
    }

    #[test]
    fn an_answer_in_order_and_one_that_is_not() {
        let well =
            br#"{"holds": true, "settled": true, "entries": {"orders": 3}, "violations": []}"#;
        let answer = read(well).unwrap();
        assert!(answer.settled && answer.violations.is_empty() && answer.due.is_empty());

        let ill = br#"{"holds": false, "settled": false,
            "violations": [{"invariant": "paidOnce", "statement": "in words", "orderIds": ["7", "9"]}],
            "due": [{"invariant": "refunded", "statement": "in words", "payments": ["p"], "orders": ["o"]}]}"#;
        let answer = read(ill).unwrap();
        assert!(!answer.settled);
        assert_eq!(answer.violations, [finding("paidOnce", &["7", "9"], 2)]);
        assert_eq!(answer.due[0].count, 2);
    }

    #[test]
    fn many_things_are_counted_and_the_first_are_named() {
        let ids: Vec<String> = (0..50).map(|id| id.to_string()).collect();
        let body = serde_json::json!({"holds": false, "settled": false,
            "violations": [{"invariant": "x", "ids": ids}]});
        let answer = read(body.to_string().as_bytes()).unwrap();
        assert_eq!(answer.violations[0].count, 50);
        assert_eq!(answer.violations[0].about.len(), MOST_NAMED);
    }

    #[test]
    fn what_contradicts_itself_is_never_taken_for_well() {
        let broken_but_settled = br#"{"holds": false, "settled": true}"#;
        let answer = read(broken_but_settled).unwrap();
        assert!(!answer.settled && answer.violations.len() == 1);
        let violated_but_holds =
            br#"{"holds": true, "settled": true, "violations": [{"invariant": "x"}]}"#;
        assert!(!read(violated_but_holds).unwrap().settled);
        let due_but_settled = br#"{"holds": true, "settled": true, "due": [{"invariant": "x"}]}"#;
        assert!(!read(due_but_settled).unwrap().settled);
    }

    #[test]
    fn other_forms_are_errors_that_say_what_is_missing() {
        for (body, words) in [
            ("<html>", "expected value"),
            ("{}", "missing field `holds`"),
            (r#"{"holds": true}"#, "missing field `settled`"),
            (r#"{"holds": "yes", "settled": true}"#, "invalid type"),
            (
                r#"{"holds": true, "settled": true, "due": [{"ids": []}]}"#,
                "an entry of `due` has no text `invariant`",
            ),
        ] {
            let error = read(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{body}: {error}");
        }
    }
}
