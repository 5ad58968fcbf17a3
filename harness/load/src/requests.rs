//! The plan's requests, made ready once so that sending one is a clone.

use bytes::Bytes;
use holdfast_core::experiment;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::Full;

use crate::Connections;
use crate::target::Target;

/// Why a request of the plan cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("the method `{0}` is not a valid HTTP method")]
    Method(String),
    #[error("the path `{0}` is not a valid request path; percent-encode it")]
    Path(String),
    #[error("the header `{0}` is not valid HTTP")]
    Header(String),
}

/// One request of the plan, as it goes out.
#[derive(Clone, Debug)]
pub(crate) struct PreparedRequest {
    /// What is sent.
    pub(crate) message: Request<Full<Bytes>>,
    /// The statuses that count as success.
    pub(crate) expect: Vec<u16>,
}

/// Makes all requests of a plan ready.
pub(crate) fn prepare(
    requests: &[experiment::Request],
    target: &Target,
    connections: Connections,
) -> Result<Vec<PreparedRequest>, RequestError> {
    requests
        .iter()
        .map(|request| prepare_one(request, target, connections))
        .collect()
}

fn prepare_one(
    request: &experiment::Request,
    target: &Target,
    connections: Connections,
) -> Result<PreparedRequest, RequestError> {
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_| RequestError::Method(request.method.clone()))?;
    let uri = format!("{}{}", target.prefix, request.path)
        .parse::<Uri>()
        .map_err(|_| RequestError::Path(request.path.clone()))?;
    let mut headers = HeaderMap::new();
    headers.insert(HOST, header_value(HOST.as_str(), &target.authority)?);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("holdfast/", env!("CARGO_PKG_VERSION"))),
    );
    if connections == Connections::PerRequest {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    for (name, value) in &request.headers {
        let value = header_value(name, value)?;
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| RequestError::Header(name.clone()))?;
        headers.insert(name, value);
    }
    let body = Bytes::from(request.body.clone().unwrap_or_default());
    let mut message = Request::new(Full::new(body));
    *message.method_mut() = method;
    *message.uri_mut() = uri;
    *message.headers_mut() = headers;
    Ok(PreparedRequest {
        message,
        expect: request.expect.clone(),
    })
}

fn header_value(name: &str, value: &str) -> Result<HeaderValue, RequestError> {
    HeaderValue::from_str(value).map_err(|_| RequestError::Header(name.to_owned()))
}
