//! One revision of an object, as all its readers share it.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::object;

/// An object which does not change any more. Its text and its typed form are
/// made when first asked for, once for all readers.
pub(crate) struct Stored {
    value: Value,
    weight: usize,
    text: OnceLock<Bytes>,
    typed: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Stored {
    pub(crate) fn new(value: Value) -> Self {
        Self {
            weight: weight(&value),
            value,
            text: OnceLock::new(),
            typed: OnceLock::new(),
        }
    }

    /// About how many bytes of memory the object takes, without its text and its
    /// typed form.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// The object as JSON.
    pub(crate) fn text(&self) -> &Bytes {
        self.text.get_or_init(|| {
            #[cfg(test)]
            super::work::count_written();
            Bytes::from(self.value.to_string())
        })
    }

    /// The object as its type. What does not fit is told: the API lets nothing
    /// of that sort in.
    pub(crate) fn typed<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let known = self.typed.get().cloned();
        if let Some(typed) = known.and_then(|typed| typed.downcast().ok()) {
            return Some(typed);
        }
        #[cfg(test)]
        super::work::count_parsed();
        match T::deserialize(&self.value) {
            Ok(typed) => {
                let typed = Arc::new(typed);
                // Whoever was faster has stored the same.
                drop(self.typed.set(Arc::clone(&typed) as _));
                Some(typed)
            }
            Err(error) => {
                let (kind, name) = (object::text(self, "/kind"), object::name(self));
                tracing::error!(%error, kind, name, "stored object does not fit its type");
                None
            }
        }
    }
}

fn weight(value: &Value) -> usize {
    let inner = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(elements) => elements.iter().map(weight).sum(),
        Value::Object(fields) => {
            let fields = fields.iter();
            fields
                .map(|(name, value)| size_of::<String>() + name.len() + weight(value))
                .sum()
        }
    };
    size_of::<Value>() + inner
}

impl Deref for Stored {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

impl Serialize for Stored {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(formatter)
    }
}
