//! A request made ready to go out.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_core::experiment;
use holdfast_core::experiment::{Connections, Transport};
use http::header::{ACCEPT, CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::Full;

use crate::target::Target;

/// Why a request of the plan cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Its method.
    #[error("the method `{0}` is not a valid HTTP method")]
    Method(String),
    /// Its path.
    #[error("the path `{0}` is not a valid request path; percent-encode it")]
    Path(String),
    /// One of its headers.
    #[error("the header `{0}` is not valid HTTP")]
    Header(String),
}

/// A request, as it goes out.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Where to.
    pub(crate) target: Arc<Target>,
    /// What.
    pub(crate) request: Request<Full<Bytes>>,
    /// The statuses that count as success.
    pub(crate) expect: Vec<u16>,
    /// Whether the answer is needed afterwards.
    pub(crate) keep: Keep,
}

/// Whether an answer is needed after it was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Nothing,
    Answer,
}

/// Makes a request of the plan ready whose holes are all filled with `value`.
pub(crate) fn prepare(
    request: &experiment::Request,
    target: &Arc<Target>,
    transport: &Transport,
) -> Result<Message, RequestError> {
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_| RequestError::Method(request.method.clone()))?;
    let path = request.path.to_string();
    let uri = format!("{}{path}", target.prefix)
        .parse::<Uri>()
        .map_err(|_| RequestError::Path(path))?;
    let mut headers = HeaderMap::new();
    headers.insert(HOST, header_value(HOST.as_str(), &target.authority)?);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("holdfast/", env!("CARGO_PKG_VERSION"))),
    );
    if transport.connections == Connections::PerRequest {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    for (name, value) in &request.headers {
        let value = header_value(name, &value.to_string())?;
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| RequestError::Header(name.clone()))?;
        headers.insert(name, value);
    }
    let body = request
        .body
        .as_ref()
        .map(|body| body.template().to_string());
    let mut message = Request::new(Full::new(Bytes::from(body.unwrap_or_default())));
    *message.method_mut() = method;
    *message.uri_mut() = uri;
    *message.headers_mut() = headers;
    let needs_answer = !request.checks.is_empty() || !request.save.is_empty();
    Ok(Message {
        target: Arc::clone(target),
        request: message,
        expect: request.expect.clone(),
        keep: if needs_answer {
            Keep::Answer
        } else {
            Keep::Nothing
        },
    })
}

fn header_value(name: &str, value: &str) -> Result<HeaderValue, RequestError> {
    HeaderValue::from_str(value).map_err(|_| RequestError::Header(name.to_owned()))
}
