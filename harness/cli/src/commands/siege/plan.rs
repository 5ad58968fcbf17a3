//! What is asked for on the command line, as the plan of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_core::experiment::{
    Arrivals, Body, Connections, Experiment, HttpVersion, Journey, Load, Model, Pauses, Profile,
    RateStage, Redirects, Request, Safety, Spacing, Stage, Target, Transport, Trust, Windows,
};
use holdfast_core::plan::{self, Plan};
use holdfast_core::spec::threshold;
use holdfast_core::template::Template;

use super::Arguments;
use super::values::Repetitions;
use super::visit::Visit;
use crate::failure::Failure;

/// The length of a load that ends by its repetitions or by Ctrl-C: longer than any run.
const UNLIMITED: Duration = Duration::from_secs(30 * 24 * 3600);

/// The plan of a siege, and what an experiment file would have to say for it.
pub(super) fn plan(arguments: &Arguments, visits: &[Visit], seed: u64) -> Result<Plan, Failure> {
    let mut experiment = Experiment {
        name: "siege".to_owned(),
        title: title(visits),
        profile: Profile::Full,
        params: BTreeMap::new(),
        system: None,
        load: Load {
            target: Target::Url(visits[0].origin.clone()),
            model: model(arguments, visits.len()),
            journeys: journeys(arguments, visits),
            timeout: arguments.timeout,
            prober: arguments.prober,
            transport: transport(arguments),
            workers: arguments.workers,
        },
        windows: Windows {
            baseline: Duration::ZERO,
            recovery: Duration::ZERO,
        },
        method: Vec::new(),
        objectives: Vec::new(),
        invariants: Vec::new(),
        safety: Safety::default(),
        reference: None,
    };
    for asked in &arguments.thresholds {
        threshold::ask(&mut experiment, asked.clone())
            .map_err(|error| Failure::input(format!("--threshold: {error}")))?;
    }
    let mut plan = plan::plan(&experiment, seed);
    plan.load.requests_per_user = requests_per_user(arguments, visits.len());
    Ok(plan)
}

fn title(visits: &[Visit]) -> String {
    let first = &visits[0];
    let url = format!("{} {}{}", first.method, first.origin, first.path);
    match visits.len() - 1 {
        0 => url,
        more => format!("{url} and {more} more"),
    }
}

/// The rate is of requests: a journey of several URLs begins as much more rarely.
fn model(arguments: &Arguments, urls: usize) -> Model {
    let duration = arguments.time.unwrap_or(UNLIMITED);
    let Some(rate) = arguments.rate else {
        return Model::Users(vec![Stage {
            users: arguments.users(),
            ramp: Duration::ZERO,
            duration,
        }]);
    };
    let requests_of_a_journey = if arguments.internet { 1 } else { urls };
    let stages = vec![RateStage {
        rate: rate / requests_of_a_journey as f64,
        ramp: Duration::ZERO,
        duration,
    }];
    let usual = Arrivals::usual_max_in_flight(&stages, arguments.timeout);
    Model::Arrivals(Arrivals {
        stages,
        spacing: if arguments.poisson {
            Spacing::Poisson
        } else {
            Spacing::Constant
        },
        max_in_flight: arguments.concurrent.unwrap_or(usual),
    })
}

/// siege lets the time decide when both are given.
fn requests_per_user(arguments: &Arguments, urls: usize) -> Option<u64> {
    if arguments.time.is_some() {
        return None;
    }
    arguments.reps.map(|reps| match reps {
        Repetitions::Times(times) => times,
        Repetitions::Once => urls as u64,
    })
}

/// All URLs in turn, or each by itself where any of them may come next.
fn journeys(arguments: &Arguments, visits: &[Visit]) -> Vec<Journey> {
    let several_origins = visits.iter().any(|visit| visit.origin != visits[0].origin);
    let base = (!several_origins).then_some(visits[0].origin.as_str());
    let requests = visits.iter().map(|visit| request(arguments, visit, base));
    if !arguments.internet {
        return vec![journey(arguments, "urls".to_owned(), requests.collect())];
    }
    let each = (1..).zip(requests);
    each.map(|(number, request)| journey(arguments, format!("url-{number}"), vec![request]))
        .collect()
}

fn journey(arguments: &Arguments, name: String, requests: Vec<Request>) -> Journey {
    let delay = arguments.delay.filter(|_| !arguments.benchmark);
    Journey {
        name,
        weight: 1,
        think_time: delay.unwrap_or_default(),
        pauses: Pauses::UpTo,
        data: None,
        requests,
    }
}

/// The request goes to `base`, the only origin; where there are several it has its own in its path.
fn request(arguments: &Arguments, visit: &Visit, base: Option<&str>) -> Request {
    let own = if base.is_some() { "" } else { &visit.origin };
    let mut headers = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        headers.insert(name.to_owned(), Template::fixed(value));
    };
    set("accept-encoding", "gzip, deflate");
    if visit.body.is_some() {
        let form = "application/x-www-form-urlencoded";
        set(
            "content-type",
            arguments.content_type.as_deref().unwrap_or(form),
        );
    }
    if let Some(agent) = &arguments.user_agent {
        set("user-agent", agent);
    }
    for (name, value) in &arguments.headers {
        set(name, value);
    }
    Request {
        method: visit.method.to_owned(),
        path: Template::fixed(&format!("{own}{}", visit.path)),
        headers,
        body: visit
            .body
            .as_deref()
            .map(|body| Body::Text(Template::fixed(body))),
        // What siege takes for success, but for the statuses with which a server asks who is there.
        expect: (200..400).collect(),
        checks: Vec::new(),
        save: BTreeMap::new(),
        timeout: None,
        think_time: None,
    }
}

fn transport(arguments: &Arguments) -> Transport {
    Transport {
        connections: if arguments.keep_alive {
            Connections::KeepAlive
        } else {
            Connections::PerRequest
        },
        http: if arguments.http2 {
            HttpVersion::Http2
        } else {
            HttpVersion::Http1
        },
        redirects: if arguments.no_follow {
            Redirects::Answer
        } else {
            Redirects::Follow
        },
        tls: Trust::Anything,
    }
}
