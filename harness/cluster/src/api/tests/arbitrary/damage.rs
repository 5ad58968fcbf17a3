//! Bodies which are right but for a little damage: they get past the first checks.

use super::*;

/// Where an object of a kind is created, and one that is accepted.
fn sound() -> Vec<(&'static str, Value)> {
    let named = |kind: &str, version: &str, spec: Value| {
        json!({
            "apiVersion": version, "kind": kind,
            "metadata": {"name": "a", "labels": {"a": "b"}, "finalizers": ["test.dev/f"], "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u", "controller": true},
            ]},
            "spec": spec,
        })
    };
    let pods = deployment()["spec"]["template"].clone();
    let selector = json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "app", "operator": "Exists"}]});
    let service = json!({"selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": "http"}]});
    let pod = json!({
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "containers": [{
            "name": "a", "image": "x", "ports": [{"containerPort": 80}],
            "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1},
            "lifecycle": {"preStop": {"exec": {"command": ["x"]}}},
            "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        }],
    });
    let autoscaler = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "maxReplicas": 5,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
        "behavior": {"scaleDown": {"policies": [{"type": "Percent", "value": 10, "periodSeconds": 15}]}},
    });
    let event = json!({
        "metadata": {"name": "a"},
        "involvedObject": {"kind": "Pod", "name": "a"},
        "lastTimestamp": "2026-01-01T00:00:00Z", "eventTime": "2026-01-01T00:00:00.000000Z", "count": 1,
    });
    vec![
        ("/api/v1/namespaces/default/pods", named("Pod", "v1", pod)),
        (
            "/api/v1/namespaces/default/services",
            named("Service", "v1", service),
        ),
        ("/api/v1/namespaces/default/events", event),
        (
            "/api/v1/namespaces/default/configmaps",
            json!({"metadata": {"name": "a"}, "data": {"a": "b"}, "binaryData": {"c": "AA=="}}),
        ),
        ("/apis/apps/v1/namespaces/default/deployments", deployment()),
        (
            "/apis/apps/v1/namespaces/default/replicasets",
            named(
                "ReplicaSet",
                "apps/v1",
                json!({"selector": selector, "template": pods}),
            ),
        ),
        (
            "/apis/batch/v1/namespaces/default/jobs",
            named(
                "Job",
                "batch/v1",
                json!({"completions": 2, "completionMode": "Indexed", "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "x"}]}}}),
            ),
        ),
        (
            "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
            named("HorizontalPodAutoscaler", "autoscaling/v2", autoscaler),
        ),
        (
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
            named(
                "PodDisruptionBudget",
                "policy/v1",
                json!({"selector": selector, "maxUnavailable": "25%"}),
            ),
        ),
        (
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            definition(),
        ),
        ("/apis/test.dev/v1/widgets", widget()),
    ]
}

/// The pointers to all values in a value.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(value, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(elements) => {
            for (index, value) in elements.iter().enumerate() {
                places(value, &format!("{at}/{index}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[derive(Clone, Debug)]
enum Damage {
    Replaced(Value),
    /// Into as many lists.
    Wrapped(usize),
    Missing,
    /// In a map, if there is one at the place.
    Added(String, Value),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        3 => json().prop_map(Damage::Replaced),
        1 => (1..200_usize).prop_map(Damage::Wrapped),
        1 => Just(Damage::Missing),
        2 => (word(), json()).prop_map(|(name, value)| Damage::Added(name, value)),
    ]
}

fn inflict(value: &mut Value, damage: Damage) {
    match damage {
        Damage::Replaced(other) => *value = other,
        Damage::Wrapped(times) => {
            for _ in 0..times {
                *value = json!([value.take()]);
            }
        }
        Damage::Missing => *value = Value::Null,
        Damage::Added(name, other) => {
            if let Some(fields) = value.as_object_mut() {
                fields.insert(name, other);
            }
        }
    }
}

/// A change of some bytes of a text.
type Scratches = Vec<(prop::sample::Index, u8)>;

fn scratches() -> impl Strategy<Value = Scratches> {
    prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ]
}

fn scratch(text: &mut [u8], scratches: Scratches) {
    for (place, byte) in scratches {
        if !text.is_empty() {
            text[place.index(text.len())] = byte;
        }
    }
}

/// A request to create a damaged object or, with what was meant to be the object,
/// to change the one that is there.
fn request() -> impl Strategy<Value = http::Request<Body>> {
    let damages = prop::collection::vec((any::<prop::sample::Index>(), damage()), 1..3);
    let method = prop::sample::select(&["POST", "PUT", "PATCH"][..]);
    let content_type = prop::sample::select(&BODIES[..]);
    (
        prop::sample::select(sound()),
        damages,
        method,
        content_type,
        scratches(),
    )
        .prop_map(
            |((path, mut object), damages, method, content_type, scratches)| {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let path = match method {
                    "POST" => path.to_owned(),
                    _ => format!("{path}/{name}?fieldManager=test"),
                };
                for (place, damage) in damages {
                    let mut found = Vec::new();
                    places(&object, "", &mut found);
                    let place = &found[place.index(found.len())];
                    if let Some(value) = object.pointer_mut(place) {
                        inflict(value, damage);
                    }
                }
                if content_type == "application/json-patch+json" {
                    object = json!([{"op": "replace", "path": "", "value": object}]);
                }
                let mut body = object.to_string().into_bytes();
                scratch(&mut body, scratches);
                sent(method, &path, content_type, body)
            },
        )
}

/// A damaged body in protobuf.
fn protobuf() -> impl Strategy<Value = http::Request<Body>> {
    const KINDS: [(&str, &str, &str); 5] = [
        ("/api/v1/namespaces/default/pods", "v1", "Pod"),
        ("/api/v1/namespaces/default/services", "v1", "Service"),
        (
            "/apis/apps/v1/namespaces/default/deployments",
            "apps/v1",
            "Deployment",
        ),
        ("/apis/batch/v1/namespaces/default/jobs", "batch/v1", "Job"),
        (
            "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
        ),
    ];
    let cut = prop::option::weighted(0.2, any::<prop::sample::Index>());
    (prop::sample::select(&KINDS[..]), scratches(), cut).prop_map(
        |((path, api_version, kind), scratches, cut)| {
            let mut body = full_body(api_version, kind);
            scratch(&mut body, scratches);
            if let Some(cut) = cut {
                body.truncate(cut.index(body.len()));
            }
            sent("POST", path, "application/vnd.kubernetes.protobuf", body)
        },
    )
}

fn sent(method: &str, path: &str, content_type: &str, body: Vec<u8>) -> http::Request<Body> {
    http::Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, content_type)
        .body(Body::from(body))
        .unwrap()
}

#[tokio::test]
async fn what_is_damaged_here_is_sound() {
    let store = Store::new();
    for (path, object) in sound() {
        let body = object.to_string().into_bytes();
        let request = sent("POST", path, "application/json", body);
        let router = api(&store).authorized_router();
        let response = router.oneshot(request).await.unwrap();
        let code = response.status();
        let told = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(code, StatusCode::CREATED, "{path}: {told:?}");
        if path.ends_with("definitions") {
            let establish = |found: &mut Value| found["status"] = definition()["status"].clone();
            let definitions = Resource::CustomResourceDefinitions;
            let name = "widgets.test.dev";
            store.update(definitions, "", name, establish).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn damaged_bodies_are_answered(requests in prop::collection::vec(request(), 1..8)) {
        are_answered(requests);
    }

    #[test]
    fn damaged_protobuf_is_answered(requests in prop::collection::vec(protobuf(), 1..4)) {
        are_answered(requests);
    }
}
