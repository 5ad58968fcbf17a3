//! What is asked of an answer: what must hold of it, and what is kept of it.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use holdfast_core::experiment::{Check, Condition, Part, Request};
use holdfast_core::outcome::Reason;
use holdfast_core::template::{Template, Variable};
use http::HeaderValue;
use regex::bytes::Regex;
use serde_json::Value;
use tokio::time::Instant;

use super::data::text_of;
use super::recipe::{Encoding, Names, Recipe, Values};
use crate::client::Outcome;
use crate::failure::Failure;
use crate::progress::Answer;

/// Longest text of an answer or of the experiment that a failure's words have, in characters.
const QUOTED_LIMIT: usize = 60;
/// Longest value that is kept for later requests, in bytes: some times a session's token.
const SAVED_LIMIT: usize = 16 * 1024;

/// Why an expression of the plan cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{expression}` is not a regular expression")]
pub struct ExpressionError {
    expression: String,
    source: regex::Error,
}

/// Everything that is asked of the answers to one request.
#[derive(Debug)]
pub(super) struct Inspection {
    checks: Vec<Demand>,
    saves: Vec<Keepsake>,
}

/// Something that must hold of a part.
#[derive(Debug)]
struct Demand {
    part: Finder,
    condition: Wanted,
}

#[derive(Debug)]
enum Wanted {
    Something,
    Text(Recipe),
    Match(Regex),
}

/// A part that is kept.
#[derive(Debug)]
struct Keepsake {
    name: String,
    part: Finder,
    /// Its place in [`Names::saved`].
    place: usize,
    /// The header that later requests put it into, if any does.
    header: Option<String>,
}

/// How a part of an answer is found.
#[derive(Debug)]
enum Finder {
    Json(String),
    Header(String),
    Regex(Regex),
}

impl Inspection {
    /// What `request` asks of its answers. `names`: of the journey; `later`: its later requests.
    pub(super) fn new(
        request: &Request,
        names: &Names,
        later: &[Request],
    ) -> Result<Self, ExpressionError> {
        let checks = request.checks.iter();
        let checks = checks.map(|check| Demand::new(check, names));
        let saves = request.save.iter().map(|(name, part)| {
            let place = names.saved.iter().position(|saved| saved == name);
            Ok(Keepsake {
                name: name.clone(),
                part: Finder::new(part)?,
                place: place.expect("every name that a journey saves is listed"),
                header: later.iter().find_map(|request| header_of(request, name)),
            })
        });
        Ok(Self {
            checks: checks.collect::<Result<_, _>>()?,
            saves: saves.collect::<Result<_, _>>()?,
        })
    }

    /// What is kept of an expected answer, by its place in [`Names::saved`]. Fails the request whose
    /// answer is not what it must be; `values` are those of the request. Other outcomes stay as
    /// they are.
    pub(super) fn apply(&self, outcome: &mut Outcome, values: &Values<'_>) -> Vec<(usize, String)> {
        if outcome.failure.is_some() || (self.checks.is_empty() && self.saves.is_empty()) {
            return Vec::new();
        }
        let begun = Instant::now();
        let answer = outcome.answer.take();
        let answer = answer.expect("the client keeps the answer to a request that asks for it");
        let subject = Subject {
            answer: &answer,
            body_is_whole: answer.body.len() as u64 == outcome.body_bytes,
            json: OnceCell::new(),
        };
        let kept = self.inspect(&subject, values).unwrap_or_else(|words| {
            outcome.failure = Some(Failure::new(Reason::Check, &words));
            Vec::new()
        });
        outcome.inspection = begun.elapsed();
        kept
    }

    /// What is kept, or the words of the first thing that is not as it must be.
    fn inspect(
        &self,
        subject: &Subject<'_>,
        values: &Values<'_>,
    ) -> Result<Vec<(usize, String)>, String> {
        for check in &self.checks {
            check.examine(subject, values)?;
        }
        let kept = self.saves.iter();
        let kept = kept.map(|keepsake| Ok((keepsake.place, keepsake.find(subject)?)));
        kept.collect()
    }
}

/// The header into which a request puts what was saved under `name`.
fn header_of(request: &Request, name: &str) -> Option<String> {
    let uses = |template: &Template| {
        template
            .variables()
            .any(|variable| matches!(variable, Variable::Saved(saved) if saved == name))
    };
    let header = request.headers.iter().find(|(_, value)| uses(value));
    header.map(|(header, _)| header.clone())
}

/// An answer under inspection.
struct Subject<'a> {
    answer: &'a Answer,
    /// Whether all of the body was kept.
    body_is_whole: bool,
    /// The body as JSON, once somebody asked.
    json: OnceCell<Result<Value, String>>,
}

impl Subject<'_> {
    fn json(&self) -> Result<&Value, &str> {
        let parsed = self.json.get_or_init(|| {
            if !self.body_is_whole {
                let kept = self.answer.body.len();
                return Err(format!(
                    "a body too long to be read as JSON, above {kept} bytes"
                ));
            }
            serde_json::from_slice(&self.answer.body)
                .map_err(|error| format!("a body that is not JSON: {error}"))
        });
        parsed.as_ref().map_err(String::as_str)
    }
}

impl Demand {
    fn new(check: &Check, names: &Names) -> Result<Self, ExpressionError> {
        Ok(Self {
            part: Finder::new(&check.part)?,
            condition: match &check.condition {
                Condition::Exists => Wanted::Something,
                Condition::Equals(text) => Wanted::Text(Recipe::new(text, Encoding::Plain, names)),
                Condition::Matches(expression) => Wanted::Match(regex(expression)?),
            },
        })
    }

    /// Says what was wanted and found where the demand is not met.
    fn examine(&self, subject: &Subject<'_>, values: &Values<'_>) -> Result<(), String> {
        let found = self.part.find(subject);
        let part = found.as_ref().ok().and_then(Option::as_deref);
        let (met, wanted) = match &self.condition {
            Wanted::Something => (part.is_some(), String::new()),
            Wanted::Text(recipe) => {
                let mut text = String::new();
                let known = recipe.write(values, &mut text).is_some();
                let met = known && part == Some(text.as_str());
                (met, format!(", wanted {}", quoted(&text)))
            }
            Wanted::Match(expression) => (
                part.is_some_and(|part| expression.is_match(part.as_bytes())),
                format!(", wanted a match of {}", shortened(expression.as_str())),
            ),
        };
        if met {
            return Ok(());
        }
        let found = match found {
            Ok(Some(found)) => quoted(&found),
            Ok(None) => "nothing".to_owned(),
            Err(why) => why.to_owned(),
        };
        Err(format!("check of {}{wanted}: found {found}", self.part))
    }
}

impl Keepsake {
    /// The value to keep, or why there is none.
    fn find(&self, subject: &Subject<'_>) -> Result<String, String> {
        let lost =
            |why: &str| format!("nothing to save as {} from {}: {why}", self.name, self.part);
        let value = match self.part.find(subject) {
            Ok(Some(value)) => value.into_owned(),
            Ok(None) => return Err(lost("it is not there")),
            Err(why) => return Err(lost(why)),
        };
        if value.len() > SAVED_LIMIT {
            return Err(lost(&format!("it is longer than {SAVED_LIMIT} bytes")));
        }
        match &self.header {
            Some(header) if HeaderValue::from_str(&value).is_err() => Err(lost(&format!(
                "it cannot be put into the header {header}: {}",
                quoted(&value)
            ))),
            Some(_) | None => Ok(value),
        }
    }
}

impl Finder {
    fn new(part: &Part) -> Result<Self, ExpressionError> {
        Ok(match part {
            Part::Json(pointer) => Self::Json(pointer.clone()),
            Part::Header(name) => Self::Header(name.clone()),
            Part::Regex(expression) => Self::Regex(regex(expression)?),
        })
    }

    /// The part, `None` when it is not there, or why it cannot be looked for.
    fn find<'a>(&self, subject: &'a Subject<'_>) -> Result<Option<Cow<'a, str>>, &'a str> {
        Ok(match self {
            Self::Json(pointer) => subject.json()?.pointer(pointer).map(|value| match value {
                Value::String(text) => Cow::Borrowed(text.as_str()),
                other => Cow::Owned(text_of(other)),
            }),
            Self::Header(name) => {
                let value = subject.answer.headers.get(name);
                value.map(|value| String::from_utf8_lossy(value.as_bytes()))
            }
            Self::Regex(expression) => {
                let group = usize::from(expression.captures_len() > 1);
                let found = expression.captures(&subject.answer.body);
                let part = found.and_then(|found| found.get(group));
                part.map(|part| String::from_utf8_lossy(part.as_bytes()))
            }
        })
    }
}

impl fmt::Display for Finder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(pointer) => write!(formatter, "json {}", shortened(pointer)),
            Self::Header(name) => write!(formatter, "header {}", shortened(name)),
            Self::Regex(expression) => {
                write!(formatter, "regex {}", shortened(expression.as_str()))
            }
        }
    }
}

fn regex(expression: &str) -> Result<Regex, ExpressionError> {
    Regex::new(expression).map_err(|source| ExpressionError {
        expression: expression.to_owned(),
        source,
    })
}

fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(QUOTED_LIMIT) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use holdfast_core::template::Template;
    use http::HeaderMap;

    use super::*;

    fn request(checks: Vec<Check>, save: &[(&str, Part)]) -> Request {
        Request {
            method: "GET".to_owned(),
            path: Template::fixed("/"),
            headers: BTreeMap::new(),
            body: None,
            expect: vec![200],
            checks,
            save: save
                .iter()
                .map(|(name, part)| ((*name).to_owned(), part.clone()))
                .collect(),
            timeout: None,
            think_time: None,
        }
    }

    /// What is saved as `x` and `y`, and the failure's words.
    fn inspect(
        request: &Request,
        later: &[Request],
        body: &[u8],
    ) -> (Vec<Option<String>>, Option<String>) {
        let names = Names {
            fields: Vec::new(),
            saved: vec!["x".to_owned(), "y".to_owned()],
        };
        let headers = [("location", "/orders/7"), ("x-two", "first")];
        let mut headers: HeaderMap = headers
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .into_iter()
            .collect();
        headers.append("x-two", HeaderValue::from_static("second"));
        let mut outcome = Outcome {
            status: Some(200),
            body_bytes: body.len() as u64,
            failure: None,
            hops: Vec::new(),
            endpoint: None,
            answer: Some(Answer {
                headers,
                body: body[..body.len().min(1000)].to_vec(),
            }),
            inspection: Duration::ZERO,
        };
        let values = Values {
            user: 5,
            iteration: 0,
            unique: 0,
            uuid: "",
            record: &[],
            saved: &[None, None],
        };
        let inspection = Inspection::new(request, &names, later).unwrap();
        let mut saved = vec![None, None];
        for (place, value) in inspection.apply(&mut outcome, &values) {
            saved[place] = Some(value);
        }
        let failure = outcome.failure.map(|failure| {
            assert_eq!(failure.reason, Reason::Check);
            failure.detail
        });
        (saved, failure)
    }

    fn json(pointer: &str) -> Part {
        Part::Json(pointer.to_owned())
    }

    fn header(name: &str) -> Part {
        Part::Header(name.to_owned())
    }

    fn pattern(expression: &str) -> Part {
        Part::Regex(expression.to_owned())
    }

    const BODY: &[u8] =
        br#"{"id": 7, "item": "chicken", "a/b": [true, null], "note": "order=42;"}"#;

    #[test]
    fn parts_are_found_and_kept() {
        for (part, expected) in [
            (json("/id"), "7"),
            (json("/item"), "chicken"),
            (json("/a~1b"), "[true,null]"),
            (json("/a~1b/1"), "null"),
            (header("location"), "/orders/7"),
            (header("x-two"), "first"),
            (pattern(r"order=(\d+)"), "42"),
            (pattern(r"order=\d+"), "order=42"),
        ] {
            let (saved, failure) = inspect(&request(Vec::new(), &[("y", part.clone())]), &[], BODY);
            assert_eq!(failure, None, "{part:?}");
            assert_eq!(saved, [None, Some(expected.to_owned())], "{part:?}");
        }
    }

    #[test]
    fn conditions_hold_or_are_explained() {
        let equals = |text: &str| Condition::Equals(text.parse().unwrap());
        let matches = |text: &str| Condition::Matches(text.to_owned());
        let long = "x".repeat(100);
        for (part, condition, words) in [
            (json("/id"), Condition::Exists, None),
            (json("/a~1b/1"), Condition::Exists, None),
            (json("/id"), equals("7"), None),
            (header("location"), equals("/orders/7"), None),
            (json("/item"), matches("^chi"), None),
            (header("location"), matches("/[0-9]$"), None),
            (pattern("order=(.*);"), equals("42"), None),
            (
                json("/total"),
                Condition::Exists,
                Some("check of json /total: found nothing"),
            ),
            (
                json("/id"),
                equals("user {{user}}"),
                Some(r#"check of json /id, wanted "user 5": found "7""#),
            ),
            (
                json("/item"),
                equals("pizza"),
                Some(r#"check of json /item, wanted "pizza": found "chicken""#),
            ),
            (
                pattern("(pizza)?order"),
                Condition::Exists,
                Some("check of regex (pizza)?order: found nothing"),
            ),
            (
                header("retry-after"),
                equals("1"),
                Some(r#"check of header retry-after, wanted "1": found nothing"#),
            ),
            (
                pattern("order=(.*);"),
                matches("^7"),
                Some(r#"check of regex order=(.*);, wanted a match of ^7: found "42""#),
            ),
            (
                json("/id"),
                equals(&long),
                Some(&*format!(
                    r#"check of json /id, wanted "{}…": found "7""#,
                    "x".repeat(60)
                )),
            ),
        ] {
            let check = Check { part, condition };
            let (_, failure) = inspect(&request(vec![check.clone()], &[]), &[], BODY);
            assert_eq!(failure.as_deref(), words, "{check:?}");
        }
    }

    #[test]
    fn what_cannot_be_kept_is_explained() {
        let failure =
            |part, body: &[u8]| inspect(&request(Vec::new(), &[("x", part)]), &[], body).1;
        assert_eq!(
            failure(json("/total"), BODY).unwrap(),
            "nothing to save as x from json /total: it is not there"
        );
        assert_eq!(
            failure(json("/id"), b"<html>").unwrap(),
            "nothing to save as x from json /id: a body that is not JSON: expected value at line \
             1 column 1"
        );
        assert_eq!(
            failure(json("/id"), &[b' '; 2000]).unwrap(),
            "nothing to save as x from json /id: a body too long to be read as JSON, above 1000 \
             bytes"
        );
        let mut later = request(Vec::new(), &[]);
        let template = "Bearer {{x}}".parse().unwrap();
        later.headers.insert("authorization".to_owned(), template);
        let first = request(Vec::new(), &[("x", json("/token"))]);
        let body = br#"{"token": "a\nb"}"#;
        assert_eq!(inspect(&first, &[], body).1, None);
        assert_eq!(
            inspect(&first, &[later], body).1.unwrap(),
            r#"nothing to save as x from json /token: it cannot be put into the header authorization: "a\nb""#
        );
    }

    #[test]
    fn what_failed_before_is_not_inspected() {
        let names = Names::default();
        let check = Check {
            part: json("/id"),
            condition: Condition::Exists,
        };
        let inspection = Inspection::new(&request(vec![check], &[]), &names, &[]).unwrap();
        let mut outcome = Outcome {
            status: Some(500),
            body_bytes: 0,
            failure: Some(Failure::new(Reason::Status5xx, "500")),
            hops: Vec::new(),
            endpoint: None,
            answer: None,
            inspection: Duration::ZERO,
        };
        let values = Values {
            user: 0,
            iteration: 0,
            unique: 0,
            uuid: "",
            record: &[],
            saved: &[],
        };
        assert!(inspection.apply(&mut outcome, &values).is_empty());
        assert_eq!(outcome.failure.unwrap().reason, Reason::Status5xx);
    }
}
