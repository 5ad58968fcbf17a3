//! The gateway over HTTP: the resources, and nothing else of the services behind.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Extension, FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, get, on, post};
use percent_encoding::percent_decode_str;
use service_kit::problem::Problem;
use service_kit::resilience::{RefusalReason, retry_after};

use super::{headers, oauth};
use crate::domain::{Offer, RESOURCES, Resource};
use crate::ports::UpstreamError;
use crate::service::{Gateway, Refusal, SHED_PAUSE};
use crate::tokens::TokenError;

/// What clients are told their tokens are for.
const REALM: &str = "Bearer realm=\"food-delivery\"";

/// Every resource with all below it, and `POST /oauth2/token`.
pub fn router(gateway: Gateway) -> Router {
    let mut router = Router::new();
    for resource in &RESOURCES {
        for path in resource.paths {
            router = router
                .route(path, route(resource))
                .route(&format!("{path}/{{*rest}}"), route(resource));
        }
    }
    if gateway.authority.is_some() {
        router = router.route("/oauth2/token", post(oauth::token));
    }
    router.with_state(Arc::new(gateway))
}

fn route(resource: &'static Resource) -> MethodRouter<Arc<Gateway>> {
    let methods = match resource.offer {
        Offer::Reading => get(forward),
        Offer::ReadingAndWriting => on(
            MethodFilter::GET
                .or(MethodFilter::HEAD)
                .or(MethodFilter::POST)
                .or(MethodFilter::PUT)
                .or(MethodFilter::PATCH)
                .or(MethodFilter::DELETE),
            forward,
        ),
    };
    methods.layer(Extension(resource))
}

async fn forward(
    State(gateway): State<Arc<Gateway>>,
    Extension(resource): Extension<&'static Resource>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Problem> {
    if !is_unambiguous(request.uri().path()) {
        let detail = "a path must not have dots or encoded slashes for segments";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    gateway
        .check(
            resource,
            request.method(),
            bearer(request.headers()),
            client.ip(),
        )
        .map_err(|refusal| problem(&refusal))?;

    let mut onward = Request::new(());
    *onward.method_mut() = request.method().clone();
    *onward.uri_mut() = request.uri().clone();
    *onward.headers_mut() = headers::forwarded(request.headers(), client.ip());
    // All of it, before it takes a place: a client that sends slowly holds nobody else up, and what
    // was read can be sent again.
    let body = read(request).await?;

    let onward = onward.map(|()| body);
    let mut response = gateway
        .forward(resource.upstream, onward)
        .await
        .map_err(|refusal| problem(&refusal))?;
    headers::remove_hop_by_hop(response.headers_mut());
    Ok(response)
}

/// The whole body of a request, if it is not too large.
pub(super) async fn read(request: Request) -> Result<Bytes, Problem> {
    Bytes::from_request(request, &())
        .await
        .map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))
}

/// Whether everybody on the way reads the path alike: no segment that some would resolve, no
/// encoded separator that some would decode.
fn is_unambiguous(path: &str) -> bool {
    path.split('/').all(|segment| {
        let decoded: Vec<u8> = percent_decode_str(segment).collect();
        let is_dots = matches!(decoded.as_slice(), b"." | b"..");
        !is_dots && !decoded.iter().any(|b| matches!(b, b'/' | b'\\' | 0))
    })
}

/// The token in a request's one `Authorization` header.
fn bearer(headers: &HeaderMap) -> Result<&str, TokenError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(TokenError::Missing)?;
    if values.next().is_some() {
        return Err(TokenError::Invalid);
    }
    let text = value.to_str().map_err(|_| TokenError::Invalid)?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(TokenError::Missing)
    }
}

fn problem(refusal: &Refusal) -> Problem {
    let detail = refusal.to_string();
    match refusal {
        Refusal::Token(error) => {
            let challenge = match error {
                TokenError::Missing => REALM.to_owned(),
                TokenError::Expired | TokenError::Invalid => {
                    format!("{REALM}, error=\"invalid_token\", error_description=\"{error}\"")
                }
            };
            challenged(StatusCode::UNAUTHORIZED, detail, &challenge)
        }
        Refusal::Scope(scope) => {
            let challenge = format!("{REALM}, error=\"insufficient_scope\", scope=\"{scope}\"");
            challenged(StatusCode::FORBIDDEN, detail, &challenge)
        }
        Refusal::TooMany(too_many) => Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
            .with_header(header::RETRY_AFTER, retry_after(too_many.retry_after)),
        Refusal::Shed => RefusalReason::Shed
            .problem(detail)
            .with_header(header::RETRY_AFTER, retry_after(SHED_PAUSE)),
        Refusal::Upstream(UpstreamError::Connect) => RefusalReason::Connect.problem(detail),
        Refusal::Upstream(UpstreamError::Broken) => RefusalReason::UpstreamError.problem(detail),
        Refusal::Upstream(UpstreamError::Timeout) => RefusalReason::Timeout.problem(detail),
    }
}

fn challenged(status: StatusCode, detail: String, challenge: &str) -> Problem {
    let challenge = HeaderValue::try_from(challenge).expect("what we say is plain text");
    Problem::new(status, detail).with_header(header::WWW_AUTHENTICATE, challenge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_be_read_in_two_ways_are_not_passed_on() {
        for path in [
            "/orders",
            "/orders/1",
            "/orders/a.b/..c",
            "/주문s/1",
            "/orders/%41",
        ] {
            assert!(is_unambiguous(path), "{path}");
        }
        for path in [
            "/orders/../metrics",
            "/orders/%2e%2E/metrics",
            "/orders/.%2e",
            "/orders/./1",
            "/orders/..%2fmetrics",
            "/orders/a%2Fb",
            "/orders/..%5cmetrics",
            "/orders/..\\metrics",
            "/orders/%00",
        ] {
            assert!(!is_unambiguous(path), "{path}");
        }
    }

    #[test]
    fn one_bearer_token_is_taken_and_nothing_else() {
        let token = |values: &[&'static str]| {
            let name = header::AUTHORIZATION;
            let value = |value: &&'static str| (name.clone(), HeaderValue::from_static(value));
            let headers: HeaderMap = values.iter().map(value).collect();
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(token(&["Bearer a.b.c"]), Ok("a.b.c".to_owned()));
        assert_eq!(token(&["bearer  a.b.c"]), Ok("a.b.c".to_owned()));
        assert_eq!(token(&["Bearer"]), Ok(String::new()));
        assert_eq!(token(&[]), Err(TokenError::Missing));
        assert_eq!(token(&["Basic YTpi"]), Err(TokenError::Missing));
        assert_eq!(token(&["Bearer a", "Bearer b"]), Err(TokenError::Invalid));
    }
}
