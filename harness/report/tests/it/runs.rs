//! Builds records as a run does: by applying events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::event::{
    Environment, Event, JourneyEnd, LoadFinished, Observation, RunStarted, Stamped, Tick, Used,
};
use holdfast_core::experiment::{
    Address, Arrivals, Body, Invariant, Journey, Metric, Model, Objective, Pauses, Phase, Profile,
    RateStage, Reference, Request, Spacing, Stage, Target, Transport, Windows,
};
use holdfast_core::fault::{Fault, Scale};
use holdfast_core::histogram::Histogram;
use holdfast_core::invariant::{Checked, Finding};
use holdfast_core::outcome::{FailedRequest, Reason, Sample, Source};
use holdfast_core::plan::{LoadPlan, Plan, PlannedFault};
use holdfast_core::record::Record;
use holdfast_core::summary::{Summary, summarize};
use holdfast_core::template::Template;
use holdfast_core::verdict::{Verdict, judge};
use holdfast_report::Report;

/// The load begins so long after the run.
const LOAD_STARTED: f64 = 2.0;
/// Failed requests kept one by one, as the load driver bounds them.
const KEPT_FAILURES: usize = 150;

/// A finished run with everything that is computed from it.
pub(crate) struct Run {
    pub(crate) record: Record,
    pub(crate) summary: Summary,
    pub(crate) verdict: Verdict,
}

impl Run {
    pub(crate) fn report(&self) -> Report<'_> {
        Report {
            record: &self.record,
            summary: &self.summary,
            verdict: &self.verdict,
        }
    }
}

/// A run in the making. Times in seconds since the start of the load.
pub(crate) struct Building {
    record: Record,
    ticks: BTreeMap<(u32, Source, bool), Tick>,
    load: LoadFinished,
    busy: f64,
    chance: u64,
    /// The pods that the requests go to in turn; empty: not known.
    pods: Vec<&'static str>,
    /// How late the requests of an open model are sent; `None` in a closed one.
    late: Option<Duration>,
}

/// What an invariant's service answers in the end.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    Settled,
    Violated,
    Due,
    Refused,
}

/// One request of a run.
#[derive(Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) source: Source,
    /// When it ended.
    pub(crate) ended: f64,
    /// How long it took.
    pub(crate) took: f64,
    pub(crate) status: Option<u16>,
    pub(crate) failure: Option<Reason>,
}

impl Building {
    pub(crate) fn new(title: &str, users: u32, seconds: u32) -> Self {
        let plan = Plan {
            experiment: "pay-outage".to_owned(),
            title: title.to_owned(),
            load: load_plan(users, seconds),
            windows: Windows {
                baseline: Duration::from_secs(20),
                recovery: Duration::from_secs(20),
            },
            faults: Vec::new(),
            objectives: Vec::new(),
            invariants: Vec::new(),
            cluster: None,
            stop_conditions: Vec::new(),
            allow: Vec::new(),
            reference: None,
        };
        let run = RunStarted {
            run_id: "20250301T120000Z-7f3a".to_owned(),
            started_at: "2025-03-01T12:00:00Z".to_owned(),
            source_file: "experiments/pay outage.yaml".to_owned(),
            command: Vec::new(),
            profile: Profile::Full,
            params: BTreeMap::from([("users".to_owned(), users.to_string())]),
            environment: environment(),
            plan,
        };
        Self {
            record: Record::new(run),
            ticks: BTreeMap::new(),
            load: LoadFinished {
                processors: 2.0,
                descriptors: Some(Used {
                    most: 151,
                    of: 1024,
                }),
                ports: Some(Used {
                    most: 230,
                    of: 28_232,
                }),
                ..LoadFinished::default()
            },
            busy: 0.0,
            chance: 7,
            pods: Vec::new(),
            late: None,
        }
    }

    pub(crate) fn apply(&mut self, at: f64, event: Event) {
        let at = Duration::from_secs_f64(LOAD_STARTED + at);
        self.record.apply(&Stamped { at, event });
    }

    pub(crate) fn plan(&mut self) -> &mut Plan {
        &mut self.record.run.plan
    }

    /// Arrivals instead of users: journeys of two requests to two pods, from two workers.
    pub(crate) fn open(&mut self, rate: f64, seconds: u32) {
        let load = &mut self.plan().load;
        load.model = Model::Arrivals(Arrivals {
            stages: vec![RateStage {
                rate,
                ramp: Duration::ZERO,
                duration: Duration::from_secs(u64::from(seconds)),
            }],
            spacing: Spacing::Constant,
            max_in_flight: 50,
        });
        load.prober = None;
        load.workers = 2;
        load.journeys[0].name = "buy".to_owned();
        load.journeys[0].requests = vec![order(), order()];
        self.pods = vec!["app-6d9f7-k2x8p", "app-6d9f7-zq4mn"];
        self.late = Some(Duration::from_micros(90));
    }

    /// A journey that ended; `hops` redirects were followed on it.
    pub(crate) fn journey(&mut self, ended: f64, end: JourneyEnd, hops: u64) {
        let tick = self.tick(Source::Users, ended, false);
        tick.count_journey("buy", end);
        tick.hops += hops;
    }

    /// What the load says of itself beside what follows from its requests.
    pub(crate) fn account(&mut self, change: impl FnOnce(&mut LoadFinished)) {
        change(&mut self.load);
    }

    pub(crate) fn objective(
        &mut self,
        metric: Metric,
        during: &[Phase],
        (min, max): (Option<f64>, Option<f64>),
    ) {
        self.plan().objectives.push(Objective {
            metric,
            during: during.to_vec(),
            min,
            max,
            min_requests: 1,
        });
    }

    /// The seed's figures beside ours.
    pub(crate) fn reference(&mut self) {
        self.plan().reference = Some(Reference {
            source: "seed".to_owned(),
            availability: 63.55,
            transaction_rate: Some(17.15),
            response_time: Some(5.60),
            concurrency: Some(96.02),
            longest: Some(9.20),
            shortest: Some(0.0),
        });
    }

    /// A fault that is planned, injected and, when it is, recovered as observed.
    pub(crate) fn fault(&mut self, name: &str, injected: f64, recovered: Option<f64>) {
        self.plan_fault(name);
        let fault = name.to_owned();
        self.apply(
            injected - 0.2,
            Event::UndoRecorded {
                fault: fault.clone(),
                undo: "scale deployment pay to 2".to_owned(),
            },
        );
        self.apply(
            injected,
            Event::FaultInjected {
                fault: fault.clone(),
                evidence: "deployment pay has 0 ready of 0 replicas".to_owned(),
            },
        );
        if let Some(at) = recovered {
            self.apply(
                at,
                Event::FaultRecovered {
                    fault,
                    evidence: "deployment pay has 2 ready of 2 replicas".to_owned(),
                },
            );
        }
    }

    /// The quick profile of the experiment.
    pub(crate) fn quick(&mut self) {
        self.record.run.profile = Profile::Quick;
    }

    /// An invariant, and what was answered so many seconds after the load.
    pub(crate) fn invariant(&mut self, name: &str, after: f64, answer: Answer) {
        self.plan().invariants.push(Invariant {
            name: name.to_owned(),
            get: Address::Service {
                name: "auditor".to_owned(),
                path: "/invariants".to_owned(),
            },
            within: Duration::from_secs(20),
        });
        let finding = Finding {
            invariant: "paid | once".to_owned(),
            statement: "each order is paid <exactly> once".to_owned(),
            about: (1..=20).map(|id| format!("order-{id}")).collect(),
            count: 42,
        };
        let mut checked = Checked {
            name: name.to_owned(),
            settled: false,
            after: Duration::from_secs_f64(after),
            violations: Vec::new(),
            due: Vec::new(),
            error: None,
        };
        match answer {
            Answer::Settled => checked.settled = true,
            Answer::Violated => checked.violations.push(finding),
            Answer::Due => checked.due.push(finding),
            Answer::Refused => checked.error = Some("connection refused".to_owned()),
        }
        self.apply(60.0 + after, Event::InvariantsChecked(Box::new(checked)));
    }

    pub(crate) fn plan_fault(&mut self, name: &str) {
        self.plan().faults.push(PlannedFault {
            name: name.to_owned(),
            start: Duration::from_secs(20),
            end: Duration::from_secs(40),
            fault: Fault::Scale(Scale {
                deployment: "pay".to_owned(),
                replicas: 0,
            }),
        });
    }

    pub(crate) fn breaker(&mut self, at: f64, pod: &str, state: &str) {
        self.apply(
            at,
            Event::Observed(Observation::Breaker {
                pod: pod.to_owned(),
                breaker: "pay".to_owned(),
                state: state.to_owned(),
            }),
        );
    }

    pub(crate) fn endpoints(&mut self, at: f64, ready: u32, total: u32) {
        self.apply(
            at,
            Event::Observed(Observation::Endpoints {
                service: "pay".to_owned(),
                ready,
                total,
            }),
        );
    }

    /// A number between 0 and 1, the same in every run of the tests.
    pub(crate) fn chance(&mut self) -> f64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance % 100_000) as f64 / 100_000.0
    }

    /// A request that ended while the load ran, or in the drain after `load_end`.
    pub(crate) fn request(&mut self, sent: Sent, load_end: f64) {
        let draining = sent.ended >= load_end;
        let begin = (sent.ended - sent.took).max(0.0);
        if sent.source == Source::Users {
            self.busy += sent.ended.min(load_end) - begin.min(load_end);
        }
        let took = Duration::from_secs_f64(sent.took);
        let late = match sent.source {
            Source::Users => self.late,
            Source::Prober => Some(Duration::ZERO),
        };
        let endpoint = self.pods.first().map(|pod| Arc::from(*pod));
        if !self.pods.is_empty() {
            self.pods.rotate_left(1);
        }
        if let Some(late) = self.late {
            self.load.send_lag.record(late);
        }
        let tick = self.tick(sent.source, sent.ended, draining);
        tick.count(&Sample {
            service_time: took,
            response_time: late.map(|late| took + late),
            status: sent.status,
            body_bytes: if sent.status.is_some() { 207 } else { 0 },
            failure: sent.failure,
            hops: Vec::new(),
            endpoint,
        });
        let begun = self.tick(sent.source, begin, false);
        begun.scheduled += 1;
        begun.sent += 1;
        if let Some(reason) = sent.failure {
            self.failed(&sent, reason, draining);
        }
    }

    fn failed(&mut self, sent: &Sent, reason: Reason, draining: bool) {
        if self.record.failures.len() >= KEPT_FAILURES {
            self.load.failures_not_kept += 1;
            return;
        }
        let failed = FailedRequest {
            source: sent.source,
            ended: Duration::from_secs_f64(sent.ended),
            service_time: Duration::from_secs_f64(sent.took),
            reason,
            status: sent.status,
            request: "POST /orders".to_owned(),
            endpoint: None,
            detail: format!("<b>{}</b> & \"more\"", reason.label()),
            draining,
        };
        self.apply(sent.ended, Event::RequestFailed(failed));
    }

    /// The generator gave up requests before they were sent.
    pub(crate) fn dropped(&mut self, source: Source, second: u32, count: u64) {
        let tick = self.tick(source, f64::from(second), false);
        tick.scheduled += count;
        tick.dropped += count;
    }

    /// The users' requests that never ended.
    pub(crate) fn cut_off(&mut self, begun: f64, load_end: f64, count: u64) {
        let tick = self.tick(Source::Users, begun, false);
        tick.scheduled += count;
        tick.sent += count;
        self.busy += (load_end - begun) * count as f64;
        *self.load.cut_off.entry(Source::Users).or_default() += count;
    }

    fn tick(&mut self, source: Source, at: f64, draining: bool) -> &mut Tick {
        let second = at as u32;
        self.ticks
            .entry((second, source, draining))
            .or_insert_with(|| Tick::new(source, second, draining))
    }

    /// Ends a load that ran for `seconds`.
    pub(crate) fn finish(mut self, seconds: f64) -> Run {
        self.apply(0.0, Event::LoadStarted);
        for tick in std::mem::take(&mut self.ticks).into_values() {
            self.apply(f64::from(tick.second + 1), Event::Tick(Box::new(tick)));
        }
        self.apply(seconds, Event::LoadStopped);
        let mut lag = Histogram::default();
        lag.record(Duration::from_micros(800));
        let load = LoadFinished {
            elapsed: Duration::from_secs_f64(seconds),
            lag,
            cpu_seconds: 0.12 * seconds,
            mean_users: self.busy / seconds,
            ..self.load.clone()
        };
        self.apply(seconds + 1.0, Event::LoadFinished(Box::new(load)));
        self.judged(Vec::new())
    }

    /// Ends a run whose load, if any, has already been told.
    pub(crate) fn judged(mut self, residue: Vec<String>) -> Run {
        self.apply(90.0, Event::RunFinished { residue });
        let summary = summarize(&self.record);
        let verdict = judge(&self.record, &summary);
        Run {
            record: self.record,
            summary,
            verdict,
        }
    }
}

fn load_plan(users: u32, seconds: u32) -> LoadPlan {
    let duration = Duration::from_secs(u64::from(seconds));
    LoadPlan {
        target: Target::Service("app".to_owned()),
        model: Model::Users(vec![Stage {
            users,
            ramp: Duration::ZERO,
            duration,
        }]),
        duration,
        requests_per_user: None,
        journeys: vec![Journey {
            name: "requests".to_owned(),
            weight: 1,
            think_time: Duration::ZERO,
            pauses: Pauses::Exact,
            data: None,
            requests: vec![order()],
        }],
        timeout: Duration::from_secs(30),
        drain_limit: Duration::from_secs(15),
        prober: Some(25.0),
        transport: Transport::default(),
        workers: 1,
        seed: 1,
    }
}

fn order() -> Request {
    Request {
        method: "POST".to_owned(),
        path: Template::fixed("/orders"),
        headers: BTreeMap::new(),
        body: Some(Body::Json(Template::fixed("{\"item\":\"chicken\"}"))),
        expect: vec![201],
        checks: Vec::new(),
        save: BTreeMap::new(),
        timeout: None,
        think_time: None,
    }
}

fn environment() -> Environment {
    Environment {
        cluster: "local".to_owned(),
        cluster_version: "v1.33.0+holdfast".to_owned(),
        emulations: vec!["each pod is a process group on its own loopback address".to_owned()],
        namespace: "food-delivery".to_owned(),
        target_url: "http://127.20.0.1:8081".to_owned(),
        platform: "linux x86_64".to_owned(),
        processors: 2,
        holdfast: "0.1.0".to_owned(),
    }
}
