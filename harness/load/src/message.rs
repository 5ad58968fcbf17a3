//! A request made ready to go out.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_core::experiment::{self, Connections};
use http::Method;
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, Uri};

use crate::decoder::RequestKind;
use crate::dialer::Dialer;
use crate::target::{Target, TargetError};
use crate::tls::TlsError;

const USER_AGENT: &str = concat!("holdfast/", env!("CARGO_PKG_VERSION"));

/// Why a request of the plan cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("the method `{0}` is not a valid HTTP method")]
    Method(String),
    #[error("the path `{0}` is not a valid request path; percent-encode it")]
    Path(String),
    #[error("the header `{0}` is not valid HTTP")]
    Header(String),
    #[error("the header `{0}` follows from the body; leave it out")]
    Framing(String),
    #[error(transparent)]
    Target(TargetError),
    #[error(transparent)]
    Tls(Arc<TlsError>),
}

/// A request, as it goes out.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Where to.
    pub(crate) target: Arc<Target>,
    /// The statuses that count as success.
    pub(crate) expect: Vec<u16>,
    /// Whether the answer is needed afterwards.
    pub(crate) keep: Keep,
    connections: Connections,
    kind: RequestKind,
    /// The whole request in HTTP/1.1; what else has to be known of it is read from it.
    wire: Vec<u8>,
    /// Where in it the body begins.
    body_at: usize,
}

/// A request taken apart.
#[derive(Debug)]
pub(crate) struct Parts<'a, H> {
    pub(crate) method: &'a str,
    /// The target's own path, the request's, and the query.
    pub(crate) path: &'a str,
    /// Every header that goes out.
    pub(crate) headers: H,
    pub(crate) body: &'a str,
}

/// Whether an answer is needed after it was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Nothing,
    Answer,
}

/// Makes a request of the plan ready, holes in its templates left as they are. It goes to `target`
/// unless its path is an absolute URL.
pub(crate) fn prepare(
    request: &experiment::Request,
    target: &Arc<Target>,
    dialer: &Dialer,
) -> Result<Message, RequestError> {
    let path = request.path.to_string();
    let (target, path) = match split_url(&path) {
        Some((origin, path)) => (dialer.target(origin, target)?, path),
        None => (Arc::clone(target), Cow::Borrowed(path.as_str())),
    };
    let needs_answer = !request.checks.is_empty() || !request.save.is_empty();
    let mut message = Message::new(target, dialer.transport.connections);
    message.expect.clone_from(&request.expect);
    message.keep = if needs_answer {
        Keep::Answer
    } else {
        Keep::Nothing
    };
    let values = request.headers.iter();
    let values: Vec<_> = values
        .map(|(name, value)| (name.as_str(), value.to_string()))
        .collect();
    let headers = values.iter().map(|(name, value)| (*name, value.as_str()));
    let body = request.body.as_ref();
    let body = body.map(|body| body.template().to_string());
    message.write(&request.method, &path, headers, body.as_deref())?;
    Ok(message)
}

/// Takes an absolute `http` or `https` URL apart: its origin, and the path with its query.
pub(crate) fn split_url(url: &str) -> Option<(&str, Cow<'_, str>)> {
    let lower = url.get(..8)?.to_ascii_lowercase();
    let host_at = ["http://", "https://"]
        .into_iter()
        .find(|scheme| lower.starts_with(scheme))?
        .len();
    let path_at = url[host_at..].find(['/', '?', '#']);
    let (origin, path) = url.split_at(path_at.map_or(url.len(), |at| host_at + at));
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(format!("/{path}"))
    };
    Some((origin, path))
}

impl Message {
    /// A request that has yet to be written.
    pub(crate) fn new(target: Arc<Target>, connections: Connections) -> Self {
        Self {
            target,
            expect: Vec::new(),
            keep: Keep::Nothing,
            connections,
            kind: RequestKind::Other,
            wire: Vec::new(),
            body_at: 0,
        }
    }

    /// Writes the request anew, into the memory of the one before. `path` comes after the target's
    /// own; `headers` go in place of those that every request has.
    pub(crate) fn write<'a>(
        &mut self,
        method: &str,
        path: &str,
        headers: impl Iterator<Item = (&'a str, &'a str)> + Clone,
        body: Option<&str>,
    ) -> Result<(), RequestError> {
        if method.is_empty() || !method.bytes().all(is_token) {
            return Err(RequestError::Method(method.to_owned()));
        }
        if !path.starts_with('/') || !path.bytes().all(is_path) {
            return Err(RequestError::Path(path.to_owned()));
        }
        self.kind = if method == "HEAD" {
            RequestKind::Head
        } else {
            RequestKind::Other
        };
        self.wire.clear();
        push(
            &mut self.wire,
            &[method, " ", &self.target.prefix, path, " HTTP/1.1\r\n"],
        );
        let close = match self.connections {
            Connections::PerRequest => Some(("connection", "close")),
            Connections::KeepAlive => None,
        };
        let always = [
            ("host", self.target.authority.as_str()),
            ("accept", "*/*"),
            ("user-agent", USER_AGENT),
        ];
        for (name, value) in always.into_iter().chain(close) {
            let mut given = headers.clone();
            if !given.any(|(given, _)| given.eq_ignore_ascii_case(name)) {
                push(&mut self.wire, &[name, ": ", value, "\r\n"]);
            }
        }
        for (name, value) in headers {
            check_header(name, value)?;
            push(&mut self.wire, &[name, ": ", value, "\r\n"]);
        }
        if body.is_some() || matches!(method, "POST" | "PUT" | "PATCH") {
            let length = body.map_or(0, str::len);
            write!(self.wire, "content-length: {length}\r\n").expect("memory takes any text");
        }
        push(&mut self.wire, &["\r\n"]);
        self.body_at = self.wire.len();
        push(&mut self.wire, &[body.unwrap_or_default()]);
        Ok(())
    }

    /// The whole request in HTTP/1.1.
    pub(crate) fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// The same request's beginning to another target: it has yet to be written.
    pub(crate) fn toward(&self, target: Arc<Target>) -> Self {
        Self {
            expect: self.expect.clone(),
            keep: self.keep,
            ..Self::new(target, self.connections)
        }
    }

    /// The request taken apart again.
    pub(crate) fn parts(&self) -> Parts<'_, impl Iterator<Item = (&str, &str)> + Clone> {
        let text = |bytes| std::str::from_utf8(bytes).expect("a request is written as text");
        let (head, body) = self.wire.split_at(self.body_at);
        let mut lines = text(head).split_terminator("\r\n");
        let mut line = lines.next().unwrap_or_default().split(' ');
        Parts {
            method: line.next().unwrap_or_default(),
            path: line.next().unwrap_or_default(),
            headers: lines.filter_map(|line| line.split_once(": ")),
            body: text(body),
        }
    }

    /// The request as HTTP/2 has it: its head and its body.
    pub(crate) fn to_http2(&self) -> (http::Request<()>, Bytes) {
        let parts = self.parts();
        let mut authority = self.target.authority.as_str();
        let mut headers = HeaderMap::new();
        for (name, value) in parts.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect(VALID);
            if name == HOST {
                authority = value;
            } else if !is_of_connection(&name) {
                headers.append(
                    name,
                    HeaderValue::from_bytes(value.as_bytes()).expect(VALID),
                );
            }
        }
        let uri = Uri::builder()
            .scheme(self.target.scheme())
            .authority(authority)
            .path_and_query(parts.path);
        let mut request = http::Request::new(());
        *request.method_mut() = Method::from_bytes(parts.method.as_bytes()).expect(VALID);
        *request.uri_mut() = uri.build().expect(VALID);
        *request.headers_mut() = headers;
        (request, Bytes::copy_from_slice(parts.body.as_bytes()))
    }

    /// What the meaning of its answer depends on.
    pub(crate) fn kind(&self) -> RequestKind {
        self.kind
    }
}

/// Why a request that was written is valid in every version of HTTP.
const VALID: &str = "it was checked when the request was written";

/// Headers that say something about one HTTP/1.1 connection (RFC 9113, section 8.2.2).
fn is_of_connection(name: &HeaderName) -> bool {
    let names = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
    ];
    names.contains(&name.as_str())
}

fn check_header(name: &str, value: &str) -> Result<(), RequestError> {
    let valid = |byte: u8| byte == b'\t' || !byte.is_ascii_control();
    if name.is_empty() || !name.bytes().all(is_token) || !value.bytes().all(valid) {
        return Err(RequestError::Header(name.to_owned()));
    }
    if name.eq_ignore_ascii_case(HOST.as_str()) && value.parse::<Authority>().is_err() {
        return Err(RequestError::Header(name.to_owned()));
    }
    let framing = ["content-length", "transfer-encoding"];
    if framing
        .iter()
        .any(|framing| name.eq_ignore_ascii_case(framing))
    {
        return Err(RequestError::Framing(name.to_owned()));
    }
    Ok(())
}

fn push(wire: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        wire.extend_from_slice(text.as_bytes());
    }
}

/// A character of a method or a header's name (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A character of a request's path and query. More than RFC 3986 has: services get what a test
/// wants them to get, as long as the request stays one.
fn is_path(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"#<>`".contains(&byte)
}
