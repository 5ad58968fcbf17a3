//! What can be asked over HTTP: `{service, path}` or `{url}`.

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
