//! app without a socket, on the bus in memory, and what tests ask of it.

use std::sync::Arc;

use app::config::Config;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use http_body_util::BodyExt as _;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use service_kit::env::Env;
use service_kit::events::EventBus;
use service_kit::events::memory::MemoryBus;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// app without a bus.
pub(crate) async fn app<'a>(
    pay_url: &'a str,
    env: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Router {
    build(pay_url, env, None).await
}

/// app on `bus`.
pub(crate) async fn app_on<'a>(
    bus: &Arc<MemoryBus>,
    pay_url: &'a str,
    env: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Router {
    let bus: Arc<dyn EventBus> = Arc::<MemoryBus>::clone(bus);
    build(pay_url, env, Some(bus)).await
}

async fn build<'a>(
    pay_url: &'a str,
    env: impl IntoIterator<Item = (&'a str, &'a str)>,
    bus: Option<Arc<dyn EventBus>>,
) -> Router {
    let env = Env::of_pairs([("PAY_URL", pay_url)].into_iter().chain(env));
    let config = Config::from_env(env).unwrap();
    let work = TaskTracker::new();
    let built = app::build_on(bus, &config, Registry::default(), work).await;
    let (routers, _background) = built.unwrap();
    routers.on_one_port()
}

pub(crate) async fn post(app: &Router, path: &str, body: &Value) -> Response<Body> {
    post_with(app, path, body, &[]).await
}

pub(crate) async fn post_with(
    app: &Router,
    path: &str,
    body: &Value,
    headers: &[(&str, &str)],
) -> Response<Body> {
    let mut request = Request::post(path).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_string())).unwrap();
    app.clone().oneshot(request).await.unwrap()
}

/// Orders a chicken.
pub(crate) async fn order(app: &Router) -> Response<Body> {
    post(app, "/orders", &json!({"item": "chicken"})).await
}

pub(crate) async fn get(app: &Router, path: &str) -> Response<Body> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    app.clone().oneshot(request).await.unwrap()
}

pub(crate) async fn json_of(response: Response<Body>) -> Value {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

pub(crate) fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers()[name].to_str().unwrap()
}
