use serde_json::{Value, from_value, json};

use super::*;

fn variables_for(container: Value) -> Result<Variables, ConfigurationError> {
    let pod: Pod = from_value(json!({
        "metadata": {"name": "app-1", "namespace": "shop", "uid": "uid-1", "labels": {"app": "app"}},
    }))
    .unwrap();
    let service: Service = from_value(json!({
        "metadata": {"name": "pay-api"},
        "spec": {"clusterIP": "127.80.64.9", "ports": [{"name": "http", "port": 8082}]},
    }))
    .unwrap();
    let map: ConfigMap =
        from_value(json!({"metadata": {"name": "settings"}, "data": {"A": "from map"}})).unwrap();
    Surroundings {
        pod: &pod,
        address: Ipv4Addr::new(127, 80, 128, 7),
        node_name: "local",
        directory: Path::new("/pods/1"),
        services: &[Arc::new(service)],
        config_maps: &[Arc::new(map)],
    }
    .variables(&from_value(container).unwrap())
}

#[test]
fn services_fields_and_config_maps_are_told() {
    let variables = variables_for(json!({
        "name": "c",
        "envFrom": [{"configMapRef": {"name": "settings"}, "prefix": "CFG_"}],
        "env": [
            {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "A"}}},
            {"name": "URL", "value": "http://$(PAY_API_SERVICE_HOST):$(PAY_API_SERVICE_PORT_HTTP)"},
        ],
    }))
    .unwrap();
    let expected = [
        ("ME", "app-1"),
        ("LABEL", "app"),
        ("KEY", "from map"),
        ("CFG_A", "from map"),
        ("URL", "http://127.80.64.9:8082"),
        ("PAY_API_PORT", "tcp://127.80.64.9:8082"),
        ("POD_IP", "127.80.128.7"),
        ("BIND_ADDR", "127.80.128.7"),
        ("HOSTNAME", "app-1"),
        ("HOLDFAST_POD_UID", "uid-1"),
    ];
    for (name, value) in expected {
        assert_eq!(
            variables.get(name).map(String::as_str),
            Some(value),
            "{name}"
        );
    }
}

#[test]
fn nothing_is_inherited() {
    let variables = variables_for(json!({"name": "c"})).unwrap();
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert!(!variables.contains_key("CARGO_MANIFEST_DIR"));
}

#[test]
fn what_is_missing_is_named() {
    let missing = json!({"name": "c", "env": [
        {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "nowhere", "key": "A"}}},
    ]});
    let error = variables_for(missing).unwrap_err();
    assert_eq!(error.to_string(), "configmap \"nowhere\" not found");
    let optional = json!({"name": "c", "env": [
        {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "nowhere", "key": "A", "optional": true}}},
    ]});
    assert!(!variables_for(optional).unwrap().contains_key("X"));
}

#[test]
fn expansion_knows_escapes_and_leaves_the_unknown() {
    let variables = Variables::from([("A".to_owned(), "1".to_owned())]);
    assert_eq!(
        expand("$(A) $$(A) $(B) $A $", &variables),
        "1 $(A) $(B) $A $"
    );
}

#[test]
fn a_command_replaces_the_entry_point_and_arguments_follow() {
    let image = Program {
        path: "/bin/app".into(),
        arguments: vec!["serve".into()],
    };
    let line = |container: Value| {
        let container: Container = from_value(container).unwrap();
        let (program, arguments) = command_line(&container, &image, &Variables::new());
        let mut line = vec![program];
        line.extend(arguments);
        line
    };
    assert_eq!(line(json!({"name": "c"})), ["/bin/app", "serve"]);
    assert_eq!(
        line(json!({"name": "c", "args": ["x"]})),
        ["/bin/app", "serve", "x"]
    );
    assert_eq!(
        line(json!({"name": "c", "command": ["sh"], "args": ["x"]})),
        ["sh", "x"]
    );
}
