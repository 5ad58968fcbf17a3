//! Which fields a message has: the table in `messages.txt`.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

static MESSAGES: LazyLock<Messages> = LazyLock::new(|| parse(include_str!("messages.txt")));

/// Messages by group, version and name: `apps/v1.Deployment`.
type Messages = HashMap<String, Message>;

/// The fields of a message by their number.
pub(super) type Message = BTreeMap<u64, Field>;

/// One field of a message.
#[derive(Debug)]
pub(super) struct Field {
    /// Its name in an object.
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) content: Content,
}

/// How often a field is there, and what its absence means.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) enum Form {
    /// Zero and empty mean that it is not set.
    Plain,
    /// Zero and empty are values like others.
    Explicit,
    List,
    /// With strings as keys.
    Map,
    /// A message whose fields belong to the message around it.
    Inline,
}

/// What a field holds.
#[derive(Clone, Eq, PartialEq, Debug)]
pub(super) enum Content {
    Text,
    Bool,
    Int,
    /// Base64 in an object.
    Bytes,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    /// JSON as text.
    Json,
    /// The name of the message.
    Message(String),
}

/// The message with this name, if it is known.
pub(super) fn message(name: &str) -> Option<&'static Message> {
    MESSAGES.get(name)
}

fn parse(table: &'static str) -> Messages {
    let mut messages = Messages::new();
    let mut section = "";
    let mut current = String::new();
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            continue;
        }
        let mut words = line.split_whitespace().peekable();
        if !line.starts_with(' ')
            && let Some(name) = words.next()
        {
            current = format!("{section}.{name}");
        }
        if !current.is_empty() {
            let fields = words.map(|word| field(section, word));
            messages.entry(current.clone()).or_default().extend(fields);
        }
    }
    messages
}

fn field(section: &str, word: &'static str) -> (u64, Field) {
    let mut parts = word.splitn(3, ':');
    let mut part = || {
        parts
            .next()
            .expect("messages.txt says number:name:type for each field")
    };
    let number = part()
        .parse()
        .expect("messages.txt begins each field with its number");
    let name = part();
    let text = part();
    let (form, content) = match text.split_at(1) {
        ("?", content) => (Form::Explicit, content),
        ("*", content) => (Form::List, content),
        ("%", content) => (Form::Map, content),
        ("^", content) => (Form::Inline, content),
        _ => (Form::Plain, text),
    };
    let content = match content {
        "string" => Content::Text,
        "bool" => Content::Bool,
        "int" => Content::Int,
        "bytes" => Content::Bytes,
        "quantity" => Content::Quantity,
        "int-or-string" => Content::IntOrString,
        "time" => Content::Time,
        "micro-time" => Content::MicroTime,
        "json" => Content::Json,
        other if other.contains('.') => Content::Message(other.to_owned()),
        local => Content::Message(format!("{section}.{local}")),
    };
    let field = Field {
        name,
        form,
        content,
    };
    (number, field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_that_is_named_is_described() {
        for (name, message) in MESSAGES.iter() {
            for field in message.values() {
                let Content::Message(inner) = &field.content else {
                    assert!(field.form != Form::Inline, "{name}");
                    continue;
                };
                assert!(MESSAGES.contains_key(inner), "{inner} in {name}");
            }
        }
    }
}
