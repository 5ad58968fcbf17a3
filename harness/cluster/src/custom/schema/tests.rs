use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn schema(raw: Value) -> Schema {
    let raw: JSONSchemaProps = serde_json::from_value(raw).unwrap();
    let mut causes = Vec::new();
    let schema = read(&raw, "schema", &mut causes);
    assert_eq!(causes, []);
    schema
}

/// A schema for objects whose field `x` looks like this.
fn of_x(x: &Value) -> Schema {
    schema(json!({"type": "object", "properties": {"x": x}}))
}

fn complaints(x: &Value, value: &Value) -> Vec<String> {
    let causes = of_x(x).validate(&json!({"x": value}), "");
    causes.iter().map(ToString::to_string).collect()
}

fn refusals(raw: Value) -> Vec<String> {
    let raw: JSONSchemaProps = serde_json::from_value(raw).unwrap();
    let mut causes = Vec::new();
    read(&raw, "s", &mut causes);
    causes.iter().map(ToString::to_string).collect()
}

#[test]
fn values_are_judged_in_the_words_of_an_api_server() {
    for (rule, value, expected) in [
        (
            json!({"type": "string", "minLength": 2}),
            json!("a"),
            r#"x: Invalid value: "a": x in body should be at least 2 chars long"#,
        ),
        (
            json!({"type": "string", "maxLength": 1}),
            json!("ab"),
            "x: Too long: may not be more than 1 bytes",
        ),
        (
            json!({"type": "integer", "minimum": 1}),
            json!(0),
            "x: Invalid value: 0: x in body should be greater than or equal to 1",
        ),
        (
            json!({"type": "number", "maximum": 1.5, "exclusiveMaximum": true}),
            json!(1.5),
            "x: Invalid value: 1.5: x in body should be less than 1.5",
        ),
        (
            json!({"type": "integer", "multipleOf": 5}),
            json!(7),
            "x: Invalid value: 7: x in body should be a multiple of 5",
        ),
        (
            json!({"type": "integer"}),
            json!(1.5),
            r#"x: Invalid value: "number": x in body must be of type integer: "number""#,
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("now"),
            r#"x: Invalid value: "now": x in body must be of type date-time: "now""#,
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
            json!(["a", "b"]),
            "x: Too many: 2: must have at most 1 items",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "minItems": 1}),
            json!([]),
            "x: Invalid value: 0: x in body should have at least 1 items",
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}),
            json!({}),
            "x: Invalid value: 0: x in body should have at least 1 properties",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}),
            json!(["a", "a"]),
            r#"x[1]: Duplicate value: "a""#,
        ),
        (
            json!({"type": "string", "not": {"enum": ["a"]}}),
            json!("a"),
            r#"x: Invalid value: "": "x" must not validate the schema (not)"#,
        ),
    ] {
        assert_eq!(complaints(&rule, &value), [expected], "{rule}");
    }
}

#[test]
fn fractions_have_multiples_too() {
    let tenths = json!({"type": "number", "multipleOf": 0.1});
    assert_eq!(complaints(&tenths, &json!(0.3)), [""; 0]);
    assert_eq!(complaints(&tenths, &json!(0.35)).len(), 1);
}

#[test]
fn an_alternative_that_nearly_fits_is_explained() {
    let rule = json!({
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "anyOf": [{"required": ["a", "b"]}, {"required": ["a"], "properties": {"a": {"minimum": 3}}}],
    });
    assert_eq!(
        complaints(&rule, &json!({"a": 1})),
        [
            r#"x: Invalid value: "": "x" must validate at least one schema (anyOf)"#,
            "x.b: Required value",
        ]
    );
    assert_eq!(complaints(&rule, &json!({"a": 3})), [""; 0]);
}

#[test]
fn what_a_schema_does_not_know_is_pruned() {
    let schema = schema(json!({"type": "object", "properties": {
        "known": {"type": "object", "properties": {"a": {"type": "string"}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
        "free": {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"strict": {"type": "object", "properties": {"a": {"type": "string"}}}},
        },
        "embedded": {
            "type": "object",
            "x-kubernetes-embedded-resource": true,
            "properties": {"spec": {"type": "object"}},
        },
    }}));
    let inner = json!({"a": "1", "b": "2"});
    let mut object = json!({
        "apiVersion": "v1", "kind": "K", "metadata": {"name": "n"},
        "known": inner, "map": {"k": inner}, "list": [inner],
        "free": {"any": {"thing": 1}, "strict": inner},
        "embedded": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {}},
        "unknown": null,
    });
    let mut dropped = schema.prune(&mut object);
    dropped.sort();
    assert_eq!(
        dropped,
        [
            "embedded.status",
            "free.strict.b",
            "known.b",
            "list[0].b",
            "map.k.b",
            "unknown"
        ]
    );
    assert_eq!(
        object["free"],
        json!({"any": {"thing": 1}, "strict": {"a": "1"}})
    );
    assert_eq!(object["embedded"]["metadata"]["name"], "p");
    assert_eq!(object["metadata"]["name"], "n");
}

#[test]
fn a_null_is_absent_unless_it_may_stand() {
    let schema = schema(json!({"type": "object", "properties": {
        "plain": {"type": "string"},
        "nullable": {"type": "string", "nullable": true},
        "defaulted": {"type": "string", "default": "d"},
        "inner": {"type": "object", "default": {}, "properties": {"n": {"type": "integer", "default": 1}}},
    }}));
    let mut object = json!({"plain": null, "nullable": null, "defaulted": null});
    assert_eq!(schema.prune(&mut object), [""; 0]);
    schema.set_defaults(&mut object);
    assert_eq!(
        object,
        json!({"nullable": null, "defaulted": "d", "inner": {"n": 1}})
    );
    assert_eq!(schema.validate(&object, ""), []);
}

#[test]
fn schemas_which_are_not_structural_are_refused() {
    let object = |more: Value| {
        let mut raw = json!({"type": "object"});
        json_patch::merge(&mut raw, &more);
        raw
    };
    for (raw, expected) in [
        (
            json!({"type": "string"}),
            "s.type: Invalid value: \"string\": must be object at the root",
        ),
        (
            object(json!({"properties": {"x": {}}})),
            "s.properties[x].type: Required value: must not be empty for specified object fields",
        ),
        (
            object(json!({"properties": {"x": {"type": "array"}}})),
            "s.properties[x].items: Required value: must be specified for arrays",
        ),
        (
            object(json!({"additionalProperties": false})),
            "s.additionalProperties: Forbidden: additionalProperties cannot be set to false",
        ),
        (
            object(json!({"anyOf": [{"type": "object"}]})),
            "s.anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            object(json!({"$ref": "#/x"})),
            "s.$ref: Forbidden: $ref is not supported",
        ),
        (
            object(json!({"properties": {"x": {"type": "string", "default": 1}}})),
            "s.properties[x].default: Invalid value: \"integer\": s.properties[x].default in body must be of type string: \"integer\"",
        ),
        (
            object(json!({"properties": {"x": {"type": "string", "format": "email"}}})),
            "s.properties[x].format: Forbidden: \"email\": not supported by the local cluster",
        ),
        (
            object(
                json!({"properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
            ),
            "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ),
    ] {
        assert_eq!(refusals(raw.clone()), [expected], "{raw}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-c]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abcxyz]", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    /// What was pruned and defaulted stays as it is, and nothing is reported twice.
    #[test]
    fn shaping_an_object_again_changes_nothing(mut object in any_value()) {
        let schema = schema(json!({"type": "object", "properties": {
            "a": {"type": "object", "properties": {"x": {"type": "integer", "default": 1}, "a": {"type": "string"}}},
            "b": {"type": "array", "items": {"type": "object", "properties": {"y": {"type": "string", "default": "y"}}}},
            "c": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "x": {"type": "object", "additionalProperties": {"type": "string", "nullable": true}},
            "y": {"x-kubernetes-int-or-string": true, "default": 7},
        }}));
        schema.prune(&mut object);
        schema.set_defaults(&mut object);
        let once = object.clone();
        prop_assert_eq!(schema.prune(&mut object), Vec::<String>::new());
        schema.set_defaults(&mut object);
        prop_assert_eq!(object, once);
    }
}
