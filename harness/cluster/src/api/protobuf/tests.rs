use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::store::Resource;

/// A number as it stands on the wire.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

fn number_field(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn bytes_field(number: u64, value: &[u8]) -> Vec<u8> {
    let length = u64::try_from(value.len()).unwrap();
    [&varint(number << 3 | 2), &varint(length), value].concat()
}

fn body(api_version: &str, kind: &str, object: &[u8]) -> Vec<u8> {
    let type_meta = [
        bytes_field(1, api_version.as_bytes()),
        bytes_field(2, kind.as_bytes()),
    ];
    let envelope = [bytes_field(1, &type_meta.concat()), bytes_field(2, object)];
    [MAGIC, &envelope.concat()].concat()
}

/// A message with every field set that the table knows.
fn full(message: &Message) -> Vec<u8> {
    let fields = message.iter().map(|(number, field)| {
        let seconds = number_field(1, 1_700_000_000);
        let content = match &field.content {
            Content::Bool | Content::Int => return number_field(*number, 1),
            Content::Text | Content::Bytes => b"x".to_vec(),
            Content::Quantity => bytes_field(1, b"1"),
            Content::IntOrString => number_field(2, 1),
            Content::Time | Content::MicroTime => seconds,
            Content::Json => bytes_field(1, b"{}"),
            Content::Message(name) => full(schema::message(name).unwrap()),
        };
        match field.form {
            Form::Map => bytes_field(
                *number,
                &[bytes_field(1, b"key"), bytes_field(2, &content)].concat(),
            ),
            _ => bytes_field(*number, &content),
        }
    });
    fields.collect::<Vec<_>>().concat()
}

/// A body of this kind with every field set.
pub(in crate::api) fn full_body(api_version: &str, kind: &str) -> Vec<u8> {
    let message = schema::message(&format!("{api_version}.{kind}"));
    let Some(message) = message else {
        panic!("{api_version} {kind} is not in the table");
    };
    body(api_version, kind, &full(message))
}

#[test]
fn every_field_of_the_table_is_a_field_of_the_kind() {
    // Definitions come from files only, and kubectl sends those as JSON.
    let in_protobuf = |resource: &Resource| {
        let written = resource.description().verbs.contains(&"create");
        written && *resource != Resource::CustomResourceDefinitions
    };
    let versions = Resource::ALL
        .into_iter()
        .filter(in_protobuf)
        .flat_map(|resource| {
            let versions: Vec<_> = resource
                .description()
                .versions()
                .map(str::to_owned)
                .collect();
            versions
                .into_iter()
                .map(move |version| (resource.clone(), version))
        });
    for (resource, version) in versions {
        let api_version = crate::store::api_version(resource.group(), &version);
        let kind = resource.kind();
        let object = decode(&full_body(&api_version, kind)).unwrap();
        let decoded = crate::api::decode::decode(&resource, &version, object).unwrap();
        assert_eq!(decoded.unknown_fields, Vec::<String>::new());
    }
}

#[test]
fn what_nobody_set_is_left_out_and_what_is_set_to_zero_stays() {
    let metadata = [
        bytes_field(1, b"web"),
        bytes_field(2, b""),
        bytes_field(8, b""),
    ]
    .concat();
    let surge = [
        number_field(1, 1),
        number_field(2, 0),
        bytes_field(3, b"25%"),
    ]
    .concat();
    let strategy = [bytes_field(1, b""), bytes_field(2, &bytes_field(2, &surge))].concat();
    let spec = [
        number_field(1, 0),
        bytes_field(4, &strategy),
        number_field(5, 0),
    ]
    .concat();
    let deployment = [
        bytes_field(1, &metadata),
        bytes_field(2, &spec),
        bytes_field(3, b""),
    ];
    let decoded = decode(&body("apps/v1", "Deployment", &deployment.concat())).unwrap();
    let expected = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 0, "strategy": {"rollingUpdate": {"maxSurge": "25%"}}},
    });
    assert_eq!(decoded, expected);
}

#[test]
fn a_field_of_a_later_version_is_reported() {
    let spec = [number_field(99, 0), number_field(98, 1)].concat();
    let decoded = decode(&body("v1", "Pod", &bytes_field(2, &spec))).unwrap();
    assert_eq!(decoded["spec"], json!({"#98": null}));
    let decoded = crate::api::decode::decode(&Resource::Pods, "v1", decoded).unwrap();
    assert_eq!(decoded.unknown_fields, ["spec.#98"]);
}

#[test]
fn options_of_a_deletion_come_in_any_group() {
    let options = [number_field(1, 0), bytes_field(4, b"Background")].concat();
    let decoded = decode(&body("policy/v1", "DeleteOptions", &options)).unwrap();
    assert_eq!(decoded["gracePeriodSeconds"], 0);
    assert_eq!(decoded["propagationPolicy"], "Background");
}

#[test]
fn what_cannot_be_read_is_refused() {
    let told = |body: &[u8]| decode(body).unwrap_err().to_string();
    assert!(told(b"{}").contains("does not begin with"));
    assert!(told(&body("v1", "Secrets", b"")).contains("Secrets of v1"));
    assert!(told(&body("v1", "Pod", &number_field(1, 1))).contains("metadata"));
    assert!(told(&body("v1", "Pod", &[10, 9])).contains("ends in the middle"));
    let name = bytes_field(1, &bytes_field(1, &[0xff]));
    assert!(told(&body("v1", "Pod", &name)).contains("name is no UTF-8"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(object: Vec<u8>, kind in 0..Resource::ALL.len()) {
        let resource = &Resource::ALL[kind];
        let body = body(&resource.api_version(), resource.kind(), &object);
        // Whether it can be read is beside the point.
        drop(decode(&body));
        drop(decode(&object));
    }

    #[test]
    fn no_damage_makes_it_panic(place in 0_usize..20_000, byte: u8) {
        let mut body = full_body("v1", "Pod");
        let place = place % body.len();
        body[place] = byte;
        if let Ok(object) = decode(&body) {
            drop(crate::api::decode::decode(&Resource::Pods, "v1", object));
        }
        drop(decode(&body[..place]));
    }
}
