//! One request of a journey.

use std::collections::BTreeMap;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

use super::journey::Known;
use super::{answer, many};
use crate::experiment::{Body, Request};
use crate::spec::problems::{Fields, Problems};
use crate::spec::to_json;
use crate::spec::tree::Node;
use crate::template::{Template, Variable};

/// The usual words for "done": OK, Created, Accepted, No Content.
const DEFAULT_EXPECT: [u16; 4] = [200, 201, 202, 204];

const METHODS: [&str; 6] = ["get", "post", "put", "patch", "delete", "head"];

pub(super) fn read(node: &Node, known: &Known, problems: &mut Problems) -> Option<Request> {
    let names = [
        "get",
        "post",
        "put",
        "patch",
        "delete",
        "head",
        "json",
        "body",
        "headers",
        "expect",
        "check",
        "save",
        "timeout",
        "thinkTime",
    ];
    let fields = problems.fields(node, "request", &names, &[])?;
    let line = fields
        .exactly_one(&METHODS, problems)
        .and_then(|(method, node)| Some((method, path(node, known, problems)?)));
    let mut headers = match fields.get("headers") {
        Some(node) => headers(node, known, problems),
        None => Some(BTreeMap::new()),
    };
    let body = body(&fields, known, problems);
    let expect = match fields.get("expect") {
        Some(node) => many(node, "expect", status, problems),
        None => Some(DEFAULT_EXPECT.to_vec()),
    };
    let checks = match fields.get("check") {
        Some(node) => answer::checks(node, known, problems),
        None => Some(Vec::new()),
    };
    let save = match fields.get("save") {
        Some(node) => answer::save(node, problems),
        None => Some(BTreeMap::new()),
    };
    let timeout = fields
        .get("timeout")
        .map(|node| problems.positive_duration(node, "timeout"));
    let think_time = fields
        .get("thinkTime")
        .map(|node| problems.duration(node, "thinkTime"));
    let (method, path) = line?;
    let body = body?;
    if let (Some((_, node)), "get" | "head") = (&body, method) {
        problems.report(
            &node.at,
            format!("a {method} request has no body"),
            "allowed: `json` or `body` with `post`, `put`, `patch` or `delete`",
        );
    }
    if let (Some(headers), Some(_)) = (&mut headers, fields.get("json")) {
        headers
            .entry("content-type".to_owned())
            .or_insert_with(|| Template::fixed("application/json"));
    }
    Some(Request {
        method: method.to_uppercase(),
        path,
        headers: headers?,
        body: body.map(|(body, _)| body),
        expect: expect?,
        checks: checks?,
        save: save?,
        timeout: super::super::transpose(timeout)?,
        think_time: super::super::transpose(think_time)?,
    })
}

fn path(node: &Node, known: &Known, problems: &mut Problems) -> Option<Template> {
    let text = problems.text(node, "path")?;
    let path = template(node, &text, known, problems)?;
    // Values are percent-encoded when they are put in: any of them is as good as a digit.
    let filled = path.filled(|_| "0".to_owned());
    if !is_path(&filled) {
        problems.report(&node.at, format!("not a path: `{text}`"), PATH_FORM);
        return None;
    }
    Some(path)
}

pub(in crate::spec) const PATH_FORM: &str =
    "allowed: an absolute path with query, percent-encoded, such as /orders?page=2";

pub(in crate::spec) fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && text.is_ascii()
        && !text.contains('#')
        && text.parse::<PathAndQuery>().is_ok()
}

/// A text whose holes can all be filled.
pub(super) fn template(
    node: &Node,
    text: &str,
    known: &Known,
    problems: &mut Problems,
) -> Option<Template> {
    let template: Template = match text.parse() {
        Ok(template) => template,
        Err(error) => {
            problems.report(
                &node.at,
                format!("not a template: {error}"),
                "allowed: {{user}}, {{iteration}}, {{unique}}, {{uuid}}, {{data.<field>}}, and \
                 {{<name>}} of what an earlier request of the journey has under `save`; {{{{ \
                 stands for {{ itself",
            );
            return None;
        }
    };
    for variable in template.variables() {
        match variable {
            Variable::Saved(name) if !known.saved.contains(name) => problems.report(
                &node.at,
                format!("`{{{{{name}}}}}` is used, but no earlier request saves it"),
                "allowed: user, iteration, unique, uuid, data.<field>, and what an earlier \
                 request of the journey has under `save`",
            ),
            Variable::Data(field) if !known.has_data => problems.report(
                &node.at,
                format!("`{{{{data.{field}}}}}` is used, but there is no `data`"),
                "allowed: `data: {file: customers.csv}` beside `requests`",
            ),
            Variable::Data(_)
            | Variable::User
            | Variable::Iteration
            | Variable::Unique
            | Variable::Uuid
            | Variable::Saved(_) => {}
        }
    }
    Some(template)
}

fn status(node: &Node, problems: &mut Problems) -> Option<u16> {
    problems.whole(node, "expect", 100..=599)
}

/// The body with its node, or `None` inside when there is none.
fn body<'tree>(
    fields: &Fields<'tree>,
    known: &Known,
    problems: &mut Problems,
) -> Option<Option<(Body, &'tree Node)>> {
    match (fields.get("json"), fields.get("body")) {
        (None, None) => Some(None),
        (Some(node), None) => {
            let text = to_json(node)?.to_string();
            let body = template(node, &text, known, problems)?;
            Some(Some((Body::Json(body), node)))
        }
        (None, Some(node)) => {
            let text = problems.text(node, "body")?;
            let body = template(node, &text, known, problems)?;
            Some(Some((Body::Text(body), node)))
        }
        (Some(_), Some(node)) => {
            problems.report(
                &node.at,
                "a request has one body",
                "allowed: either `json` or `body`",
            );
            None
        }
    }
}

/// Header fields by lowercase name: names know no case.
fn headers(
    node: &Node,
    known: &Known,
    problems: &mut Problems,
) -> Option<BTreeMap<String, Template>> {
    let mut headers = BTreeMap::new();
    for (key, node) in problems.entries(node, "headers") {
        let value = problems.text(node, &key.text);
        let Ok(name) = key.text.parse::<HeaderName>() else {
            problems.report(
                &key.at,
                format!("not a header's name: `{}`", key.text),
                "allowed: letters, digits and `-`",
            );
            continue;
        };
        let value = value.and_then(|text| template(node, &text, known, problems));
        let Some(value) = value else { continue };
        if HeaderValue::from_str(&value.filled(|_| "0".to_owned())).is_err() {
            problems.report(
                &node.at,
                "not a header's value",
                "allowed: one line of visible ASCII",
            );
        }
        if headers.insert(name.as_str().to_owned(), value).is_some() {
            problems.report(
                &key.at,
                format!("the header `{name}` is given twice"),
                "allowed: each header once, whatever its case",
            );
        }
    }
    Some(headers)
}
