//! Requests which nobody should send: each is refused in words that clients
//! understand, and none leaves anything behind.

use std::time::Duration;

use futures::future::join_all;
use http::{Method, Request, StatusCode, header};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, PostParams};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cluster::{DEADLINE, TestCluster, typed};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MAP: &str = "/api/v1/namespaces/default/configmaps/a";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The answer to a request: its status code and its JSON.
async fn answer(
    test: &TestCluster,
    method: Method,
    path: &str,
    content_type: &str,
    body: impl Into<Vec<u8>>,
) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, content_type)
        .body(Body::from(body.into()))
        .unwrap();
    let response = test.client.send(request).await.unwrap();
    let code = response.status();
    let body = response.into_body().collect_bytes().await.unwrap();
    (code, serde_json::from_slice(&body).unwrap_or_default())
}

/// A document of a few hundred bytes which unfolds to billions of strings.
fn yaml_bomb() -> String {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    bomb
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused() {
    let test = TestCluster::start().await;
    let deep_json = "{\"a\":".repeat(100_000);
    let deep_yaml = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bodies: [(&str, Vec<u8>, u16); 15] = [
        (JSON, b"{".into(), 400),
        (JSON, b"[]".into(), 400),
        (JSON, b"".into(), 400),
        (JSON, b"\xff\xfe".into(), 400),
        (JSON, deep_json.into(), 400),
        (JSON, br#"{"kind": "Pod"}"#.into(), 400),
        (JSON, br#"{"metadata": []}"#.into(), 400),
        (JSON, br#"{"metadata": {"name": 5}}"#.into(), 400),
        (JSON, br#"{"metadata": {"name": "A_B"}}"#.into(), 422),
        (YAML, b"a: [".into(), 400),
        (YAML, yaml_bomb().into(), 400),
        (YAML, deep_yaml.into(), 400),
        (PROTOBUF, b"{}".into(), 400),
        (PROTOBUF, b"k8s\0\x0a\xff\xff\xff\xff\x0f".into(), 400),
        ("text/plain", b"{}".into(), 415),
    ];
    for (content_type, body, expected) in bodies {
        let start = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let (code, status) = answer(&test, Method::POST, MAPS, content_type, body).await;
        assert_eq!(code.as_u16(), expected, "{content_type} {start}: {status}");
        assert_eq!(status["kind"], "Status", "{start}");
        assert_eq!(status["code"], expected, "{start}");
    }
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn patches_that_cannot_be_applied_are_refused() {
    let test = TestCluster::start().await;
    let maps: Api<ConfigMap> = test.api();
    let map = typed(json!({"metadata": {"name": "a"}, "data": {"k": "v"}}));
    maps.create(&PostParams::default(), &map).await.unwrap();
    let json_patch = "application/json-patch+json";
    let merge = "application/merge-patch+json";
    let strategic = "application/strategic-merge-patch+json";
    for (content_type, body, expected) in [
        (json_patch, "{}", 400),
        (json_patch, r#"[{"op": "fly", "path": "/a"}]"#, 400),
        (
            json_patch,
            r#"[{"op": "test", "path": "/data/k", "value": "x"}]"#,
            422,
        ),
        (json_patch, r#"[{"op": "remove", "path": "/data/z"}]"#, 422),
        (
            json_patch,
            r#"[{"op": "replace", "path": "", "value": 1}]"#,
            400,
        ),
        (merge, "[]", 400),
        (merge, r#"{"data": 5}"#, 400),
        (strategic, "1", 400),
        (strategic, r#"{"metadata": []}"#, 400),
        (strategic, r#"{"metadata": {"name": "b"}}"#, 400),
        (JSON, "{}", 415),
    ] {
        let (code, status) = answer(&test, Method::PATCH, MAP, content_type, body).await;
        assert_eq!(code.as_u16(), expected, "{content_type} {body}: {status}");
        assert_eq!(status["kind"], "Status", "{body}");
    }
    let kept = maps.get("a").await.unwrap();
    assert_eq!(kept.data.unwrap()["k"], "v");
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn fields_that_are_written_twice_are_told_as_asked_for() {
    let test = TestCluster::start().await;
    let body = r#"{"metadata": {"name": "a"}, "data": {"k": "1", "k": "2"}, "dota": {}}"#;
    let post = async |validation: &str| {
        let request = Request::post(format!("{MAPS}?dryRun=All&fieldValidation={validation}"))
            .header(header::CONTENT_TYPE, JSON)
            .body(Body::from(body.as_bytes().to_vec()))
            .unwrap();
        test.client.send(request).await.unwrap()
    };
    let strict = post("Strict").await;
    assert_eq!(strict.status(), StatusCode::BAD_REQUEST);
    let told = strict.into_body().collect_bytes().await.unwrap();
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains(r#"duplicate field \"data.k\""#), "{told}");
    let warnings = async |validation: &str| {
        let response = post(validation).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        let warnings = response.headers().get_all(header::WARNING).iter();
        let texts = warnings.map(|value| value.to_str().unwrap().to_owned());
        texts.collect::<Vec<_>>()
    };
    let expected = [
        r#"299 - "duplicate field \"data.k\"""#,
        r#"299 - "unknown field \"dota\"""#,
    ];
    assert_eq!(warnings("Warn").await, expected);
    assert_eq!(warnings("").await, expected);
    assert!(warnings("Ignore").await.is_empty());
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused() {
    let test = TestCluster::start().await;
    for (method, path, expected) in [
        ("GET", "/nowhere", 404),
        ("GET", "/api/v1/secrets", 404),
        ("GET", "/api/v1/namespaces/default/resourcequotas", 404),
        ("GET", "/api/v1/namespaces/default/pods/p/exec", 405),
        ("GET", "/api/v1/namespaces/default/pods/p/a/b", 404),
        ("GET", "/api/v1/namespaces/default/configmaps/c/status", 404),
        ("DELETE", "/api/v1/namespaces", 405),
        (
            "DELETE",
            "/api/v1/namespaces/default/pods/p?gracePeriodSeconds=18446744073709551615",
            400,
        ),
        ("POST", "/version", 405),
        ("PUT", MAPS, 405),
        ("POST", MAP, 405),
        ("OPTIONS", MAPS, 405),
        ("BREW", MAP, 405),
        ("GET", "/api/v1/pods?limit=-1", 400),
        ("GET", "/api/v1/pods?limit=many", 400),
        ("GET", "/api/v1/pods?continue=nonsense", 400),
        ("GET", "/api/v1/pods?labelSelector=a+in+b", 400),
        ("GET", "/api/v1/pods?labelSelector=%FF", 400),
        ("GET", "/api/v1/pods?fieldSelector=spec.a%3D1", 400),
        ("GET", "/api/v1/pods?watch=1&resourceVersion=new", 400),
        ("GET", "/api/v1/pods?resourceVersion=new", 400),
        ("GET", "/api/v1/pods?resourceVersionMatch=Exact", 422),
        ("POST", "/api/v1/namespaces?dryRun=Some", 422),
        ("POST", "/api/v1/namespaces?fieldValidation=Lax", 422),
        (
            "DELETE",
            "/api/v1/namespaces/default/configmaps/a?propagationPolicy=Some",
            400,
        ),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let (code, status) = answer(&test, method.clone(), path, JSON, "").await;
        assert_eq!(code.as_u16(), expected, "{method} {path}: {status}");
        assert_eq!(status["kind"], "Status", "{method} {path}");
        assert_eq!(status["code"], expected, "{method} {path}");
    }
    let (code, _) = answer(&test, Method::HEAD, MAPS, JSON, "").await;
    assert_eq!(code, StatusCode::METHOD_NOT_ALLOWED);
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn a_bearer_token_opens_the_path_without_a_token() {
    let test = TestCluster::start().await;
    let kubeconfig = Kubeconfig::from_yaml(&test.cluster.kubeconfig()).unwrap();
    let options = KubeConfigOptions::default();
    let with_path = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    let token = with_path.cluster_url.path().trim_matches('/').to_owned();
    let listed = async |token: &str| {
        let url = format!("http://{}", test.cluster.api_address());
        let mut config = kube::Config::new(url.parse().unwrap());
        config.auth_info.token = Some(token.to_owned().into());
        let client = kube::Client::try_from(config).unwrap();
        let maps: Api<ConfigMap> = Api::default_namespaced(client);
        maps.list(&ListParams::default()).await
    };
    assert!(listed(&token).await.is_ok());
    let refused = listed("guessed").await.unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.code == 401),
        "{refused}"
    );
    test.cluster.shutdown().await;
}

/// The path of everything, as it stands in a request line.
async fn base(test: &TestCluster) -> String {
    let kubeconfig = Kubeconfig::from_yaml(&test.cluster.kubeconfig()).unwrap();
    let server = kubeconfig.clusters[0].cluster.clone().unwrap().server;
    let uri: http::Uri = server.unwrap().parse().unwrap();
    uri.path().to_owned()
}

/// The answer to a request which is written as it stands here.
async fn raw_answer(test: &TestCluster, head: &str) -> String {
    let mut stream = TcpStream::connect(test.cluster.api_address())
        .await
        .unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 4096];
    let length = tokio::time::timeout(DEADLINE, stream.read(&mut answer));
    let length = length.await.unwrap().unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let test = TestCluster::start().await;
    let base = base(&test).await;
    let head = format!(
        "POST {base}{MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: 99999999\r\n\r\n"
    );
    let answer = raw_answer(&test, &head).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("RequestEntityTooLarge"), "{answer}");
    test.cluster.shutdown().await;
}

/// Not through kube-rs, which tries such a request again and again.
#[tokio::test]
async fn a_revision_to_come_is_not_listed() {
    let test = TestCluster::start().await;
    let base = base(&test).await;
    let head = format!("GET {base}/api/v1/pods?resourceVersion=999999 HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = raw_answer(&test, &head).await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(answer.contains("ResourceVersionTooLarge"), "{answer}");
    test.cluster.shutdown().await;
}

/// Clients which stop in the middle of everything, and watches that are
/// dropped: the tasks that served them end too.
#[tokio::test]
async fn whoever_disconnects_leaves_nothing_behind() {
    const WATCHES: usize = 200;

    let test = TestCluster::start().await;
    let base = base(&test).await;
    let maps: Api<ConfigMap> = test.api();
    maps.list(&ListParams::default()).await.unwrap();
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    let beginnings = [
        format!("GET {base}{MAPS}?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET {base}{MAPS} HTTP/1.1\r\nHost:"),
        format!("POST {base}{MAPS} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{"),
    ];
    let open = beginnings
        .iter()
        .cycle()
        .take(3 * WATCHES)
        .map(async |head| {
            let mut stream = TcpStream::connect(test.cluster.api_address())
                .await
                .unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            stream
        });
    let streams = join_all(open).await;
    let until = async |wanted: &dyn Fn(usize) -> bool| {
        let waiting = async {
            while !wanted(tasks()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(DEADLINE, waiting).await;
        waited.unwrap_or_else(|_| panic!("{} tasks, {before} before", tasks()));
    };
    until(&|tasks| tasks >= before + 3 * WATCHES).await;
    maps.list(&ListParams::default()).await.unwrap();
    drop(streams);
    until(&|tasks| tasks <= before).await;
    test.cluster.shutdown().await;
}

/// A client that does not read its answers does not keep the cluster from ending.
#[tokio::test]
async fn a_client_that_does_not_read_cannot_keep_the_cluster_alive() {
    let test = TestCluster::start().await;
    let base = base(&test).await;
    let maps: Api<ConfigMap> = test.api();
    let large = typed(json!({"metadata": {"name": "a"}, "data": {"k": "v".repeat(900_000)}}));
    maps.create(&PostParams::default(), &large).await.unwrap();
    let mut stream = TcpStream::connect(test.cluster.api_address())
        .await
        .unwrap();
    let request = format!("GET {base}{MAPS} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream
        .write_all(request.repeat(50).as_bytes())
        .await
        .unwrap();
    stream.readable().await.unwrap();
    let ended = tokio::time::timeout(DEADLINE, test.cluster.shutdown());
    ended.await.expect("the cluster ends");
    drop(stream);
}
