//! Runs as the engine would tell them, for tests that fold, summarize and judge.

use std::path::Path;
use std::time::Duration;

use holdfast_core::event::{
    Environment, Event, LoadFinished, Observation, RunStarted, Stamped, StopCause, Tick,
};
use holdfast_core::experiment::{Phase, Profile};
use holdfast_core::invariant::Checked;
use holdfast_core::outcome::{FailedRequest, Reason, Sample, Source};
use holdfast_core::plan::{Plan, plan};
use holdfast_core::record::Record;
use holdfast_core::spec::{self, SourceFile};

/// The load starts this long after the run.
pub(crate) const SETUP: f64 = 2.5;

pub(crate) fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// The plan of an experiment with ten users for a minute; `extra` are more lines of its spec.
pub(crate) fn plan_with(extra: &str) -> Plan {
    let text = format!(
        "apiVersion: holdfast.dev/v1alpha1
kind: Experiment
metadata: {{name: test}}
spec:
  system: {{namespace: food-delivery, manifests: [services]}}
  load:
    target: {{service: app}}
    stages: [{{users: 10, duration: 60s}}]
    prober: {{rate: 10/s}}
    requests: [{{post: /orders}}]
{extra}"
    );
    let source = SourceFile {
        name: "test.yaml",
        text: &text,
        directory: Path::new("."),
    };
    let experiment = spec::parse(&source, &[], &|_| true);
    plan(&experiment.unwrap_or_else(|errors| panic!("{errors}")), 1)
}

pub(crate) const OUTAGE: &str = "
  method:
    - {name: pay-gone, at: 20s, duration: 20s, fault: {scale: {deployment: pay, replicas: 0}}}
";

pub(crate) fn ok(millis: u64) -> Sample {
    sample(millis, Some(201), None)
}

pub(crate) fn failed(millis: u64, status: Option<u16>, reason: Reason) -> Sample {
    sample(millis, status, Some(reason))
}

fn sample(millis: u64, status: Option<u16>, failure: Option<Reason>) -> Sample {
    Sample {
        service_time: Duration::from_millis(millis),
        response_time: None,
        status,
        body_bytes: 100,
        failure,
        hops: Vec::new(),
        endpoint: None,
    }
}

/// A run that is told second by second.
pub(crate) struct Story {
    pub(crate) events: Vec<Stamped>,
    pub(crate) load: LoadFinished,
}

impl Story {
    pub(crate) fn new(plan: Plan) -> Self {
        let started = RunStarted {
            run_id: "20261122-200000-abc".to_owned(),
            started_at: "2026-11-22T20:00:00Z".to_owned(),
            source_file: "test.yaml".to_owned(),
            command: Vec::new(),
            profile: Profile::Full,
            params: [("users".to_owned(), "10".to_owned())].into(),
            environment: Environment::default(),
            plan,
        };
        let mut story = Self {
            events: Vec::new(),
            load: LoadFinished {
                elapsed: secs(60.0),
                processors: 2.0,
                cpu_seconds: 6.0,
                mean_users: 1.0,
                ..LoadFinished::default()
            },
        };
        story.tell(0.0, Event::RunStarted(Box::new(started)));
        story.tell(SETUP, Event::LoadStarted);
        story
    }

    /// What the run announces.
    pub(crate) fn run_mut(&mut self) -> &mut RunStarted {
        match &mut self.events[0].event {
            Event::RunStarted(run) => run,
            other => panic!("a run begins with {other:?}"),
        }
    }

    /// An event at a time since the start of the run.
    pub(crate) fn tell(&mut self, at: f64, event: Event) {
        let at = secs(at);
        self.events.push(Stamped { at, event });
    }

    /// One second of one source: ten requests that all end like `sample`.
    pub(crate) fn second(&mut self, source: Source, second: u32, sample: &Sample) {
        self.tick(source, second, false, &[(10, sample)]);
    }

    pub(crate) fn tick(
        &mut self,
        source: Source,
        second: u32,
        draining: bool,
        samples: &[(u64, &Sample)],
    ) {
        let mut tick = Tick::new(source, second, draining);
        for (times, sample) in samples {
            for _ in 0..*times {
                tick.count(sample);
            }
            if !draining {
                tick.sent += times;
                tick.scheduled += times;
            }
        }
        self.tell(SETUP + f64::from(second) + 1.0, Event::Tick(Box::new(tick)));
    }

    /// Sixty seconds of users and prober; `sample` says how the requests of a second end.
    pub(crate) fn minute(&mut self, sample: impl Fn(u32) -> Sample) {
        for second in 0..60 {
            let sample = sample(second);
            self.second(Source::Users, second, &sample);
            self.second(Source::Prober, second, &sample);
        }
    }

    /// A fault between two times since the start of the load.
    pub(crate) fn fault(&mut self, injected: f64, recovered: Option<f64>) {
        self.slow_fault(injected, injected, recovered);
    }

    /// A fault whose injection takes from `begun` to `injected`.
    pub(crate) fn slow_fault(&mut self, begun: f64, injected: f64, recovered: Option<f64>) {
        let fault = || "pay-gone".to_owned();
        let undo = "scale pay to 1".to_owned();
        self.tell(
            SETUP + begun,
            Event::UndoRecorded {
                fault: fault(),
                undo,
            },
        );
        self.tell(
            SETUP + injected,
            Event::FaultInjected {
                fault: fault(),
                evidence: "no endpoint".to_owned(),
            },
        );
        if let Some(recovered) = recovered {
            self.tell(
                SETUP + recovered,
                Event::FaultRecovered {
                    fault: fault(),
                    evidence: "one endpoint".to_owned(),
                },
            );
        }
    }

    /// The answer to an invariant, so many seconds after the load.
    pub(crate) fn answered(&mut self, checked: Checked) {
        let at = SETUP + self.load.elapsed.as_secs_f64() + checked.after.as_secs_f64();
        let event = Event::InvariantsChecked(Box::new(checked));
        let last = self.events.len().saturating_sub(1);
        let stamped = Stamped {
            at: secs(at),
            event,
        };
        self.events.insert(last, stamped);
    }

    /// The end of the load and of the run.
    pub(crate) fn end(&mut self) {
        let end = SETUP + self.load.elapsed.as_secs_f64();
        self.tell(end, Event::LoadStopped);
        self.tell(end, Event::LoadFinished(Box::new(self.load.clone())));
        let residue = Vec::new();
        self.tell(end + 1.0, Event::RunFinished { residue });
    }

    pub(crate) fn record(&self) -> Record {
        let Event::RunStarted(run) = &self.events[0].event else {
            panic!("a run begins with RunStarted");
        };
        let mut record = Record::new((**run).clone());
        for event in &self.events {
            record.apply(event);
        }
        record
    }
}

/// A run with one of each event that has content.
pub(crate) fn eventful() -> Story {
    let mut story = Story::new(plan_with(OUTAGE));
    story.tell(SETUP, Event::PhaseStarted(Phase::Baseline));
    let endpoints = Observation::Endpoints {
        service: "pay".to_owned(),
        ready: 0,
        total: 1,
    };
    story.tell(SETUP + 20.5, Event::Observed(endpoints));
    let refused = failed(3, Some(503), Reason::BreakerOpen);
    story.minute(|second| {
        if (21..40).contains(&second) {
            refused.clone()
        } else {
            ok(100)
        }
    });
    story.fault(20.5, Some(40.25));
    story.tell(
        SETUP + 21.0,
        Event::RequestFailed(FailedRequest {
            source: Source::Prober,
            ended: secs(21.0),
            service_time: secs(0.003),
            reason: Reason::BreakerOpen,
            status: Some(503),
            request: "POST /orders".to_owned(),
            endpoint: None,
            detail: "circuit open".to_owned(),
            draining: false,
        }),
    );
    story.tell(SETUP + 59.0, Event::Stopped(StopCause::Interrupted));
    story.load.lag.record(secs(0.001));
    story.load.saturated_seconds = vec![3];
    story.load.mean_users = (41.0 * 0.1 + 19.0 * 0.003) / 6.0;
    story.end();
    story
}
