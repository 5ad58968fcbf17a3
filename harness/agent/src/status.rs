//! What the agent tells over HTTP: whether its harm is done, and the evidence of what it does.
//!
//! | request | answer |
//! |---|---|
//! | `GET /healthz` | 503 until the harm is done, 200 from then on: also when it is undone |
//! | `GET /status` | JSON: mode, whether it is harming, until when, and the mode's own evidence |
//! | `GET /metrics` | the numbers of `/status` in Prometheus' text format |

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long to wait before accepting again when that failed, for want of descriptors for example.
pub(crate) const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(20);

/// Says what a mode has done so far, as a JSON object.
pub(crate) type Evidence = Arc<dyn Fn() -> Value + Send + Sync>;

/// What there is to tell.
#[derive(Clone)]
pub(crate) struct Report {
    pub(crate) mode: &'static str,
    /// In seconds since 1970.
    pub(crate) until: u64,
    /// Whether the harm has been done.
    pub(crate) has_begun: Arc<AtomicBool>,
    pub(crate) over: CancellationToken,
    pub(crate) evidence: Evidence,
}

impl fmt::Debug for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Report({})", self.as_json())
    }
}

impl Report {
    pub(crate) fn as_json(&self) -> Value {
        json!({
            "mode": self.mode,
            "active": !self.over.is_cancelled(),
            "until": self.until,
            "evidence": (self.evidence)(),
        })
    }

    fn as_metrics(&self) -> String {
        let active = u8::from(!self.over.is_cancelled());
        let mode = self.mode;
        let mut text = format!("holdfast_agent_active{{mode=\"{mode}\"}} {active}\n");
        for (name, value) in (self.evidence)().as_object().into_iter().flatten() {
            if let Some(number) = value.as_f64() {
                let name = snake_case(name);
                text.push_str(&format!(
                    "holdfast_agent_{name}{{mode=\"{mode}\"}} {number}\n"
                ));
            }
        }
        text
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let (status, kind, body) = match (method, path) {
            (&Method::GET | &Method::HEAD, "/healthz") => {
                let (status, body) = if self.has_begun.load(Ordering::Relaxed) {
                    (StatusCode::OK, "ok\n")
                } else {
                    (
                        StatusCode::SERVICE_UNAVAILABLE,
                        "the harm is not done yet\n",
                    )
                };
                (status, "text/plain", body.to_owned())
            }
            (&Method::GET | &Method::HEAD, "/status") => (
                StatusCode::OK,
                "application/json",
                format!("{}\n", self.as_json()),
            ),
            (&Method::GET | &Method::HEAD, "/metrics") => (
                StatusCode::OK,
                "text/plain; version=0.0.4",
                self.as_metrics(),
            ),
            _ => (
                StatusCode::NOT_FOUND,
                "text/plain",
                "there are /healthz, /status and /metrics\n".to_owned(),
            ),
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        let kind = header::HeaderValue::from_static(kind);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

fn snake_case(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(character.to_ascii_lowercase());
    }
    text
}

/// Answers for ever.
pub(crate) async fn serve(listener: TcpListener, report: Report) {
    let report = Arc::new(report);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(AFTER_FAILED_ACCEPT).await;
            continue;
        };
        let report = Arc::clone(&report);
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = report.answer(request.method(), request.uri().path());
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // A client that leaves ends its connection only.
            drop(connection.await);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_well_only_once_the_harm_is_done() {
        let report = Report {
            mode: "memory",
            until: 0,
            has_begun: Arc::default(),
            over: CancellationToken::new(),
            evidence: Arc::new(|| json!({"takenBytes": 1})),
        };
        let status = |path| report.answer(&Method::GET, path).status();
        assert_eq!(status("/healthz"), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status("/status"), StatusCode::OK);
        report.has_begun.store(true, Ordering::Relaxed);
        assert_eq!(status("/healthz"), StatusCode::OK);
        report.over.cancel();
        assert_eq!(status("/healthz"), StatusCode::OK);
    }
}
