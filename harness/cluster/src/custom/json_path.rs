//! The simple JSON paths of definitions: `.spec.replicas`,
//! `.metadata.labels.app\.kubernetes\.io/name`, `.spec.list[0]`, `['a key']`,
//! `[*]`, `.status.conditions[?(@.type=="Ready")].status`.

use serde_json::Value;

/// A path through an object.
#[derive(Clone, Debug)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    Field(String),
    /// Counted from the end when negative.
    Index(i64),
    All,
    /// The elements of which the value at a path is this one.
    Equal {
        path: JsonPath,
        value: Value,
    },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum JsonPathError {
    #[error("must be a simple json path starting with a dot")]
    NoDot,
    #[error("{0:?} is not understood in a json path by the local cluster")]
    NotUnderstood(String),
}

impl JsonPath {
    pub(crate) fn parse(text: &str) -> Result<Self, JsonPathError> {
        if !text.starts_with(['.', '[']) {
            return Err(JsonPathError::NoDot);
        }
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (step, remaining) =
                step(rest).ok_or_else(|| JsonPathError::NotUnderstood(rest.to_owned()))?;
            steps.extend(step);
            rest = remaining;
        }
        Ok(Self(steps))
    }

    /// The first value at this path.
    pub(crate) fn first<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        follow(&self.0, object)
    }

    /// The names on the way, if it leads through fields only.
    pub(crate) fn fields(&self) -> Option<Vec<&str>> {
        let steps = self.0.iter();
        steps
            .map(|step| match step {
                Step::Field(name) => Some(name.as_str()),
                Step::Index(_) | Step::All | Step::Equal { .. } => None,
            })
            .collect()
    }
}

fn follow<'a>(steps: &[Step], value: &'a Value) -> Option<&'a Value> {
    let Some((step, rest)) = steps.split_first() else {
        return Some(value);
    };
    match step {
        Step::Field(name) => follow(rest, value.get(name)?),
        Step::Index(index) => {
            let elements = value.as_array()?;
            let index = match usize::try_from(*index) {
                Ok(index) => index,
                Err(_) => elements
                    .len()
                    .checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
            };
            follow(rest, elements.get(index)?)
        }
        Step::All => match value {
            Value::Array(elements) => elements.iter().find_map(|element| follow(rest, element)),
            Value::Object(fields) => fields.values().find_map(|field| follow(rest, field)),
            _ => None,
        },
        Step::Equal {
            path,
            value: wanted,
        } => {
            let mut chosen = value
                .as_array()?
                .iter()
                .filter(|element| path.first(element) == Some(wanted));
            chosen.find_map(|element| follow(rest, element))
        }
    }
}

/// The first step and what follows it. A final dot is no step.
fn step(text: &str) -> Option<(Option<Step>, &str)> {
    if let Some(inner) = text.strip_prefix("[?(") {
        let (condition, rest) = inner.split_once(")]")?;
        return Some((Some(comparison(condition)?), rest));
    }
    if let Some(inner) = text.strip_prefix('[') {
        let (inner, rest) = inner.split_once(']')?;
        let quoted = |quote| inner.strip_prefix(quote)?.strip_suffix(quote);
        let step = match quoted('\'').or_else(|| quoted('"')) {
            Some(name) => Step::Field(name.replace("\\.", ".")),
            None if inner == "*" => Step::All,
            None => Step::Index(inner.parse().ok()?),
        };
        return Some((Some(step), rest));
    }
    let (name, rest) = field(text.strip_prefix('.')?);
    let step = match name.as_str() {
        "" if rest.starts_with('[') || rest.is_empty() => None,
        "" => return None,
        "*" => Some(Step::All),
        _ => Some(Step::Field(name)),
    };
    Some((step, rest))
}

/// A field's name up to the next dot or bracket which no backslash precedes.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((position, character)) = characters.next() {
        match character {
            '.' | '[' => return (name, &text[position..]),
            '\\' => name.extend(characters.next().map(|(_, escaped)| escaped)),
            plain => name.push(plain),
        }
    }
    (name, "")
}

/// `@.type=="Ready"`
fn comparison(text: &str) -> Option<Step> {
    let (path, value) = text.split_once("==")?;
    let value = value.trim();
    let quoted = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    let value = match quoted('\'').or_else(|| quoted('"')) {
        Some(text) => Value::String(text.to_owned()),
        None => serde_json::from_str(value).ok()?,
    };
    let path = JsonPath::parse(path.trim().strip_prefix('@')?).ok()?;
    Some(Step::Equal { path, value })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_to_values() {
        let object = json!({
            "metadata": {"labels": {"a.b/c": "label"}},
            "spec": {"list": [1, 2, 3], "map": {"x": {"y": 4}}},
            "status": {"conditions": [
                {"type": "Other", "status": "False"},
                {"type": "Ready", "status": "True"},
            ]},
        });
        for (path, expected) in [
            (".spec.list[1]", json!(2)),
            (".spec.list[-1]", json!(3)),
            (".spec.list[*]", json!(1)),
            (".spec['map'].x.y", json!(4)),
            (".spec.map[*].y", json!(4)),
            (r".metadata.labels.a\.b/c", json!("label")),
            (
                r#".status.conditions[?(@.type=="Ready")].status"#,
                json!("True"),
            ),
            (
                ".status.conditions[?(@.type == 'Other')].status",
                json!("False"),
            ),
        ] {
            let parsed = JsonPath::parse(path).unwrap();
            assert_eq!(parsed.first(&object), Some(&expected), "{path}");
        }
        let absent = JsonPath::parse(".spec.absent.y").unwrap();
        assert_eq!(absent.first(&object), None);
    }

    #[test]
    fn other_paths_are_refused() {
        for path in ["spec", ".a..b", ".a[", ".a[x]", ".a[?(@.b>1)]", ""] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
