//! Rate, errors and duration of the requests to a service.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::grpc::grpc_status;
use super::{duration_histogram, observe};

/// The metrics of all requests.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    answered: Family<AnswerLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: String,
}

impl Requests {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let requests = Self {
            answered: Family::default(),
            durations: Family::new_with_constructor(duration_histogram),
        };
        registry.register(
            "http_requests",
            "Requests answered, by the status of the answer; of gRPC by the HTTP status it stands for",
            requests.answered.clone(),
        );
        registry.register(
            "http_request_duration_seconds",
            "Time from a request's header to its answer's",
            requests.durations.clone(),
        );
        requests
    }
}

pub(super) async fn measure(
    State(requests): State<Requests>,
    request: Request,
    next: Next,
) -> Response {
    let method = method_label(request.method());
    // Never the path itself: clients choose it, and each one would be a series of its own.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched", MatchedPath::as_str)
        .to_owned();
    let started = Instant::now();
    let response = next.run(request).await;
    let elapsed = started.elapsed();
    // Over gRPC an error is an HTTP answer like any other.
    let status = grpc_status(response.headers()).map_or(response.status(), |it| it.as_http());
    requests
        .answered
        .get_or_create(&AnswerLabels {
            method,
            route: route.clone(),
            status: status.as_u16(),
        })
        .inc();
    let labels = RouteLabels { method, route };
    observe(&requests.durations.get_or_create(&labels), elapsed);
    response
}

/// Clients can make methods up; those all share a label.
pub(crate) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use axum::routing::get;
    use http_body_util::BodyExt;
    use prometheus_client::registry::Registry;
    use tower::ServiceExt;

    use crate::env::Env;
    use crate::server::{self, ServerConfig};

    async fn ask(router: &Router, method: &str, path: &str) -> String {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn requests_are_counted_by_route_and_status_and_never_by_what_clients_make_up() {
        let api = Router::new()
            .route("/things/{id}", get(|| async { StatusCode::NOT_FOUND }))
            .route("/things", get(|| async { "all" }));
        let config = ServerConfig::from_env(&mut Env::of_pairs([]), 0);
        let router = server::routers(&config, api, Registry::default()).on_one_port();
        for (method, path) in [
            ("GET", "/things/1"),
            ("GET", "/things/2"),
            ("HEAD", "/things"),
            ("BREW", "/things"),
            ("GET", "/elsewhere/1"),
        ] {
            ask(&router, method, path).await;
        }
        let metrics = ask(&router, "GET", "/metrics").await;
        for series in [
            "http_requests_total{method=\"GET\",route=\"/things/{id}\",status=\"404\"} 2",
            "http_requests_total{method=\"HEAD\",route=\"/things\",status=\"200\"} 1",
            "http_requests_total{method=\"other\",route=\"/things\",status=\"405\"} 1",
            "http_requests_total{method=\"GET\",route=\"unmatched\",status=\"404\"} 1",
            "http_request_duration_seconds_count{method=\"GET\",route=\"/things/{id}\"} 2",
        ] {
            assert!(
                metrics.lines().any(|line| line == series),
                "no {series} in\n{metrics}"
            );
        }
        assert!(!metrics.contains("/metrics"), "{metrics}");
    }
}
