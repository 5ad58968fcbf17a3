//! What can be asked over HTTP: `{service, path}`, `{url}`, or a base URL alone.

use super::load::{PATH_FORM, is_path, server};
use super::problems::Problems;
use super::tree::Node;
use crate::experiment::Address;

pub(super) fn read(node: &Node, what: &'static str, problems: &mut Problems) -> Option<Address> {
    let fields = problems.fields(node, what, &["service", "path", "url"], &[])?;
    let (kind, value) = fields.exactly_one(&["service", "url"], problems)?;
    if kind == "service" {
        let name = problems.label(value, "service");
        let path = fields.required("path", problems).and_then(|node| {
            let path = problems.text(node, "path")?;
            if is_path(&path) {
                return Some(path);
            }
            problems.report(&node.at, format!("not a path: `{path}`"), PATH_FORM);
            None
        });
        return Some(Address::Service {
            name: name?,
            path: path?,
        });
    }
    let text = problems.text(value, "url")?;
    if let Some(node) = fields.get("path") {
        problems.report(
            &node.at,
            "a URL has its own path",
            "allowed: `url` alone, or `service` with `path`",
        );
        return None;
    }
    let plain = server(&text).filter(|uri| uri.scheme_str() == Some("http"));
    if plain.is_none() {
        problems.report(
            &value.at,
            format!("`url` is not an absolute http:// URL: `{text}`"),
            "allowed: http:// with a host, perhaps a port, and a path, such as \
             http://monitor:9090/healthy",
        );
        return None;
    }
    Some(Address::Url(text))
}

/// A server's base URL, perhaps with a path that it lives below.
pub(super) fn base(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = problems.text(node, "url")?;
    let plain =
        server(&text).is_some_and(|uri| uri.scheme_str() == Some("http") && uri.query().is_none());
    if plain {
        return Some(text);
    }
    problems.report(
        &node.at,
        format!("`url` is not the base of a server: `{text}`"),
        "allowed: http:// with a host, and perhaps a port and a path, such as http://prometheus:9090",
    );
    None
}
