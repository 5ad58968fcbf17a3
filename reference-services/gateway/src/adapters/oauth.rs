//! The token endpoint of OAuth 2.0 (RFC 6749) for clients that act for themselves
//! (`client_credentials`).

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use service_kit::problem::Problem;
use service_kit::resilience::retry_after;

use super::http::read;
use crate::authority::GrantError;
use crate::service::{Gateway, TokenRefusal};

#[derive(Serialize)]
struct TokenResponse {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    scope: String,
}

/// An answer of RFC 6749, section 5.2.
#[derive(Debug, PartialEq, Eq)]
struct TokenProblem {
    error: TokenErrorCode,
    description: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum TokenErrorCode {
    InvalidRequest,
    InvalidClient,
    UnsupportedGrantType,
    InvalidScope,
}

#[derive(Serialize)]
struct TokenProblemBody<'a> {
    error: TokenErrorCode,
    error_description: &'a str,
}

/// What a client says about itself.
#[derive(Debug, PartialEq, Eq)]
struct Credentials {
    id: String,
    secret: String,
}

pub(super) async fn token(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let headers = request.headers().clone();
    let answered = match read(request).await {
        Ok(body) => answer(&gateway, client, &headers, &body),
        Err(problem) => Err(NotGranted::Limit(problem)),
    };
    let mut response = answered.map(Json).into_response();
    let never_keep = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, never_keep);
    response
}

fn answer(
    gateway: &Gateway,
    client: SocketAddr,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<TokenResponse, NotGranted> {
    let form = Form::parse(headers, body)?;
    let Credentials { id, secret } = form.credentials(headers)?;
    let grant = gateway.grant((&id, &secret), form.get("scope"), client.ip())?;
    Ok(TokenResponse {
        access_token: grant.access_token,
        token_type: "Bearer",
        expires_in: grant.lifetime_seconds,
        scope: grant.scopes.to_string(),
    })
}

/// Why there is no token: what OAuth has words for, and limits that hold everywhere.
enum NotGranted {
    Token(TokenProblem),
    Limit(Problem),
}

impl From<TokenProblem> for NotGranted {
    fn from(problem: TokenProblem) -> Self {
        Self::Token(problem)
    }
}

impl From<TokenRefusal> for NotGranted {
    fn from(refusal: TokenRefusal) -> Self {
        let description = refusal.to_string();
        let error = match refusal {
            TokenRefusal::TooMany(too_many) => {
                let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, description)
                    .with_header(header::RETRY_AFTER, retry_after(too_many.retry_after));
                return Self::Limit(problem);
            }
            TokenRefusal::Grant(GrantError::InvalidClient) => TokenErrorCode::InvalidClient,
            TokenRefusal::Grant(GrantError::UnknownScope(_) | GrantError::ForbiddenScopes(_)) => {
                TokenErrorCode::InvalidScope
            }
        };
        Self::Token(TokenProblem { error, description })
    }
}

impl IntoResponse for NotGranted {
    fn into_response(self) -> Response {
        match self {
            Self::Token(problem) => problem.into_response(),
            Self::Limit(problem) => problem.into_response(),
        }
    }
}

/// The parameters of a request, each at most once. One without a value counts as absent.
#[derive(Debug)]
struct Form(Vec<(String, String)>);

impl Form {
    fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, TokenProblem> {
        let content_type = headers.get(header::CONTENT_TYPE);
        let media_type = content_type
            .and_then(|value| value.to_str().ok()?.split(';').next())
            .map_or("", str::trim);
        if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(invalid_request(
                "the body must be application/x-www-form-urlencoded",
            ));
        }
        let mut form = Self(Vec::new());
        for (name, value) in form_urlencoded::parse(body).into_owned() {
            if form.0.iter().any(|(earlier, _)| *earlier == name) {
                return Err(invalid_request("a parameter is there twice"));
            }
            form.0.push((name, value));
        }
        match form.get("grant_type") {
            Some("client_credentials") => Ok(form),
            Some(_) => Err(TokenProblem {
                error: TokenErrorCode::UnsupportedGrantType,
                description: "the grant_type must be client_credentials".to_owned(),
            }),
            None => Err(invalid_request("there is no grant_type")),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// The client's id and secret, from the header or the body, but not from both.
    fn credentials(&self, headers: &HeaderMap) -> Result<Credentials, TokenProblem> {
        let in_body = self.get("client_id").zip(self.get("client_secret"));
        match (headers.get(header::AUTHORIZATION), in_body) {
            (Some(_), Some(_)) => Err(invalid_request("a client says who it is in one way")),
            (Some(value), None) => basic(value).ok_or_else(|| TokenProblem {
                error: TokenErrorCode::InvalidClient,
                description: "the Authorization header cannot be read".to_owned(),
            }),
            (None, Some((id, secret))) => Ok(Credentials {
                id: id.to_owned(),
                secret: secret.to_owned(),
            }),
            (None, None) => Err(TokenProblem {
                error: TokenErrorCode::InvalidClient,
                description: "a client must say who it is".to_owned(),
            }),
        }
    }
}

/// Id and secret by HTTP Basic, each encoded as in a form (RFC 6749, section 2.3.1).
fn basic(value: &HeaderValue) -> Option<Credentials> {
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        let decoded = percent_decode_str(&text).decode_utf8();
        decoded.ok().map(Cow::into_owned)
    };
    Some(Credentials {
        id: decoded(id)?,
        secret: decoded(secret)?,
    })
}

fn invalid_request(description: &str) -> TokenProblem {
    TokenProblem {
        error: TokenErrorCode::InvalidRequest,
        description: description.to_owned(),
    }
}

impl IntoResponse for TokenProblem {
    fn into_response(self) -> Response {
        let body = Json(TokenProblemBody {
            error: self.error,
            error_description: &self.description,
        });
        match self.error {
            TokenErrorCode::InvalidClient => {
                let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"food-delivery\"")];
                (StatusCode::UNAUTHORIZED, challenge, body).into_response()
            }
            TokenErrorCode::InvalidRequest
            | TokenErrorCode::UnsupportedGrantType
            | TokenErrorCode::InvalidScope => (StatusCode::BAD_REQUEST, body).into_response(),
        }
    }
}
