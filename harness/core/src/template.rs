//! Text with holes: `{{name}}` is replaced by a value when a request is made.
//!
//! | hole | value |
//! |---|---|
//! | `{{data.x}}` | field `x` of the journey's record |
//! | `{{user}}` | number of the user or of the place in flight, from 0 |
//! | `{{iteration}}` | how often this user has begun a journey before |
//! | `{{unique}}` | a whole number that no other request of the run gets |
//! | `{{uuid}}` | a random UUID (version 4), the same wherever it stands in one request |
//! | `{{x}}` | what an earlier answer of the journey was asked to save as `x` |
//!
//! `{{{{` stands for two braces that open no hole.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Text with holes; shown and stored as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    pieces: Vec<Piece>,
}

/// A stretch of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it is.
    Text(String),
    /// A hole.
    Hole(Variable),
}

/// What a hole is filled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// A field of the journey's record.
    Data(String),
    /// The number of the user or of the place in flight.
    User,
    /// How often this user has begun a journey before.
    Iteration,
    /// A whole number that no other request of the run gets.
    Unique,
    /// A random UUID.
    Uuid,
    /// What an earlier answer was asked to save under this name.
    Saved(String),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("`{{{{` without `}}}}`")]
    NotClosed,
    /// Not a name between the braces.
    #[error("`{{{{{0}}}}}` is not a variable")]
    NotAName(String),
}

impl Variable {
    /// Whether it is the value of an earlier answer.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        matches!(self, Self::Saved(_))
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(field) = text.strip_prefix("data.") {
            return (!field.is_empty()).then(|| Self::Data(field.to_owned()));
        }
        Some(match text {
            "user" => Self::User,
            "iteration" => Self::Iteration,
            "unique" => Self::Unique,
            "uuid" => Self::Uuid,
            name if is_name(name) => Self::Saved(name.to_owned()),
            _ => return None,
        })
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(field) => write!(formatter, "data.{field}"),
            Self::User => formatter.write_str("user"),
            Self::Iteration => formatter.write_str("iteration"),
            Self::Unique => formatter.write_str("unique"),
            Self::Uuid => formatter.write_str("uuid"),
            Self::Saved(name) => formatter.write_str(name),
        }
    }
}

/// Whether an answer's part can be saved under this name: a letter, then letters, digits, `_` and
/// `-`, and not one of the variables that are always there.
#[must_use]
pub fn is_savable_name(name: &str) -> bool {
    is_name(name) && matches!(Variable::parse(name), Some(Variable::Saved(_)))
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

impl Template {
    /// A text without holes, whatever is in it.
    #[must_use]
    pub fn fixed(text: &str) -> Self {
        Self {
            pieces: vec![Piece::Text(text.to_owned())],
        }
    }

    fn push_text(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            Some(Piece::Hole(_)) | None if text.is_empty() => {}
            Some(Piece::Hole(_)) | None => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    /// Its stretches, in order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// What its holes are filled with, in order.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Hole(variable) => Some(variable),
        })
    }

    /// The text when there are no holes.
    #[must_use]
    pub fn as_fixed(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text with every hole filled by `fill`.
    #[must_use]
    pub fn filled(&self, fill: impl Fn(&Variable) -> String) -> String {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Hole(variable) => fill(variable),
        });
        pieces.collect()
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    /// Of four braces in a row the first two are text, of three the first one.
    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut template = Self { pieces: Vec::new() };
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            template.push_text(before);
            if let Some(after) = after.strip_prefix("{{") {
                template.push_text("{{");
                rest = after;
                continue;
            }
            let after = after.strip_prefix('{').map_or(after, |after| {
                template.push_text("{");
                after
            });
            let (name, after) = after.split_once("}}").ok_or(TemplateError::NotClosed)?;
            let name = name.trim();
            let variable =
                Variable::parse(name).ok_or_else(|| TemplateError::NotAName(name.to_owned()))?;
            template.pieces.push(Piece::Hole(variable));
            rest = after;
        }
        template.push_text(rest);
        if template.pieces.is_empty() {
            template.pieces.push(Piece::Text(String::new()));
        }
        Ok(template)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => formatter.write_str(&text.replace("{{", "{{{{")),
            Piece::Hole(variable) => write!(formatter, "{{{{{variable}}}}}"),
        })
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        text.parse()
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Template {
        text.parse().unwrap()
    }

    #[test]
    fn holes_are_found_and_filled() {
        let template = parse("/orders/{{ id }}?by={{data.name}}&n={{unique}}");
        let variables: Vec<String> = template.variables().map(ToString::to_string).collect();
        assert_eq!(variables, ["id", "data.name", "unique"]);
        let filled = template.filled(|variable| format!("<{variable}>"));
        assert_eq!(filled, "/orders/<id>?by=<data.name>&n=<unique>");
        assert_eq!(template.as_fixed(), None);
        assert_eq!(parse("a } { b").as_fixed(), Some("a } { b"));
        assert_eq!(parse("").as_fixed(), Some(""));
    }

    #[test]
    fn braces_that_open_no_hole_are_doubled() {
        assert_eq!(parse("{{{{x}}").as_fixed(), Some("{{x}}"));
        assert_eq!(parse("{{{user}}}").filled(|_| "7".to_owned()), "{7}");
        for braces in 0..9 {
            let text = "{".repeat(braces);
            for template in [
                Template::fixed(&text),
                Template::fixed(&format!("{text}x{text}")),
                parse(&format!("{}{{{{user}}}}", Template::fixed(&text))),
            ] {
                assert_eq!(parse(&template.to_string()), template);
            }
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert_eq!(
            "{{id".parse::<Template>().unwrap_err(),
            TemplateError::NotClosed
        );
        for name in ["", "1a", "a b", "data.", "a.b"] {
            let error = format!("{{{{{name}}}}}").parse::<Template>().unwrap_err();
            assert_eq!(error, TemplateError::NotAName(name.to_owned()));
        }
        assert_eq!(
            TemplateError::NotAName("a b".to_owned()).to_string(),
            "`{{a b}}` is not a variable"
        );
    }

    #[test]
    fn only_free_names_can_be_saved() {
        for name in ["id", "order-id", "x_1"] {
            assert!(is_savable_name(name), "{name}");
        }
        for name in ["user", "uuid", "data.x", "", "1", "a b"] {
            assert!(!is_savable_name(name), "{name}");
        }
    }

    #[test]
    fn a_template_survives_json() {
        let template = parse("x{{user}}{{a}}y");
        let json = serde_json::to_string(&template).unwrap();
        assert_eq!(json, r#""x{{user}}{{a}}y""#);
        assert_eq!(serde_json::from_str::<Template>(&json).unwrap(), template);
    }
}
