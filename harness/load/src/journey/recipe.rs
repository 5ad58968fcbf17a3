//! Templates made ready: names have become places, and values are encoded where they are put in.

use std::fmt::Write as _;

use holdfast_core::template::{self, Template, Variable};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a value must not stand for in a path or a query: everything but RFC 3986's unreserved
/// characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What the holes of a journey's templates can be filled with, by name.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Fields of the records, as they are read.
    pub(super) fields: Vec<String>,
    /// What answers are asked to save.
    pub(super) saved: Vec<String>,
}

/// What the holes of one request are filled with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    /// The number of the user or of the place in flight.
    pub(super) user: u32,
    pub(super) iteration: u64,
    pub(super) unique: u64,
    /// Empty where none is needed.
    pub(super) uuid: &'a str,
    /// In the order of [`Names::fields`].
    pub(super) record: &'a [Box<str>],
    /// In the order of [`Names::saved`].
    pub(super) saved: &'a [Option<String>],
}

/// A random UUID (version 4), never the same again, whatever the plan's seed is.
pub(super) fn uuid() -> String {
    let bits: u128 = rand::random();
    // The version and the variant have fixed places (RFC 9562).
    let bits = bits & !(0xF << 76) | 0x4 << 76;
    let bits = bits & !(0b11 << 62) | 0b10 << 62;
    let digits = format!("{bits:032x}");
    [0..8, 8..12, 12..16, 16..20, 20..32]
        .map(|group| &digits[group])
        .join("-")
}

/// How a value is written, by what surrounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As it is.
    Plain,
    /// Percent-encoded.
    Path,
    /// As the inside of a JSON string.
    Json,
}

/// A template, made ready.
#[derive(Debug)]
pub(super) struct Recipe {
    pieces: Vec<Piece>,
    encoding: Encoding,
}

#[derive(Debug)]
enum Piece {
    Text(Box<str>),
    User,
    Iteration,
    Unique,
    Uuid,
    /// Its place in [`Names::fields`].
    Field(usize),
    /// Its place in [`Names::saved`].
    Saved(usize),
}

impl Recipe {
    pub(super) fn new(template: &Template, encoding: Encoding, names: &Names) -> Self {
        let place = |names: &[String], name: &str| {
            let place = names.iter().position(|known| known == name);
            place.expect("every name that a journey's templates use is listed")
        };
        let pieces = template.pieces().iter().map(|piece| match piece {
            template::Piece::Text(text) => Piece::Text(text.as_str().into()),
            template::Piece::Hole(variable) => match variable {
                Variable::User => Piece::User,
                Variable::Iteration => Piece::Iteration,
                Variable::Unique => Piece::Unique,
                Variable::Uuid => Piece::Uuid,
                Variable::Data(field) => Piece::Field(place(&names.fields, field)),
                Variable::Saved(name) => Piece::Saved(place(&names.saved, name)),
            },
        });
        Self {
            pieces: pieces.collect(),
            encoding,
        }
    }

    /// Writes the text with every hole filled, in place of the one before; `None` when a value is
    /// missing.
    pub(super) fn write(&self, values: &Values<'_>, text: &mut String) -> Option<()> {
        text.clear();
        for piece in &self.pieces {
            match piece {
                Piece::Text(fixed) => text.push_str(fixed),
                Piece::User => number(values.user.into(), text),
                Piece::Iteration => number(values.iteration, text),
                Piece::Unique => number(values.unique, text),
                Piece::Uuid => text.push_str(values.uuid),
                Piece::Field(place) => self.encoding.write(&values.record[*place], text),
                Piece::Saved(place) => self.encoding.write(values.saved[*place].as_ref()?, text),
            }
        }
        Some(())
    }
}

impl Encoding {
    fn write(self, value: &str, text: &mut String) {
        match self {
            Self::Plain => text.push_str(value),
            Self::Path => text.extend(utf8_percent_encode(value, RESERVED)),
            Self::Json => {
                let quoted = serde_json::Value::from(value).to_string();
                text.push_str(&quoted[1..quoted.len() - 1]);
            }
        }
    }
}

fn number(number: u64, text: &mut String) {
    write!(text, "{number}").expect("a string takes every text");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn filled(template: &str, encoding: Encoding, value: &str) -> String {
        let names = Names {
            fields: vec!["f".to_owned()],
            saved: vec!["s".to_owned()],
        };
        let values = Values {
            user: 3,
            iteration: 2,
            unique: 1 << 40,
            uuid: "u-u",
            record: &[value.into()],
            saved: &[Some(value.to_owned())],
        };
        let mut text = String::new();
        let recipe = Recipe::new(&template.parse().unwrap(), encoding, &names);
        recipe.write(&values, &mut text).unwrap();
        text
    }

    #[test]
    fn every_hole_is_filled() {
        let template = "{{user}} {{iteration}} {{unique}} {{uuid}} {{data.f}} {{s}} {{{{";
        let text = filled(template, Encoding::Plain, "v");
        assert_eq!(text, "3 2 1099511627776 u-u v v {{");
    }

    #[test]
    fn a_missing_value_leaves_no_text() {
        let names = Names {
            fields: Vec::new(),
            saved: vec!["s".to_owned()],
        };
        let values = Values {
            user: 0,
            iteration: 0,
            unique: 0,
            uuid: "",
            record: &[],
            saved: &[None],
        };
        let recipe = Recipe::new(&"{{s}}".parse().unwrap(), Encoding::Plain, &names);
        assert_eq!(recipe.write(&values, &mut String::new()), None);
    }

    #[test]
    fn uuids_are_of_version_4_and_differ() {
        let uuids: Vec<String> = (0..100).map(|_| uuid()).collect();
        let form = regex::Regex::new(
            "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
        );
        let form = form.unwrap();
        for uuid in &uuids {
            assert!(form.is_match(uuid), "{uuid}");
        }
        assert_eq!(uuids.iter().collect::<BTreeSet<_>>().len(), 100);
    }

    proptest! {
        /// Whatever a value is, a server reads it back from where it was put.
        #[test]
        fn values_survive_their_encoding(value in any::<String>()) {
            let path = filled("/a/{{s}}?q={{data.f}}", Encoding::Path, &value);
            let url = url::Url::parse(&format!("http://h{path}")).unwrap();
            let (_, query) = url.query_pairs().next().unwrap();
            prop_assert_eq!(&query, &value);
            prop_assert!(path.is_ascii() && path.matches('/').count() == 2);

            let body = filled(r#"{"a":["{{s}}"]}"#, Encoding::Json, &value);
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(body, serde_json::json!({"a": [value.clone()]}));

            prop_assert_eq!(filled("{{s}}", Encoding::Plain, &value), value);
        }
    }
}
