//! A valid experiment. Values of these types come from [`crate::spec`] alone, which refuses
//! everything that would make no sense here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration::seconds;
use crate::fault::Fault;
use crate::template::Template;

mod invariant;
mod safety;

pub use invariant::{Address, Invariant};
pub use safety::{ClusterLock, Safety, SafetyNet, StopCondition};

/// What to run, against what, and what must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// `metadata.name`: a DNS label; also the folder under `reports/`.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// Whose values the parameters have.
    pub profile: Profile,
    /// The parameters in effect, `--set` overrides included, as text.
    pub params: BTreeMap<String, String>,
    /// What to apply before the run; `None` tests what already runs.
    pub system: Option<System>,
    /// The load and its target.
    pub load: Load,
    /// Observation before the first fault and after the last.
    pub windows: Windows,
    /// The faults, in order of their start.
    pub method: Vec<Step>,
    /// What must hold.
    pub objectives: Vec<Objective>,
    /// What must be true of the system's data in the end.
    pub invariants: Vec<Invariant>,
    /// Limits on the damage.
    pub safety: Safety,
    /// A published figure to print beside ours.
    pub reference: Option<Reference>,
}

/// How large a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Profile {
    /// As `spec.params` has it.
    #[default]
    Full,
    /// The same mechanisms, smaller and shorter, as `spec.quick` has it.
    Quick,
}

impl Profile {
    /// Whether it is the usual one, which needs no mention.
    #[must_use]
    pub fn is_full(&self) -> bool {
        *self == Self::Full
    }
}

/// The system under test as Kubernetes manifests.
#[derive(Clone, Debug, PartialEq)]
pub struct System {
    /// The namespace everything is applied to.
    pub namespace: String,
    /// Files or folders of manifests, relative paths already resolved against the experiment; none:
    /// what runs in the namespace already is put to the test.
    pub manifests: Vec<PathBuf>,
    /// Changes to single objects of the manifests before they are applied.
    pub patches: Vec<Patch>,
}

/// A strategic merge patch for one object of the manifests (kustomize's words).
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// The object's kind, e.g. `Deployment`.
    pub kind: String,
    /// The object's name.
    pub name: String,
    /// The patch.
    pub patch: serde_json::Value,
}

/// The load.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Where requests go.
    pub target: Target,
    /// How many requests are on their way, and when.
    pub model: Model,
    /// What is sent; never empty.
    pub journeys: Vec<Journey>,
    /// Deadline of a request that has none of its own, connect to last byte.
    pub timeout: Duration,
    /// Requests per second of the open-model prober beside the load; `None` switches it off.
    pub prober: Option<f64>,
    /// How requests travel.
    pub transport: Transport,
    /// Processes that send, each its share; at least 1.
    pub workers: u32,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// A Service of the system's namespace, at its first port.
    Service(String),
    /// An absolute `http://` or `https://` URL.
    Url(String),
}

/// How many requests are on their way, and when. (Schroeder, Wierman, Harchol-Balter: Open Versus
/// Closed: A Cautionary Tale, NSDI 2006.)
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Model {
    /// Closed: each user waits for its answer before it sends again, so a slow service gets
    /// fewer requests. One stage after another; never empty.
    Users(Vec<Stage>),
    /// Open: journeys begin at their rate, whatever the answers.
    Arrivals(Arrivals),
}

/// One stage of closed-loop load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// Users at the end of the ramp; zero lets all go. At least one stage has some.
    pub users: u32,
    /// Time over which the number changes linearly from the previous stage's; zero: at once.
    #[serde(with = "seconds")]
    pub ramp: Duration,
    /// Length of the stage, ramp included.
    #[serde(with = "seconds")]
    pub duration: Duration,
}

/// The beginnings of journeys in an open model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrivals {
    /// One stage after another; never empty.
    pub stages: Vec<RateStage>,
    /// How they are spread.
    pub spacing: Spacing,
    /// Most journeys under way at once; what is due beyond is dropped, and counted so.
    pub max_in_flight: u32,
}

/// One stage of open-model load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateStage {
    /// Beginnings per second at the end of the ramp; zero is a pause.
    pub rate: f64,
    /// Time over which the rate changes linearly from the previous stage's (zero before the
    /// first); zero: at once.
    #[serde(with = "seconds")]
    pub ramp: Duration,
    /// Length of the stage, ramp included.
    #[serde(with = "seconds")]
    pub duration: Duration,
}

/// How beginnings are spread over time at a given rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Spacing {
    /// At equal distances.
    #[default]
    Constant,
    /// As independent customers come: exponentially distributed distances, drawn from the plan's
    /// seed.
    Poisson,
}

impl Arrivals {
    /// What may be in flight unless somebody says so: all that begins within a deadline at the
    /// highest rate; at least 100, room for arrivals that come together; at most 10,000, sockets
    /// that a usual machine opens without being asked.
    #[must_use]
    pub fn usual_max_in_flight(stages: &[RateStage], timeout: Duration) -> u32 {
        let peak = stages.iter().map(|stage| stage.rate).fold(0.0, f64::max);
        let begun = (peak * timeout.as_secs_f64()).ceil() as u32;
        begun.clamp(100, 10_000)
    }
}

impl Model {
    /// The whole length of the load.
    #[must_use]
    pub fn duration(&self) -> Duration {
        match self {
            Self::Users(stages) => stages.iter().map(|stage| stage.duration).sum(),
            Self::Arrivals(arrivals) => arrivals.stages.iter().map(|stage| stage.duration).sum(),
        }
    }

    /// The most journeys that can ever be under way at once.
    #[must_use]
    pub fn most_in_flight(&self) -> u32 {
        match self {
            Self::Users(stages) => stages.iter().map(|stage| stage.users).max().unwrap_or(0),
            Self::Arrivals(arrivals) => arrivals.max_in_flight,
        }
    }
}

/// How requests travel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transport {
    /// Whether a sender keeps its connection between requests.
    pub connections: Connections,
    /// The version of HTTP.
    pub http: HttpVersion,
    /// Whether redirects are followed.
    pub redirects: Redirects,
    /// Which certificates are trusted.
    pub tls: Trust,
}

/// Whether a sender keeps its connection between requests. The prober never does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Connections {
    /// A new connection for each request, announced with `connection: close`. What siege does
    /// unless configured otherwise, and so the default: figures stay comparable, and a request
    /// always goes where new connections go at that moment.
    #[default]
    PerRequest,
    /// One connection per sender, used until either side ends it. A request that was never
    /// written because the server had closed the idle connection goes out on a new one.
    KeepAlive,
}

/// The version of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: by ALPN over TLS, by prior knowledge otherwise.
    Http2,
}

/// Whether redirects are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Redirects {
    /// A redirect is an answer like any other.
    #[default]
    Answer,
    /// 301, 302, 303, 307 and 308 with a location are followed, at most ten in a row; each hop is
    /// counted by siege's rules, and the last one is the answer.
    Follow,
}

/// Which certificates are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Trust {
    /// Those of the system's certificate authorities.
    #[default]
    System,
    /// Those of the authorities in this PEM file.
    Authorities(PathBuf),
    /// Any. What siege does.
    Anything,
}

/// What a sender does from beginning to end, then begins again: requests in turn, values carried
/// from one to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Journey {
    /// Unique within the load.
    pub name: String,
    /// How often it is chosen, relative to the others; at least 1.
    pub weight: u32,
    /// Pause after each answer, unless the request has its own.
    #[serde(with = "seconds")]
    pub think_time: Duration,
    /// How a pause is made of the think time.
    #[serde(default)]
    pub pauses: Pauses,
    /// Records whose fields its templates can use, one record for each beginning.
    pub data: Option<Data>,
    /// In turn; never empty.
    pub requests: Vec<Request>,
}

/// How a pause is made of the think time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Pauses {
    /// It is the think time.
    #[default]
    Exact,
    /// Anything between nothing and the think time, each as likely, drawn from the plan's seed.
    UpTo,
}

/// A file of records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    /// CSV with a header line, or JSON Lines with one object a line (by its ending, `.csv` or
    /// `.jsonl`); relative paths already resolved against the experiment.
    pub file: PathBuf,
    /// Which record a beginning gets.
    pub order: DataOrder,
}

/// Which record of a file a journey's beginning gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DataOrder {
    /// The next one; after the last the first again.
    #[default]
    InTurn,
    /// Any, drawn from the plan's seed.
    Random,
}

/// One request of a journey.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// `GET`, `POST` …
    pub method: String,
    /// Absolute path with query; values put into it are percent-encoded.
    pub path: Template,
    /// Extra headers; `content-type` is set for JSON bodies.
    pub headers: BTreeMap<String, Template>,
    /// The body, when there is one.
    pub body: Option<Body>,
    /// Statuses that count as success; never empty.
    pub expect: Vec<u16>,
    /// What else must hold of an expected answer.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// What is kept of the answer for later requests of the journey, by name.
    #[serde(default)]
    pub save: BTreeMap<String, Part>,
    /// Its own deadline.
    #[serde(default, with = "seconds::option")]
    pub timeout: Option<Duration>,
    /// Its own pause after the answer.
    #[serde(default, with = "seconds::option")]
    pub think_time: Option<Duration>,
}

impl Request {
    /// Whether nothing in it depends on an earlier answer of the journey: it can be sent alone.
    #[must_use]
    pub fn is_independent(&self) -> bool {
        self.templates()
            .all(|template| template.variables().all(|variable| !variable.is_saved()))
    }

    /// Every text of the request that can have variables.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        std::iter::once(&self.path)
            .chain(self.headers.values())
            .chain(self.body.as_ref().map(Body::template))
            .chain(self.checks.iter().filter_map(Check::template))
    }
}

/// A request's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Body {
    /// Values are put in as they are.
    Text(Template),
    /// JSON; values are put in as the inside of JSON strings.
    Json(Template),
}

impl Body {
    /// Its text.
    #[must_use]
    pub fn template(&self) -> &Template {
        match self {
            Self::Text(template) | Self::Json(template) => template,
        }
    }
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// A value of the JSON body, by JSON pointer (RFC 6901): text as it is, anything else as JSON.
    Json(String),
    /// A header's value, by its lowercase name.
    Header(String),
    /// The first group of a regular expression's first match in the body; the whole match when it
    /// has no group.
    Regex(String),
}

/// Something that must hold of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Of which part.
    pub part: Part,
    /// What of it.
    pub condition: Condition,
}

impl Check {
    fn template(&self) -> Option<&Template> {
        match &self.condition {
            Condition::Equals(text) => Some(text),
            Condition::Exists | Condition::Matches(_) => None,
        }
    }
}

/// What must hold of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Condition {
    /// It is there.
    Exists,
    /// It is this text, to the letter; values are put in as they are.
    Equals(Template),
    /// A regular expression matches somewhere in it.
    Matches(String),
}

/// Observation windows around the faults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Windows {
    /// Load before the method's `t = 0`.
    #[serde(with = "seconds")]
    pub baseline: Duration,
    /// Load after the last fault is due to be reverted.
    #[serde(with = "seconds")]
    pub recovery: Duration,
}

/// One step of the method: a fault, its start and its length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Unique within the experiment.
    pub name: String,
    /// Start, since the end of the baseline.
    #[serde(with = "seconds")]
    pub at: Duration,
    /// How long the fault is held before it is reverted.
    #[serde(with = "seconds")]
    pub duration: Duration,
    /// What is done.
    pub fault: Fault,
}

/// A measurable promise about one or more windows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Objective {
    /// What is measured.
    pub metric: Metric,
    /// The windows taken together; empty: the whole run.
    pub during: Vec<Phase>,
    /// Lower bound, in the metric's unit.
    pub min: Option<f64>,
    /// Upper bound, in the metric's unit.
    pub max: Option<f64>,
    /// Fewer requests than this in the windows make the verdict inconclusive; at least 1.
    pub min_requests: u64,
}

/// What an objective measures. Availabilities in percent, times in seconds, rates per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Metric {
    /// Strict availability of the users' requests: expected / all that ended or were cut off.
    Availability,
    /// siege's own availability of the users' requests (whole run only).
    SiegeAvailability,
    /// Strict availability as the open-model prober saw it.
    ProberAvailability,
    /// Median service time of expected answers.
    P50,
    /// 95th percentile of the same.
    P95,
    /// 99th percentile of the same.
    P99,
    /// Expected answers per second.
    Goodput,
    /// From the end of the last fault to steady service again (see `summary`).
    RecoveryTime,
}

impl Metric {
    /// Every metric, in the order of the reference.
    pub const ALL: [Self; 8] = [
        Self::Availability,
        Self::SiegeAvailability,
        Self::ProberAvailability,
        Self::P50,
        Self::P95,
        Self::P99,
        Self::Goodput,
        Self::RecoveryTime,
    ];

    /// The word of the experiment file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::SiegeAvailability => "siegeAvailability",
            Self::ProberAvailability => "proberAvailability",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::Goodput => "goodput",
            Self::RecoveryTime => "recoveryTime",
        }
    }

    /// What its values and bounds are measured in.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Self::Availability | Self::SiegeAvailability | Self::ProberAvailability => {
                Unit::Percent
            }
            Self::P50 | Self::P95 | Self::P99 | Self::RecoveryTime => Unit::Seconds,
            Self::Goodput => Unit::PerSecond,
        }
    }
}

/// The unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 0 to 100.
    Percent,
    /// Seconds.
    Seconds,
    /// Per second.
    PerSecond,
}

/// The windows of a run, cut at observed times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Before the first fault; the whole run when there is none.
    Baseline,
    /// From the beginning of the first injection to the last revert.
    Fault,
    /// From the last revert until service is steady again.
    Recovery,
    /// From then on.
    After,
}

impl Phase {
    /// Every phase, in the order of a run.
    pub const ALL: [Self; 4] = [Self::Baseline, Self::Fault, Self::Recovery, Self::After];

    /// The word of the experiment file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Fault => "fault",
            Self::Recovery => "recovery",
            Self::After => "after",
        }
    }
}

/// A published figure printed beside the measured one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// Where it comes from, e.g. `seed`.
    pub source: String,
    /// siege availability, percent.
    pub availability: f64,
    /// Transactions per second.
    pub transaction_rate: Option<f64>,
    /// siege response time, seconds.
    pub response_time: Option<f64>,
    /// siege concurrency.
    pub concurrency: Option<f64>,
    /// Longest transaction, seconds.
    pub longest: Option<f64>,
    /// Shortest transaction, seconds.
    pub shortest: Option<f64>,
}
