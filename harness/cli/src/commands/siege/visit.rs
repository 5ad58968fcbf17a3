//! A URL as siege writes it: `[scheme://]host[:port][/path] [METHOD [body | <file]]`.

use std::fs;
use std::path::Path;

use crate::failure::Failure;

/// The methods that siege knows behind a URL.
const METHODS: [&str; 5] = ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// One request of a siege.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Visit {
    pub(super) method: &'static str,
    /// Scheme, host and port, e.g. `http://localhost:8081`.
    pub(super) origin: String,
    /// Path and query, percent-encoded.
    pub(super) path: String,
    /// What is sent along; `None` for GET.
    pub(super) body: Option<String>,
}

impl Visit {
    /// Reads what siege writes as a URL. `http` is the scheme where none is given.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let (url, method, body) = split(text);
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(refused(text, "the scheme must be http or https"));
        }
        let path_at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(path_at);
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(refused(text, "it has no host"));
        }
        if host.contains('@') {
            return Err(
                refused(text, "it has a user's name in it, which is never sent")
                    .hint("use -H 'Authorization: Basic …'"),
            );
        }
        let path = path.split('#').next().unwrap_or_default();
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            method,
            origin: format!("{scheme}://{host}"),
            path: format!("{slash}{}", encoded(path)),
            body: body.map(|body| read_body(body, text)).transpose()?,
        })
    }
}

fn refused(text: &str, why: &str) -> Failure {
    Failure::input(format!("`{text}` is not a URL to put under siege: {why}"))
        .hint("write it as siege does, e.g. 'http://localhost:8081/orders POST {\"item\": 1}'")
}

/// The URL, the method, and what comes after a method.
fn split(text: &str) -> (&str, &'static str, Option<&str>) {
    let behind = |method: &'static str| {
        let at = text.find(&format!(" {method}"))?;
        let rest = &text[at + 1 + method.len()..];
        let is_word = rest.is_empty() || rest.starts_with(char::is_whitespace);
        is_word.then_some((at, method, rest))
    };
    let first = METHODS.into_iter().filter_map(behind);
    match first.min_by_key(|(at, ..)| *at) {
        Some((at, method, rest)) => (text[..at].trim(), method, Some(rest.trim_start())),
        None => (text.trim(), "GET", None),
    }
}

/// A body as it is, or the content of a file behind `<`.
fn read_body(body: &str, text: &str) -> Result<String, Failure> {
    let Some(file) = body.strip_prefix('<') else {
        return Ok(body.to_owned());
    };
    let file = Path::new(file.trim());
    fs::read_to_string(file).map_err(|error| {
        let file = file.display();
        Failure::input(format!("cannot read {file}, the body of `{text}`: {error}"))
    })
}

/// Percent-encodes what cannot be in a path or a query; what is encoded already stays so.
fn encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(method: &'static str, origin: &str, path: &str, body: Option<&str>) -> Visit {
        Visit {
            method,
            origin: origin.to_owned(),
            path: path.to_owned(),
            body: body.map(str::to_owned),
        }
    }

    #[test]
    fn a_url_with_its_method_and_body() {
        let local = "http://localhost:8081";
        for (text, expected) in [
            (
                r#"http://localhost:8081/orders POST {"item": "chicken"}"#,
                visit("POST", local, "/orders", Some(r#"{"item": "chicken"}"#)),
            ),
            ("http://localhost:8081", visit("GET", local, "/", None)),
            ("localhost:8081?a=b", visit("GET", local, "/?a=b", None)),
            ("HTTPS://h/a b#c", visit("GET", "https://h", "/a%20b", None)),
            ("h/x POST", visit("POST", "http://h", "/x", Some(""))),
            (
                "h/x POST  a POST b ",
                visit("POST", "http://h", "/x", Some("a POST b ")),
            ),
            (
                "h/x PUT y POST z",
                visit("PUT", "http://h", "/x", Some("y POST z")),
            ),
            ("h/x DELETE", visit("DELETE", "http://h", "/x", Some(""))),
            ("h/x POSTAL", visit("GET", "http://h", "/x%20POSTAL", None)),
            (
                "h/x%20y?q=\"1\"",
                visit("GET", "http://h", "/x%20y?q=%221%22", None),
            ),
        ] {
            assert_eq!(Visit::parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_body_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("order.json");
        fs::write(&file, "{\"item\":\n1}").unwrap();
        let read = Visit::parse(&format!("h/x POST <{}", file.display())).unwrap();
        assert_eq!(read.body.as_deref(), Some("{\"item\":\n1}"));
        let missing = Visit::parse("h/x POST <no/such.json").unwrap_err();
        assert_eq!(missing.code, 2);
        assert!(missing.to_string().contains("no/such.json"), "{missing}");
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for text in ["ftp://h/x", "http:///x", "a b/x", "http://u:p@h/"] {
            let failure = Visit::parse(text).unwrap_err();
            assert_eq!(failure.code, 2);
            assert!(failure.to_string().contains(text), "{failure}");
        }
    }
}
