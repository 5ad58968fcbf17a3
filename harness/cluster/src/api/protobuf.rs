//! Bodies in protobuf, which some kubectl commands send: from the wire to the
//! JSON object that they mean.
//!
//! One table of field numbers and one reader of the wire do for all kinds; what
//! an object must be like is decided later, as for JSON. Answers are JSON.

mod schema;
mod wire;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};

use schema::{Content, Field, Form, Message};
use wire::{WireError, WireValue, fields, packed};

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// The section of the table with what all groups share.
const META: &str = "meta/v1";

/// A body that is no object this cluster can read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProtobufError {
    #[error("it does not begin with the four bytes of Kubernetes' protobuf")]
    NoMagic,
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("{kind} of {api_version} is not read from protobuf here: send JSON")]
    UnknownKind { api_version: String, kind: String },
    #[error("an object in the encoding {0:?} is not read here")]
    Encoded(String),
    #[error("{0} has a value of another type")]
    WrongType(&'static str),
    #[error("{0} is no UTF-8")]
    NoText(&'static str),
    #[error("{0} is no time")]
    NoTime(&'static str),
    #[error("{field} is no JSON")]
    NoJson {
        field: &'static str,
        source: serde_json::Error,
    },
}

/// The object in a body, with `apiVersion` and `kind`. A field which the table
/// does not know appears under its number, to be reported as unknown.
pub(super) fn decode(body: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = body.strip_prefix(MAGIC).ok_or(ProtobufError::NoMagic)?;
    let [mut type_meta, mut object, mut encoding] = [&[][..]; 3];
    for field in fields(envelope) {
        match field? {
            (1, WireValue::Bytes(bytes)) => type_meta = bytes,
            (2, WireValue::Bytes(bytes)) => object = bytes,
            (3, WireValue::Bytes(bytes)) => encoding = bytes,
            _ => {}
        }
    }
    if !encoding.is_empty() {
        let encoding = String::from_utf8_lossy(encoding).into_owned();
        return Err(ProtobufError::Encoded(encoding));
    }
    let (api_version, kind) = type_of(type_meta)?;
    let section = match kind {
        // Sent in the version of what is to be deleted.
        "DeleteOptions" => META,
        _ => api_version,
    };
    let known = schema::message(&format!("{section}.{kind}"));
    let message = known.ok_or_else(|| ProtobufError::UnknownKind {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
    })?;
    let mut decoded = Map::new();
    read_message(message, object, &mut decoded)?;
    decoded.insert("apiVersion".to_owned(), api_version.into());
    decoded.insert("kind".to_owned(), kind.into());
    Ok(Value::Object(decoded))
}

fn type_of(type_meta: &[u8]) -> Result<(&str, &str), ProtobufError> {
    let [mut api_version, mut kind] = [""; 2];
    for field in fields(type_meta) {
        match field? {
            (1, value) => api_version = text("apiVersion", value)?,
            (2, value) => kind = text("kind", value)?,
            _ => {}
        }
    }
    Ok((api_version, kind))
}

fn read_message(
    message: &Message,
    bytes: &[u8],
    object: &mut Map<String, Value>,
) -> Result<(), ProtobufError> {
    for field in fields(bytes) {
        let (number, value) = field?;
        match message.get(&number) {
            Some(known) => read_field(known, value, object)?,
            None if value.is_zero() => {}
            None => {
                object.insert(format!("#{number}"), Value::Null);
            }
        }
    }
    Ok(())
}

fn read_field(
    field: &Field,
    value: WireValue<'_>,
    object: &mut Map<String, Value>,
) -> Result<(), ProtobufError> {
    let name = field.name;
    match field.form {
        Form::Plain => {
            let content = read_content(field, value)?;
            if !is_unset(&content) {
                object.insert(name.to_owned(), content);
            }
        }
        Form::Explicit => {
            object.insert(name.to_owned(), read_content(field, value)?);
        }
        Form::Inline => {
            let Value::Object(inner) = read_content(field, value)? else {
                return Err(ProtobufError::WrongType(name));
            };
            object.extend(inner);
        }
        Form::List => {
            let elements = read_elements(field, value)?;
            let list = object.entry(name).or_insert_with(|| Value::Array(vec![]));
            if let Value::Array(list) = list {
                list.extend(elements);
            }
        }
        Form::Map => {
            let (key, content) = read_entry(field, value)?;
            let map = object
                .entry(name)
                .or_insert_with(|| Value::Object(Map::new()));
            map[key] = content;
        }
    }
    Ok(())
}

/// Whether it is what stands on the wire for a field that nobody set.
fn is_unset(content: &Value) -> bool {
    match content {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// One element of a list, or several packed numbers.
fn read_elements(field: &Field, value: WireValue<'_>) -> Result<Vec<Value>, ProtobufError> {
    match (&field.content, value) {
        (Content::Int, WireValue::Bytes(bytes)) => {
            Ok(packed(bytes)?.into_iter().map(whole).collect())
        }
        _ => Ok(vec![read_content(field, value)?]),
    }
}

/// An entry of a map: a message of key and content.
fn read_entry(field: &Field, entry: WireValue<'_>) -> Result<(String, Value), ProtobufError> {
    let (mut key, mut content) = (String::new(), WireValue::Bytes(&[]));
    for part in fields(bytes(field, entry)?) {
        match part? {
            (1, value) => key = text(field.name, value)?.to_owned(),
            (2, value) => content = value,
            _ => {}
        }
    }
    Ok((key, read_content(field, content)?))
}

fn read_content(field: &Field, value: WireValue<'_>) -> Result<Value, ProtobufError> {
    let name = field.name;
    Ok(match &field.content {
        Content::Text => text(name, value)?.into(),
        Content::Bool => (number(name, value)? != 0).into(),
        Content::Int => whole(number(name, value)?),
        Content::Bytes => BASE64.encode(bytes(field, value)?).into(),
        Content::Quantity => match part(field, value, 1)? {
            Some(amount) => text(name, amount)?.into(),
            None => "0".into(),
        },
        Content::IntOrString => int_or_string(field, value)?,
        Content::Time => time(field, value)?.map_or(Value::Null, |time| time.to_string().into()),
        Content::MicroTime => {
            time(field, value)?.map_or(Value::Null, |time| format!("{time:.6}").into())
        }
        Content::Json => match part(field, value, 1)? {
            Some(json) => {
                let json = bytes(field, json)?;
                serde_json::from_slice(json).map_err(|source| ProtobufError::NoJson {
                    field: name,
                    source,
                })?
            }
            None => Value::Null,
        },
        Content::Message(message) => {
            let message =
                schema::message(message).expect("messages.txt names only messages it describes");
            let mut object = Map::new();
            read_message(message, bytes(field, value)?, &mut object)?;
            Value::Object(object)
        }
    })
}

/// A number of at most 64 bits as signed: negative ones are sent as their two's complement.
fn whole(number: u64) -> Value {
    number.cast_signed().into()
}

/// Kind (1 for a string), number, string.
fn int_or_string(field: &Field, value: WireValue<'_>) -> Result<Value, ProtobufError> {
    let is_string = match part(field, value, 1)? {
        Some(kind) => number(field.name, kind)? == 1,
        None => false,
    };
    let number_of = if is_string { 3 } else { 2 };
    Ok(match part(field, value, number_of)? {
        Some(value) if is_string => text(field.name, value)?.into(),
        Some(value) => whole(number(field.name, value)?),
        None if is_string => "".into(),
        None => 0.into(),
    })
}

/// Seconds and nanoseconds; both zero stand for no time.
fn time(field: &Field, value: WireValue<'_>) -> Result<Option<Timestamp>, ProtobufError> {
    let mut parts = [0_i64; 2];
    for (place, number_of) in parts.iter_mut().zip(1..) {
        if let Some(value) = part(field, value, number_of)? {
            *place = number(field.name, value)?.cast_signed();
        }
    }
    let [seconds, nanoseconds] = parts;
    if parts == [0, 0] {
        return Ok(None);
    }
    let time = i32::try_from(nanoseconds)
        .ok()
        .and_then(|nanoseconds| Timestamp::new(seconds, nanoseconds).ok());
    time.map(Some).ok_or(ProtobufError::NoTime(field.name))
}

/// The field with this number of a small message.
fn part<'a>(
    field: &Field,
    message: WireValue<'a>,
    wanted: u64,
) -> Result<Option<WireValue<'a>>, ProtobufError> {
    let mut found = None;
    for part in fields(bytes(field, message)?) {
        let (number, value) = part?;
        if number == wanted {
            found = Some(value);
        }
    }
    Ok(found)
}

fn number(name: &'static str, value: WireValue<'_>) -> Result<u64, ProtobufError> {
    match value {
        WireValue::Number(number) => Ok(number),
        WireValue::Bytes(_) => Err(ProtobufError::WrongType(name)),
    }
}

fn text<'a>(name: &'static str, value: WireValue<'a>) -> Result<&'a str, ProtobufError> {
    match value {
        WireValue::Bytes(bytes) => str::from_utf8(bytes).map_err(|_| ProtobufError::NoText(name)),
        WireValue::Number(_) => Err(ProtobufError::WrongType(name)),
    }
}

fn bytes<'a>(field: &Field, value: WireValue<'a>) -> Result<&'a [u8], ProtobufError> {
    match value {
        WireValue::Bytes(bytes) => Ok(bytes),
        WireValue::Number(_) => Err(ProtobufError::WrongType(field.name)),
    }
}

#[cfg(test)]
pub(super) mod tests;
