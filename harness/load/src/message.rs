//! A request made ready to go out.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_core::experiment::{self, Connections};
use holdfast_core::template::Template;
use http::Method;
use http::header::{COOKIE, HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, Uri};

use crate::decoder::RequestKind;
use crate::dialer::Dialer;
use crate::target::{Target, TargetError};
use crate::tls::TlsError;

const USER_AGENT: &str = concat!("holdfast/", env!("CARGO_PKG_VERSION"));

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
    /// One of its headers says what its body says.
    #[error("the header `{0}` follows from the body; leave it out")]
    Framing(String),
    /// The URL it goes to, where that is its own.
    #[error(transparent)]
    Target(TargetError),
    /// What TLS needs for it cannot be had.
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

/// Makes a request of the plan ready that has no holes. It goes to `target` unless its path is an
/// absolute URL.
pub(crate) fn prepare(
    request: &experiment::Request,
    target: &Arc<Target>,
    dialer: &Dialer,
) -> Result<Message, RequestError> {
    let path = text(&request.path);
    let (target, path) = match split_url(&path) {
        Some((origin, path)) => (dialer.target(origin, target)?, path),
        None => (Arc::clone(target), Cow::Borrowed(path.as_str())),
    };
    let mut message = blank(request, target, dialer);
    let values = request.headers.iter();
    let values: Vec<_> = values
        .map(|(name, value)| (name.as_str(), text(value)))
        .collect();
    let headers = values.iter().map(|(name, value)| (*name, value.as_str()));
    let body = request.body.as_ref();
    let body = body.map(|body| text(body.template()));
    message.write(&request.method, &path, headers, body.as_deref())?;
    Ok(message)
}

/// A request of the plan that has yet to be written.
pub(crate) fn blank(
    request: &experiment::Request,
    target: Arc<Target>,
    dialer: &Dialer,
) -> Message {
    let mut message = Message::new(target, dialer.transport.connections);
    message.expect.clone_from(&request.expect);
    if !request.checks.is_empty() || !request.save.is_empty() {
        message.keep = Keep::Answer;
    }
    message
}

/// The template's text where it has no holes.
fn text(template: &Template) -> String {
    template.filled(ToString::to_string)
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

    /// Takes over whatever is not written from a request of another form.
    pub(crate) fn resemble(&mut self, blank: &Self) {
        self.target.clone_from(&blank.target);
        self.expect.clone_from(&blank.expect);
        self.keep = blank.keep;
        self.connections = blank.connections;
    }

    /// The same request with these cookies, unless it brings its own.
    pub(crate) fn with_cookies(&self, cookies: &str) -> Self {
        let mut message = self.clone();
        let is_cookie = |(name, _): (&str, &str)| name.eq_ignore_ascii_case(COOKIE.as_str());
        if !self.parts().headers.any(is_cookie) {
            let header = format!("{COOKIE}: {cookies}\r\n");
            let end = self.body_at - "\r\n".len();
            message.wire.splice(end..end, header.bytes());
            message.body_at += header.len();
        }
        message
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
        let text =
            |bytes| std::str::from_utf8(bytes).expect("a request is written from strings alone");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn message(url: &str, connections: Connections) -> Message {
        Message::new(Arc::new(Target::parse(url, None).unwrap()), connections)
    }

    #[test]
    fn a_request_is_written_once_and_read_from_that() {
        let mut message = message("http://shop.test:81/api", Connections::PerRequest);
        let headers = [("X-A", "b: c"), ("Accept", "text/html")];
        let body = Some("{}");
        message
            .write("PATCH", "/a?b=c", headers.into_iter(), body)
            .unwrap();
        let expected = format!(
            "PATCH /api/a?b=c HTTP/1.1\r\nhost: shop.test:81\r\nuser-agent: {USER_AGENT}\r\n\
             connection: close\r\nX-A: b: c\r\nAccept: text/html\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        assert_eq!(std::str::from_utf8(message.wire()).unwrap(), expected);
        let parts = message.parts();
        assert_eq!(
            (parts.method, parts.path, parts.body),
            ("PATCH", "/api/a?b=c", "{}")
        );
        assert!(
            parts
                .headers
                .clone()
                .any(|header| header == ("X-A", "b: c"))
        );
        let (head, body) = message.to_http2();
        assert_eq!(head.uri(), "http://shop.test:81/api/a?b=c");
        assert_eq!(
            (head.headers()["x-a"].as_bytes(), &*body),
            (&b"b: c"[..], &b"{}"[..])
        );
        assert!(!head.headers().contains_key("connection"));
    }

    #[test]
    fn a_request_takes_the_place_of_the_one_before() {
        let mut message = message("https://shop.test", Connections::KeepAlive);
        let none = || std::iter::empty();
        message.write("POST", "/a", none(), Some("long")).unwrap();
        message.write("HEAD", "/b", none(), None).unwrap();
        assert_eq!(message.kind(), RequestKind::Head);
        let head = std::str::from_utf8(message.wire()).unwrap();
        assert!(
            head.starts_with("HEAD /b HTTP/1.1\r\n") && head.ends_with("\r\n\r\n"),
            "{head}"
        );
        assert!(!head.contains("content-length"));
        message.write("POST", "/c", none(), None).unwrap();
        let mut headers = message.parts().headers;
        assert!(headers.any(|header| header == ("content-length", "0")));
    }

    #[test]
    fn what_would_be_another_request_is_refused() {
        let mut message = message("http://shop.test", Connections::KeepAlive);
        let mut header = |name, value| message.write("GET", "/", [(name, value)].into_iter(), None);
        for (name, value) in [("a", "b\r\nc: d"), ("a b", "c"), ("", "a"), ("host", "a b")] {
            let refused = header(name, value);
            assert!(
                matches!(refused, Err(RequestError::Header(_))),
                "{name}: {value}"
            );
        }
        let refused = header("Transfer-Encoding", "chunked");
        assert!(matches!(refused, Err(RequestError::Framing(_))));
        header("host", "other.test").unwrap();
        assert_eq!(message.to_http2().0.uri(), "http://other.test/");
        let mut path = |path| message.write("GET", path, std::iter::empty(), None);
        for refused in ["", "a", "/a b", "/a\r\n", "/ü", "/a#b", "/<a>"] {
            assert!(
                matches!(path(refused), Err(RequestError::Path(_))),
                "{refused}"
            );
        }
        path("/a/~b;c=%20?d={e}|f").unwrap();
        drop(message.to_http2());
    }

    #[test]
    fn an_absolute_url_is_taken_apart() {
        let split = |url| split_url(url).map(|(origin, path)| (origin, path.into_owned()));
        let parts = |origin, path: &str| Some((origin, path.to_owned()));
        assert_eq!(split("http://a:1/b?c#d"), parts("http://a:1", "/b?c"));
        assert_eq!(split("HTTPS://a"), parts("HTTPS://a", "/"));
        assert_eq!(split("https://a?b"), parts("https://a", "/?b"));
        for path in ["/a", "/http://a", "ftp://a/", "http:/a", ""] {
            assert_eq!(split(path), None, "{path}");
        }
    }
}
