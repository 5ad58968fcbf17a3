//! What every request passes before it is looked at: the token, and the
//! complete reading of its body, within limits of size and time.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::error::ApiError;

/// As large as a request body may be, in bytes; the limit of real servers.
const BODY_LIMIT: usize = 3 * 1024 * 1024;
/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Lets in those who send the token as a bearer token.
pub(super) async fn bearer_only(
    State(token): State<String>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if bearer_token(request.headers()) == Some(token.as_str()) {
        Ok(next.run(request).await)
    } else {
        Err(ApiError::Unauthorized)
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// Reads the body before the request is answered.
pub(super) async fn whole_body(request: Request, next: Next) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let announced = head.headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > BODY_LIMIT) {
        return Err(too_large());
    }
    let read = Limited::new(body, BODY_LIMIT).collect();
    let Ok(read) = tokio::time::timeout(BODY_TIMEOUT, read).await else {
        return Err(ApiError::SlowBody(BODY_TIMEOUT));
    };
    let body = read.map_err(|error| {
        if error.is::<LengthLimitError>() {
            too_large()
        } else {
            ApiError::BadRequest(format!("the body cannot be read: {error}"))
        }
    })?;
    let request = Request::from_parts(head, Body::from(body.to_bytes()));
    Ok(next.run(request).await)
}

fn too_large() -> ApiError {
    ApiError::TooLarge(format!("limit is {BODY_LIMIT}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_found_in_its_header() {
        let token = |value: &'static str| {
            let value = http::HeaderValue::from_static(value);
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
            bearer_token(&headers).map(str::to_owned)
        };
        assert_eq!(token("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(token("bearer abc").as_deref(), Some("abc"));
        assert_eq!(token("Basic abc"), None);
        assert_eq!(token("abc"), None);
        assert_eq!(bearer_token(&HeaderMap::new()), None);
    }
}
