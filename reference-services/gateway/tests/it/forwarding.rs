//! Requests on their way to the service they are for, and answers on their way back.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;

use crate::entry::{get, header, open_gateway, post, send, text_of};
use crate::scripted_upstream::{Script, ScriptedUpstream};

const NAMES: [&str; 5] = [
    "APP_URL",
    "PAY_URL",
    "STORE_URL",
    "CUSTOMER_URL",
    "MARKETING_URL",
];

#[tokio::test]
async fn each_resource_is_at_its_service_and_nothing_else_is_reachable() {
    let mut upstreams = Vec::new();
    for _ in NAMES {
        upstreams.push(ScriptedUpstream::start(Script::Answer(StatusCode::OK)).await);
    }
    let urls: Vec<_> = upstreams.iter().map(ScriptedUpstream::url).collect();
    let gateway = open_gateway(NAMES.into_iter().zip(urls.iter().map(String::as_str)));
    for (path, service) in [
        ("/orders", 0),
        ("/orders/1?full=yes", 0),
        ("/orders/1/cancellation", 0),
        ("/%EC%A3%BC%EB%AC%B8s", 0),
        ("/%ec%a3%bc%eb%ac%b8s/1", 0),
        ("/주문s/1", 0),
        ("/payments/1", 1),
        ("/deliveries", 2),
        ("/my-page/1", 3),
        ("/notifications", 3),
        ("/coupons", 4),
    ] {
        let before = upstreams[service].asked_so_far().len();
        assert_eq!(get(&gateway, path).await.status(), StatusCode::OK, "{path}");
        let asked = upstreams[service].asked_so_far();
        assert_eq!(asked.len(), before + 1, "{path}");
        assert_eq!(asked[before].uri, path);
    }
    let reached = |upstreams: &[ScriptedUpstream]| -> usize {
        upstreams.iter().map(|it| it.asked_so_far().len()).sum()
    };
    let before = reached(&upstreams);
    for path in [
        "/",
        "/livez",
        "/readyz",
        "/ordersx",
        "/Orders",
        "/invariants",
        "/admin",
        "/app/orders",
        "//orders",
    ] {
        assert_eq!(
            get(&gateway, path).await.status(),
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    for path in [
        "/orders/../metrics",
        "/orders/%2e%2e/metrics",
        "/orders/..%2Fmetrics",
    ] {
        assert_eq!(
            get(&gateway, path).await.status(),
            StatusCode::BAD_REQUEST,
            "{path}"
        );
    }
    assert_eq!(reached(&upstreams), before);
}

#[tokio::test]
async fn payments_can_only_be_looked_at() {
    let pay = ScriptedUpstream::start(Script::Answer(StatusCode::OK)).await;
    let gateway = open_gateway([("PAY_URL", pay.url().as_str())]);
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        for path in ["/payments", "/payments/1"] {
            let request = Request::builder().method(&method).uri(path);
            let response = send(&gateway, request.body(Body::empty()).unwrap()).await;
            assert_eq!(
                response.status(),
                StatusCode::METHOD_NOT_ALLOWED,
                "{method}"
            );
        }
    }
    let request = Request::head("/payments").body(Body::empty()).unwrap();
    assert_eq!(send(&gateway, request).await.status(), StatusCode::OK);
    assert_eq!(pay.asked_so_far().len(), 1);
}

#[tokio::test]
async fn bodies_pass_as_they_are_and_the_answer_is_the_services_own() {
    let app = ScriptedUpstream::start(Script::Echo).await;
    let gateway = open_gateway([("APP_URL", app.url().as_str())]);
    for body in [
        r#"{"품목": "통닭"}"#,
        "{\"item\": ",
        "",
        "\u{0}\r\n\r\nGET / HTTP/1.1",
    ] {
        let response = post(&gateway, "/orders", body).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(text_of(response).await, body);
        let asked = app.asked_so_far().pop().unwrap();
        assert_eq!(
            (asked.method.as_str(), &asked.body[..]),
            ("POST", body.as_bytes())
        );
        assert_eq!(asked.header("content-type"), Some("application/json"));
    }
    let strict = ScriptedUpstream::start(Script::Answer(StatusCode::UNPROCESSABLE_ENTITY)).await;
    let gateway = open_gateway([("APP_URL", strict.url().as_str())]);
    let response = post(&gateway, "/orders", "{}").await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(header(&response, "x-from-upstream"), "1");
    assert_eq!(text_of(response).await, "as scripted");
}

#[tokio::test]
async fn an_answer_is_passed_on_while_it_arrives() {
    let app = ScriptedUpstream::start(Script::HoldHalfway).await;
    let gateway = open_gateway([("APP_URL", app.url().as_str())]);
    let mut body = get(&gateway, "/orders").await.into_body();
    let first = body.frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "half ");
    app.allow(1);
    assert_eq!(body.collect().await.unwrap().to_bytes(), "half ");
}

#[tokio::test]
async fn headers_that_are_about_the_way_are_replaced() {
    let app = ScriptedUpstream::start(Script::Echo).await;
    let gateway = open_gateway([("APP_URL", app.url().as_str())]);
    let request = Request::get("/orders")
        .header("host", "food.example")
        .header("authorization", "Bearer not-for-app")
        .header("connection", "x-private")
        .header("x-private", "1")
        .header("x-forwarded-for", "203.0.113.7")
        .header("accept-language", "ko")
        .body(Body::empty())
        .unwrap();
    send(&gateway, request).await;
    let asked = app.asked_so_far().remove(0);
    for (name, value) in [
        ("host", Some(app.url().strip_prefix("http://").unwrap())),
        ("authorization", None),
        ("connection", None),
        ("x-private", None),
        ("x-forwarded-for", Some("203.0.113.7, 192.0.2.1")),
        ("x-forwarded-host", Some("food.example")),
        ("x-forwarded-proto", Some("http")),
        ("accept-language", Some("ko")),
    ] {
        assert_eq!(asked.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn a_trace_is_continued_or_begun() {
    let app = ScriptedUpstream::start(Script::Echo).await;
    let gateway = open_gateway([("APP_URL", app.url().as_str())]);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736";
    let request = Request::get("/orders")
        .header("traceparent", format!("{trace}-00f067aa0ba902b7-01"))
        .header("tracestate", "rojo=00f067aa0ba902b7")
        .body(Body::empty())
        .unwrap();
    send(&gateway, request).await;
    let continued = app.asked_so_far().remove(0);
    let traceparent = continued.header("traceparent").unwrap();
    assert!(
        traceparent.starts_with(trace) && traceparent.ends_with("-01"),
        "{traceparent}"
    );
    assert!(!traceparent.contains("00f067aa0ba902b7"), "{traceparent}");
    assert_eq!(
        continued.header("tracestate"),
        Some("rojo=00f067aa0ba902b7")
    );

    let request = Request::get("/orders")
        .header("traceparent", "00-nonsense-01")
        .header("tracestate", "rojo=00f067aa0ba902b7")
        .body(Body::empty())
        .unwrap();
    send(&gateway, request).await;
    let begun = app.asked_so_far().remove(1);
    assert_eq!(
        begun.header("traceparent").unwrap().len(),
        traceparent.len()
    );
    assert_eq!(begun.header("tracestate"), None);
}

#[tokio::test]
async fn a_request_has_an_id_wherever_it_goes() {
    let app = ScriptedUpstream::start(Script::Echo).await;
    let gateway = open_gateway([("APP_URL", app.url().as_str())]);
    for (given, is_kept) in [
        (Some("order-7/try:1"), true),
        (Some("two words"), false),
        (Some(""), false),
        (None, false),
    ] {
        let mut request = Request::get("/orders");
        if let Some(given) = given {
            request = request.header("x-request-id", given);
        }
        let response = send(&gateway, request.body(Body::empty()).unwrap()).await;
        let id = header(&response, "x-request-id");
        let asked = app.asked_so_far().pop().unwrap();
        assert_eq!(asked.header("x-request-id"), Some(id));
        assert_eq!(given == Some(id), is_kept);
        assert!(!id.is_empty());
    }
    for path in ["/orders/../metrics", "/nothing"] {
        let refused = get(&gateway, path).await;
        assert_eq!(header(&refused, "x-request-id").len(), 32, "{path}");
    }
    let refused = post(&gateway, "/payments", "{}").await;
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(header(&refused, "x-request-id").len(), 32);
}
