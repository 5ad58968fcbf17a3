//! The gateway without a socket in front, and what one asks it.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::MockConnectInfo;
use axum::http::{Request, Response, StatusCode};
use gateway::config::Config;
use http_body_util::BodyExt;
use serde_json::Value;
use service_kit::env::Env;
use tower::ServiceExt;

pub(crate) const KEY: &str = "a key that only the tests know, and they tell everybody";

/// `web` may do all that customers do, `auditor` may only look; the secret of both is "secret".
pub(crate) const CLIENTS: &str = r#"[
    {
        "id": "web",
        "secretSha256": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
        "scopes": ["orders:read", "orders:write", "my-page:read"]
    },
    {
        "id": "auditor",
        "secretSha256": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
        "scopes": ["orders:read", "payments:read"]
    }
]"#;

pub(crate) const HOME: &str = "192.0.2.1:5000";

/// A gateway that is asked from [`HOME`].
pub(crate) fn gateway<'a>(env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Router {
    let home = [("JWT_KEY", KEY), ("OAUTH_CLIENTS", CLIENTS)];
    let env = Env::of_pairs(home.into_iter().chain(env));
    let client: SocketAddr = HOME.parse().unwrap();
    let routers = gateway::build(&Config::from_env(env).unwrap());
    routers.on_one_port().layer(MockConnectInfo(client))
}

/// A gateway that lets everybody in.
pub(crate) fn open_gateway<'a>(env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Router {
    gateway([("GATEWAY_AUTH", "off")].into_iter().chain(env))
}

pub(crate) async fn send(gateway: &Router, request: Request<Body>) -> Response<Body> {
    gateway.clone().oneshot(request).await.unwrap()
}

pub(crate) async fn get(gateway: &Router, path: &str) -> Response<Body> {
    send(gateway, Request::get(path).body(Body::empty()).unwrap()).await
}

pub(crate) async fn post(gateway: &Router, path: &str, body: &str) -> Response<Body> {
    let request = Request::post(path).header("content-type", "application/json");
    send(gateway, request.body(Body::from(body.to_owned())).unwrap()).await
}

/// Asks for the orders with this `Authorization`.
pub(crate) async fn get_as(gateway: &Router, path: &str, authorization: &str) -> Response<Body> {
    let request = Request::get(path).header("authorization", authorization);
    send(gateway, request.body(Body::empty()).unwrap()).await
}

pub(crate) async fn text_of(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) async fn json_of(response: Response<Body>) -> Value {
    serde_json::from_str(&text_of(response).await).unwrap()
}

pub(crate) fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers()[name].to_str().unwrap()
}

pub(crate) fn assert_refused(response: &Response<Body>, status: StatusCode, reason: &str) {
    assert_eq!(response.status(), status);
    assert_eq!(header(response, "x-refusal-reason"), reason);
    assert_eq!(header(response, "content-type"), "application/problem+json");
}

/// Whether the gateway exports this series with this value.
pub(crate) async fn assert_metric(gateway: &Router, series: &str) {
    let metrics = text_of(get(gateway, "/metrics").await).await;
    let found = metrics.lines().any(|line| line == series);
    assert!(found, "no {series} in\n{metrics}");
}
