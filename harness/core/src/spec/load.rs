//! `spec.load`: who sends what, where, how often.

use std::collections::BTreeMap;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri};

use super::problems::{Fields, Problems};
use super::to_json;
use super::tree::Node;
use crate::experiment::{Load, Request, Stage, Target};

/// siege's own.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Enough to see an outage of a second as 25 failures, too little to be a load.
const DEFAULT_PROBER_RATE: f64 = 25.0;

/// The usual words for "done": OK, Created, Accepted, No Content.
const DEFAULT_EXPECT: [u16; 4] = [200, 201, 202, 204];

const METHODS: [&str; 6] = ["get", "post", "put", "patch", "delete", "head"];

/// More connections than one address has ports: a typo, not a load.
const MOST_USERS: u32 = 100_000;

pub(super) fn read(node: &Node, problems: &mut Problems) -> Option<Load> {
    let known = [
        "target",
        "stages",
        "thinkTime",
        "timeout",
        "prober",
        "requests",
    ];
    let fields = problems.fields(node, "load", &known, &[])?;
    let target = fields
        .required("target", problems)
        .and_then(|node| target(node, problems));
    let stages = fields
        .required("stages", problems)
        .and_then(|node| many(node, "stages", stage, problems));
    let think_time = match fields.get("thinkTime") {
        Some(node) => problems.duration(node, "thinkTime"),
        None => Some(Duration::ZERO),
    };
    let timeout = match fields.get("timeout") {
        Some(node) => problems.positive_duration(node, "timeout"),
        None => Some(DEFAULT_TIMEOUT),
    };
    let rate = match fields.get("prober") {
        Some(node) => prober(node, problems),
        None => Some(DEFAULT_PROBER_RATE),
    };
    let requests = fields
        .required("requests", problems)
        .and_then(|node| many(node, "requests", request, problems));
    Some(Load {
        target: target?,
        stages: stages?,
        think_time: think_time?,
        timeout: timeout?,
        prober: rate.map(|rate| (rate > 0.0).then_some(rate))?,
        requests: requests?,
    })
}

/// A list of at least one, all of whose items are read before any mistake ends it.
fn many<T>(
    node: &Node,
    what: &str,
    read: fn(&Node, &mut Problems) -> Option<T>,
    problems: &mut Problems,
) -> Option<Vec<T>> {
    let items = problems.nonempty_list(node, what)?;
    let all: Vec<Option<T>> = items.iter().map(|item| read(item, problems)).collect();
    all.into_iter().collect()
}

fn target(node: &Node, problems: &mut Problems) -> Option<Target> {
    let names = ["service", "url"];
    let fields = problems.fields(node, "target", &names, &[])?;
    let (name, value) = fields.exactly_one(&names, problems)?;
    if name == "service" {
        return problems.label(value, "service").map(Target::Service);
    }
    let text = problems.text(value, "url")?;
    if is_base_url(&text) {
        return Some(Target::Url(text.trim_end_matches('/').to_owned()));
    }
    let message = if text.starts_with("https://") {
        format!("`url` with https is not supported by this version: `{text}`")
    } else {
        format!("`url` is not the address of a server: `{text}`")
    };
    problems.report(
        &value.at,
        message,
        "allowed: http://host or http://host:port; paths belong to the requests",
    );
    None
}

fn is_base_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else {
        return false;
    };
    let plain_authority = uri.authority().is_some_and(|authority| {
        let rest = authority.as_str().strip_prefix(authority.host());
        let port = rest.and_then(|rest| rest.strip_prefix(':'));
        // Neither user information nor a port that is none.
        rest == Some("") || port.is_some_and(|port| port.parse::<u16>().is_ok_and(|n| n > 0))
    });
    uri.scheme_str() == Some("http")
        && plain_authority
        && uri.path() == "/"
        && uri.query().is_none()
        && !text.contains('#')
}

fn stage(node: &Node, problems: &mut Problems) -> Option<Stage> {
    let fields = problems.fields(node, "stage", &["users", "ramp", "duration"], &["rate"])?;
    if fields.get("rate").is_some() {
        return None;
    }
    let users = fields
        .required("users", problems)
        .and_then(|node| problems.whole(node, "users", 1..=MOST_USERS));
    let duration = fields
        .required("duration", problems)
        .and_then(|node| problems.positive_duration(node, "duration"));
    let ramp = match fields.get("ramp") {
        Some(node) => {
            let ramp = problems.duration(node, "ramp");
            if let (Some(ramp), Some(duration)) = (ramp, duration)
                && ramp > duration
            {
                problems.report(
                    &node.at,
                    "`ramp` is longer than its stage",
                    format!("allowed: up to the stage's duration, {duration:?}"),
                );
            }
            ramp
        }
        None => Some(Duration::ZERO),
    };
    Some(Stage {
        users: users?,
        ramp: ramp?,
        duration: duration?,
    })
}

fn prober(node: &Node, problems: &mut Problems) -> Option<f64> {
    let fields = problems.fields(node, "prober", &["rate"], &[])?;
    let rate = fields.required("rate", problems)?;
    problems.rate(rate, "rate")
}

fn request(node: &Node, problems: &mut Problems) -> Option<Request> {
    let known = [
        "get", "post", "put", "patch", "delete", "head", "json", "body", "headers", "expect",
    ];
    let fields = problems.fields(node, "request", &known, &[])?;
    let line = fields
        .exactly_one(&METHODS, problems)
        .and_then(|(method, node)| Some((method, path(node, problems)?)));
    let mut headers = match fields.get("headers") {
        Some(node) => headers(node, problems),
        None => Some(BTreeMap::new()),
    };
    let body = body(&fields, problems);
    let expect = match fields.get("expect") {
        Some(node) => many(node, "expect", status, problems),
        None => Some(DEFAULT_EXPECT.to_vec()),
    };
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
            .or_insert_with(|| "application/json".to_owned());
    }
    Some(Request {
        method: method.to_uppercase(),
        path,
        headers: headers?,
        body: body.map(|(text, _)| text),
        expect: expect?,
    })
}

fn path(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = problems.text(node, "path")?;
    let valid = text.starts_with('/')
        && text.is_ascii()
        && !text.contains('#')
        && text.parse::<PathAndQuery>().is_ok();
    if !valid {
        problems.report(
            &node.at,
            format!("not a path: `{text}`"),
            "allowed: an absolute path with query, percent-encoded, such as /orders?page=2",
        );
        return None;
    }
    Some(text)
}

fn status(node: &Node, problems: &mut Problems) -> Option<u16> {
    problems.whole(node, "expect", 100..=599)
}

/// The body with its node, or `None` inside when there is none.
fn body<'tree>(
    fields: &Fields<'tree>,
    problems: &mut Problems,
) -> Option<Option<(String, &'tree Node)>> {
    match (fields.get("json"), fields.get("body")) {
        (None, None) => Some(None),
        (Some(node), None) => Some(Some((to_json(node)?.to_string(), node))),
        (None, Some(node)) => Some(Some((problems.text(node, "body")?, node))),
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
fn headers(node: &Node, problems: &mut Problems) -> Option<BTreeMap<String, String>> {
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
        let Some(value) = value else { continue };
        if HeaderValue::from_str(&value).is_err() {
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
