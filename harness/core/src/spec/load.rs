//! `spec.load`: who sends what, where, how often.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;

use super::problems::Problems;
use super::tree::Node;
use crate::experiment::{Load, Model, Target};

mod answer;
mod journey;
mod request;
mod stages;
mod transport;

pub(super) use request::{PATH_FORM, is_path};

pub use stages::MOST_IN_FLIGHT;

/// siege's own.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Enough to see an outage of a second as 25 failures, too little to be a load.
const DEFAULT_PROBER_RATE: f64 = 25.0;

/// More processes than this on one machine or in one Job: a typo, not a load.
pub const MOST_WORKERS: u32 = 1000;

/// What a section needs to know of the file's surroundings.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The folder that relative paths start from.
    pub(super) directory: &'a Path,
    /// Whether a resolved path is there.
    pub(super) exists: &'a dyn Fn(&Path) -> bool,
}

impl Surroundings<'_> {
    /// A file that is there.
    fn file(&self, node: &Node, what: &str, problems: &mut Problems) -> Option<PathBuf> {
        let path = self.directory.join(problems.text(node, what)?);
        if (self.exists)(&path) {
            return Some(path);
        }
        problems.report(
            &node.at,
            format!("no such file: {}", path.display()),
            "allowed: a file that exists, relative to the experiment file",
        );
        None
    }
}

pub(super) fn read(
    node: &Node,
    surroundings: Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Load> {
    let known = [
        "target",
        "stages",
        "arrivals",
        "maxInFlight",
        "thinkTime",
        "timeout",
        "prober",
        "connections",
        "http",
        "redirects",
        "tls",
        "workers",
        "data",
        "requests",
        "journeys",
    ];
    let fields = problems.fields(node, "load", &known, &[])?;
    let target = fields
        .required("target", problems)
        .and_then(|node| target(node, problems));
    let timeout = match fields.get("timeout") {
        Some(node) => problems.positive_duration(node, "timeout"),
        None => Some(DEFAULT_TIMEOUT),
    };
    let model = stages::read(&fields, timeout.unwrap_or(DEFAULT_TIMEOUT), problems);
    let rate = match fields.get("prober") {
        Some(node) => prober(node, problems),
        // Arrivals are an open model themselves.
        None if matches!(model, Some(Model::Arrivals(_))) => Some(0.0),
        None => Some(DEFAULT_PROBER_RATE),
    };
    let transport = transport::read(&fields, surroundings, problems);
    let workers = match fields.get("workers") {
        Some(node) => problems.whole(node, "workers", 1..=MOST_WORKERS),
        None => Some(1),
    };
    let journeys = journey::read(&fields, surroundings, problems);
    Some(Load {
        target: target?,
        model: model?,
        journeys: journeys?,
        timeout: timeout?,
        prober: rate.map(|rate| (rate > 0.0).then_some(rate))?,
        transport: transport?,
        workers: workers?,
    })
}

/// The longest pause between requests that the load itself makes: of a user who thinks, of stages
/// in which nobody sends, of arrivals that are rare. An arrival waits for nobody who thinks.
pub(super) fn longest_pause(load: &Load) -> Duration {
    let silence = stages::longest_pause(&load.model);
    if matches!(load.model, Model::Arrivals(_)) {
        return silence;
    }
    let think_times = load.journeys.iter().flat_map(|journey| {
        let requests = journey.requests.iter();
        requests.map(|request| request.think_time.unwrap_or(journey.think_time))
    });
    think_times.max().unwrap_or_default().max(silence)
}

/// A list of at least one, all of whose items are read before any mistake ends it.
fn many<T>(
    node: &Node,
    what: &str,
    mut read: impl FnMut(&Node, &mut Problems) -> Option<T>,
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
    problems.report(
        &value.at,
        format!("`url` is not the address of a server: `{text}`"),
        "allowed: http:// or https:// with a host and perhaps a port; paths belong to the requests",
    );
    None
}

fn is_base_url(text: &str) -> bool {
    server(text).is_some_and(|uri| uri.path() == "/" && uri.query().is_none())
}

/// The parts of an absolute `http://` or `https://` URL.
pub(super) fn server(text: &str) -> Option<Uri> {
    let uri = text.parse::<Uri>().ok()?;
    let plain_authority = uri.authority().is_some_and(|authority| {
        let rest = authority.as_str().strip_prefix(authority.host());
        let port = rest.and_then(|rest| rest.strip_prefix(':'));
        // Neither user information nor a port that is none.
        rest == Some("") || port.is_some_and(|port| port.parse::<u16>().is_ok_and(|n| n > 0))
    });
    let known_scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    (known_scheme && plain_authority && !text.contains('#')).then_some(uri)
}

fn prober(node: &Node, problems: &mut Problems) -> Option<f64> {
    let fields = problems.fields(node, "prober", &["rate"], &[])?;
    let rate = fields.required("rate", problems)?;
    problems.rate(rate, "rate")
}
