//! From the body of a request to what it says: media types, and JSON without
//! losing what is written twice.

use std::collections::BTreeSet;
use std::fmt;

use http::{HeaderMap, header};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::apply::PatchKind;
use super::error::ApiError;
use super::protobuf;
use super::request::Parameters;
use super::write::{Change, Edit};

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const PATCH_TYPES: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";
const BODY_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// What a body says.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) value: Value,
    /// The paths of fields which are written twice. The later one counts.
    duplicate_fields: Vec<String>,
}

impl Body {
    fn without_duplicates(value: Value) -> Self {
        Self {
            value,
            duplicate_fields: Vec::new(),
        }
    }

    /// The value, and warnings of fields which are written twice; an error
    /// where they are not accepted.
    pub(super) fn accept(
        self,
        parameters: &Parameters,
    ) -> Result<(Value, BTreeSet<String>), ApiError> {
        let duplicates = self.duplicate_fields.iter();
        let warnings: BTreeSet<_> = duplicates
            .map(|field| format!("duplicate field {field:?}"))
            .collect();
        match parameters.field_validation.as_str() {
            "Strict" if !warnings.is_empty() => {
                let all: Vec<_> = warnings.into_iter().collect();
                let message = format!("strict decoding error: {}", all.join(", "));
                Err(ApiError::BadRequest(message))
            }
            "Ignore" => Ok((self.value, BTreeSet::new())),
            _ => Ok((self.value, warnings)),
        }
    }
}

/// Reads a body as the object it describes.
pub(super) fn object(headers: &HeaderMap, body: &[u8]) -> Result<Body, ApiError> {
    match media_type(headers) {
        "application/json" | "" => from_json(body),
        "application/yaml" => from_yaml(body),
        PROTOBUF => protobuf::decode(body)
            .map(Body::without_duplicates)
            .map_err(|error| {
                ApiError::BadRequest(format!("the body in protobuf cannot be read: {error}"))
            }),
        _ => Err(ApiError::UnsupportedMediaType(BODY_TYPES)),
    }
}

/// Reads the body of a PATCH.
pub(super) fn patch(
    headers: &HeaderMap,
    body: &[u8],
    parameters: &Parameters,
) -> Result<(Change, BTreeSet<String>), ApiError> {
    let (body, change): (_, fn(Value) -> Change) = match media_type(headers) {
        JSON_PATCH => {
            let patch = serde_json::from_slice(body).map_err(|error| {
                ApiError::BadRequest(format!("the body is no JSON patch: {error}"))
            })?;
            return Ok((Change::Edit(Edit::Json(patch)), BTreeSet::new()));
        }
        MERGE_PATCH => (from_json(body)?, |patch| Change::Edit(Edit::Merge(patch))),
        STRATEGIC_PATCH => (from_json(body)?, |patch| {
            Change::Edit(Edit::Strategic(patch))
        }),
        APPLY_PATCH => (from_yaml(body)?, Change::Apply),
        _ => return Err(ApiError::UnsupportedMediaType(PATCH_TYPES)),
    };
    let (value, warnings) = body.accept(parameters)?;
    Ok((change(value), warnings))
}

/// Whether a PATCH is one of server-side apply.
pub(super) fn patch_kind(headers: &HeaderMap) -> PatchKind {
    match media_type(headers) {
        APPLY_PATCH => PatchKind::Apply,
        _ => PatchKind::Other,
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

fn from_json(body: &[u8]) -> Result<Body, ApiError> {
    let read = json(body)
        .map_err(|error| ApiError::BadRequest(format!("the body is no JSON: {error}")))?;
    map_only(read)
}

fn from_yaml(body: &[u8]) -> Result<Body, ApiError> {
    let value: Value = serde_saphyr::from_slice(body)
        .map_err(|error| ApiError::BadRequest(format!("the body is no YAML: {error}")))?;
    map_only(Body::without_duplicates(value))
}

fn map_only(body: Body) -> Result<Body, ApiError> {
    if body.value.is_object() {
        return Ok(body);
    }
    Err(ApiError::BadRequest("the body is no object".to_owned()))
}

fn json(text: &[u8]) -> Result<Body, serde_json::Error> {
    let mut duplicate_fields = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let reader = Reader {
        path: String::new(),
        duplicates: &mut duplicate_fields,
    };
    let value = reader.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(Body {
        value,
        duplicate_fields,
    })
}

/// Reads the JSON value at a path.
struct Reader<'a> {
    path: String,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let element = Reader {
                path: format!("{}[{}]", self.path, list.len()),
                duplicates: self.duplicates,
            };
            match elements.next_element_seed(element)? {
                Some(element) => list.push(element),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let path = match self.path.as_str() {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            if map.contains_key(&name) {
                self.duplicates.push(path.clone());
            }
            let reader = Reader {
                path,
                duplicates: self.duplicates,
            };
            let value = entries.next_value_seed(reader)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_twice_is_told_by_path() {
        let text = br#"{"spec": {"a": 1, "list": [{}, {"b": 1, "b": 2}], "a": 3}, "spec2": null}"#;
        let read = json(text).unwrap();
        let expected = json!({"spec": {"a": 3, "list": [{}, {"b": 2}]}, "spec2": null});
        assert_eq!(read.value, expected);
        assert_eq!(read.duplicate_fields, ["spec.list[1].b", "spec.a"]);
        assert!(json(b"{} x").is_err());
        assert!(json("[".repeat(100_000).as_bytes()).is_err());
    }

    proptest! {
        /// Apart from duplicates it is what everybody reads as JSON.
        #[test]
        fn it_reads_what_is_json(text in r#"[\[\]{}:,"a0-9.e \-]{0,40}"#) {
            let ours = json(text.as_bytes()).map(|read| read.value).ok();
            prop_assert_eq!(ours, serde_json::from_str(&text).ok());
        }
    }
}
