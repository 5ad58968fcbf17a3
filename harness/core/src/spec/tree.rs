//! YAML text to a tree that knows where each of its parts stands in the text. Knows YAML, and
//! nothing of experiments.

use std::ops::Range;

use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span};

use super::problems::Problems;

/// Nobody writes an experiment deeper than this; it bounds recursion on hostile input.
const NESTING_LIMIT: usize = 64;

/// One YAML node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// What to underline: the scalar, or the first line of the collection.
    pub(super) at: Range<usize>,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
    /// Something already reported; readers pass over it in silence.
    Broken,
}

#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Neither quoted nor a block: `5` is a number and `~` is nothing.
    pub(super) plain: bool,
    /// Whether a parameter's value was put in: numbers may be quoted then.
    pub(super) substituted: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) at: Range<usize>,
}

impl Node {
    /// Whether the node is YAML's null, written or left out.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar)
            if scalar.plain && matches!(scalar.text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The value of `name` in a map.
    pub(super) fn entry(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find(|(key, _)| key.text == name)
                .map(|(_, node)| node),
            Value::Scalar(_) | Value::List(_) | Value::Broken => None,
        }
    }
}

/// Reads the one document of `text`. Reports everything that is not plain YAML data: tags,
/// aliases, keys that are no text, keys given twice, further documents.
pub(super) fn read(text: &str, problems: &mut Problems) -> Option<Node> {
    let mut options = Options::default();
    options.emit_comments = false;
    options.flow_nesting_limit = NESTING_LIMIT;
    options.block_nesting_limit = NESTING_LIMIT;
    let mut builder = Builder {
        text,
        events: Parser::new_from_str_with_options(text, options),
        problems,
    };
    match builder.document() {
        Ok(root) => root,
        Err(error) => {
            let offset = error.marker().byte_offset().unwrap_or(text.len());
            problems.report(
                &(offset..offset + 1),
                format!("not valid YAML: {}", error.info()),
                "allowed: one YAML document",
            );
            None
        }
    }
}

struct Builder<'text, 'problems, Events> {
    text: &'text str,
    events: Events,
    problems: &'problems mut Problems,
}

impl<'text, Events> Builder<'text, '_, Events>
where
    Events: Iterator<Item = Result<(Event<'text>, Span), ScanError>>,
{
    fn document(&mut self) -> Result<Option<Node>, ScanError> {
        let mut root = None;
        while let Some((event, span)) = self.events.next().transpose()? {
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                Event::DocumentStart(..) if root.is_some() => {
                    self.problems.report(
                        &bytes(&span),
                        "a second document begins here",
                        "allowed: one experiment per file",
                    );
                    break;
                }
                Event::DocumentStart(..) => {}
                content => root = Some(self.node(content, &span)?),
            }
        }
        if root.is_none() {
            self.problems.report(
                &(0..0),
                "the file holds no experiment",
                "allowed: a map with apiVersion, kind, metadata and spec",
            );
        }
        Ok(root)
    }

    fn node(&mut self, event: Event<'text>, span: &Span) -> Result<Node, ScanError> {
        let start = bytes(span);
        let tagged = event.tag().is_some();
        let (value, end) = match event {
            Event::Scalar(text, style, ..) => {
                let scalar = Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                    substituted: false,
                };
                (Value::Scalar(scalar), start.end)
            }
            Event::SequenceStart(..) => self.list()?,
            Event::MappingStart(..) => self.map()?,
            Event::Alias(_) => {
                self.problems.report(
                    &start,
                    "aliases are not supported",
                    "allowed: the value itself, or a parameter: ${name}",
                );
                (Value::Broken, start.end)
            }
            other => {
                self.problems.report(
                    &start,
                    format!("{other:?} is not data"),
                    "allowed: maps, lists and scalars",
                );
                (Value::Broken, start.end)
            }
        };
        let at = self.first_line(start.start, end);
        if tagged {
            self.problems.report(
                &at,
                "tags are not supported",
                "allowed: the value without its tag",
            );
            return Ok(Node {
                at,
                value: Value::Broken,
            });
        }
        Ok(Node { at, value })
    }

    fn list(&mut self) -> Result<(Value, usize), ScanError> {
        let mut items = Vec::new();
        while let Some((event, span)) = self.events.next().transpose()? {
            if event == Event::SequenceEnd {
                return Ok((Value::List(items), bytes(&span).end));
            }
            items.push(self.node(event, &span)?);
        }
        Ok((Value::Broken, self.text.len()))
    }

    fn map(&mut self) -> Result<(Value, usize), ScanError> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        while let Some((event, span)) = self.events.next().transpose()? {
            if event == Event::MappingEnd {
                return Ok((Value::Map(entries), bytes(&span).end));
            }
            let key = self.node(event, &span)?;
            let Some((event, span)) = self.events.next().transpose()? else {
                break;
            };
            let value = self.node(event, &span)?;
            let Value::Scalar(scalar) = key.value else {
                self.problems
                    .report(&key.at, "a key must be text", "allowed: a field's name");
                continue;
            };
            if entries.iter().any(|(known, _)| known.text == scalar.text) {
                self.problems.report(
                    &key.at,
                    format!("`{}` is given twice", scalar.text),
                    "allowed: each field once",
                );
                continue;
            }
            let key = Key {
                text: scalar.text,
                at: key.at,
            };
            entries.push((key, value));
        }
        Ok((Value::Broken, self.text.len()))
    }

    /// The part of `start..end` on its first line, without trailing blanks.
    fn first_line(&self, start: usize, end: usize) -> Range<usize> {
        let end = end.max(start);
        let stretch = self.text.get(start..end).unwrap_or_default();
        let line = stretch.lines().next().unwrap_or_default().trim_end();
        start..start + line.len()
    }
}

fn bytes(span: &Span) -> Range<usize> {
    span.byte_range().unwrap_or(0..0)
}
