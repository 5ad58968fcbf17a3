//! Fields inside an object, read and changed as plain JSON: the part of an undo that can be proven
//! without a cluster.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One step into an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Segment {
    /// The value under a key.
    Key(String),
    /// The item of a list whose `name` is this one: positions change, names do not.
    Named(String),
}

/// The way to a field: `spec.template.spec.containers[name=app]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Path(Vec<Segment>);

impl Path {
    /// From the root through these keys.
    pub(crate) fn keys<const N: usize>(keys: [&str; N]) -> Self {
        Self(keys.map(|key| Segment::Key(key.to_owned())).into())
    }

    pub(crate) fn key(mut self, key: &str) -> Self {
        self.0.push(Segment::Key(key.to_owned()));
        self
    }

    pub(crate) fn named(mut self, name: &str) -> Self {
        self.0.push(Segment::Named(name.to_owned()));
        self
    }

    /// The value there, if there is one.
    pub(crate) fn get<'value>(&self, root: &'value Value) -> Option<&'value Value> {
        self.0
            .iter()
            .try_fold(root, |value, segment| match segment {
                Segment::Key(key) => value.get(key),
                Segment::Named(name) => value.as_array()?.iter().find(|item| is_named(item, name)),
            })
    }

    /// Puts a value there, or takes away the one that is there. The parent must be there, or
    /// nothing is changed.
    fn put(&self, root: &mut Value, value: Option<&Value>) {
        let Some((last, parents)) = self.0.split_last() else {
            return;
        };
        let parent = parents
            .iter()
            .try_fold(root, |value, segment| match segment {
                Segment::Key(key) => value.get_mut(key),
                Segment::Named(name) => {
                    let items = value.as_array_mut()?;
                    items.iter_mut().find(|item| is_named(item, name))
                }
            });
        match (parent, last) {
            (Some(Value::Object(map)), Segment::Key(key)) => match value {
                Some(value) => drop(map.insert(key.clone(), value.clone())),
                None => drop(map.remove(key)),
            },
            (Some(Value::Array(items)), Segment::Named(name)) => {
                let found = items.iter().position(|item| is_named(item, name));
                match (found, value) {
                    (Some(index), Some(value)) => items[index] = value.clone(),
                    (Some(index), None) => drop(items.remove(index)),
                    (None, Some(value)) => items.push(value.clone()),
                    (None, None) => {}
                }
            }
            _ => {}
        }
    }
}

fn is_named(item: &Value, name: &str) -> bool {
    item.get("name").and_then(Value::as_str) == Some(name)
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if index == 0 => write!(formatter, "{key}")?,
                Segment::Key(key) => write!(formatter, ".{key}")?,
                Segment::Named(name) => write!(formatter, "[name={name}]")?,
            }
        }
        Ok(())
    }
}

/// A field's value before and while a fault is held; `None` is no such field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Field {
    pub(crate) path: Path,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<Value>,
}

impl Field {
    /// The change that gives the field at `path` of `object` the value `to`. It is made at the
    /// nearest parent that is there, so that undoing it takes away the parents it made; and of a
    /// list that loses an item, on the whole list, so that undoing it restores the order.
    pub(crate) fn change(object: &Value, path: Path, to: Option<Value>) -> Self {
        let Some(mut to) = to else {
            return Self::removal(object, path);
        };
        let mut segments = path.0;
        loop {
            let missing_parent = segments.len() > 1
                && Path(segments[..segments.len() - 1].to_vec())
                    .get(object)
                    .is_none();
            if !missing_parent {
                break;
            }
            to = match segments.pop().expect("a longer path has a last segment") {
                Segment::Key(key) => Value::Object(Map::from_iter([(key, to)])),
                Segment::Named(_) => Value::Array(vec![to]),
            };
        }
        let path = Path(segments);
        Self {
            from: path.get(object).cloned(),
            path,
            to: Some(to),
        }
    }

    fn removal(object: &Value, path: Path) -> Self {
        if let Some((Segment::Named(name), parents)) = path.0.split_last() {
            let list = Path(parents.to_vec());
            let from = list.get(object).cloned();
            let mut to = from.clone();
            if let Some(Value::Array(items)) = &mut to {
                items.retain(|item| !is_named(item, name));
            }
            return Self {
                path: list,
                from,
                to,
            };
        }
        Self {
            from: path.get(object).cloned(),
            path,
            to: None,
        }
    }

    pub(crate) fn inject(&self, object: &mut Value) {
        self.path.put(object, self.to.as_ref());
    }

    pub(crate) fn revert(&self, object: &mut Value) {
        self.path.put(object, self.from.as_ref());
    }

    /// Whether it gives the field the value that it has.
    pub(crate) fn changes_nothing(&self) -> bool {
        same(self.from.as_ref(), self.to.as_ref())
    }

    /// Whether the object has the value of the fault.
    pub(crate) fn is_injected(&self, object: &Value) -> bool {
        same(self.path.get(object), self.to.as_ref())
    }

    /// Whether the object has the value from before.
    pub(crate) fn is_reverted(&self, object: &Value) -> bool {
        same(self.path.get(object), self.from.as_ref())
    }
}

/// The API leaves out what is empty, and a Deployment's zero is its own.
fn same(one: Option<&Value>, other: Option<&Value>) -> bool {
    let present = |value: Option<&Value>| value.filter(|value| !is_empty(value)).cloned();
    present(one) == present(other)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A value in a few words.
pub(crate) fn brief(value: Option<&Value>) -> String {
    const LONGEST: usize = 80;
    let Some(value) = value else {
        return "nothing".to_owned();
    };
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.chars().count() <= LONGEST {
        return text;
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{start} …")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn deployment() -> Value {
        json!({"spec": {"replicas": 2, "template": {"spec": {"containers": [
            {"name": "app", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"name": "side"},
        ]}}}})
    }

    fn container(name: &str) -> Path {
        Path::keys(["spec", "template", "spec", "containers"]).named(name)
    }

    #[test]
    fn what_a_change_made_is_taken_away_with_its_parents() {
        let mut object = deployment();
        let env = container("side").key("env").named("C");
        let field = Field::change(&object, env, Some(json!({"name": "C", "value": "3"})));
        assert_eq!(
            field.path.to_string(),
            "spec.template.spec.containers[name=side].env"
        );
        field.inject(&mut object);
        assert_eq!(
            container("side").key("env").get(&object),
            Some(&json!([{"name": "C", "value": "3"}]))
        );
        field.revert(&mut object);
        assert_eq!(object, deployment());
    }

    #[test]
    fn a_removed_item_comes_back_to_its_place() {
        let mut object = deployment();
        let field = Field::change(&object, container("app").key("env").named("A"), None);
        field.inject(&mut object);
        assert_eq!(
            container("app").key("env").get(&object),
            Some(&json!([{"name": "B", "value": "2"}]))
        );
        field.revert(&mut object);
        assert_eq!(object, deployment());
    }

    fn a_path() -> impl Strategy<Value = Path> {
        prop_oneof![
            Just(Path::keys(["spec", "replicas"])),
            Just(Path::keys(["spec", "strategy", "type"])),
            "[a-c]".prop_map(|key| Path::keys(["metadata", "labels"]).key(&key)),
            ("app|side", "[A-C]").prop_map(|(at, name)| container(&at).key("env").named(&name)),
            "app|side".prop_map(|at| container(&at).key("readinessProbe")),
        ]
    }

    fn a_value(path: &Path, number: u8) -> Value {
        match path.0.last() {
            Some(Segment::Named(name)) => json!({"name": name, "value": number.to_string()}),
            _ => json!(number),
        }
    }

    proptest! {
        /// Undo after inject is the object as it was, and undoing twice is undoing once.
        #[test]
        fn undo_is_the_inverse_of_inject(
            changes in proptest::collection::vec((a_path(), any::<Option<u8>>()), 1..6)
        ) {
            let before = deployment();
            let mut object = before.clone();
            let mut fields = Vec::new();
            for (path, number) in changes {
                let to = number.map(|number| a_value(&path, number));
                let field = Field::change(&object, path, to);
                field.inject(&mut object);
                prop_assert!(field.is_injected(&object));
                fields.push(field);
            }
            for field in fields.iter().rev() {
                field.revert(&mut object);
                prop_assert!(field.is_reverted(&object));
                let once = object.clone();
                field.revert(&mut object);
                prop_assert_eq!(&object, &once);
            }
            prop_assert_eq!(object, before);
        }
    }
}
