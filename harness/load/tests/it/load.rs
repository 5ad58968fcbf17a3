//! Plans for tests, and what a load told about itself.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_core::event::{Event, LoadFinished, Tick};
use holdfast_core::experiment::{
    Arrivals, Body, Journey, Model, Pauses, RateStage, Request, Spacing, Stage, Target, Transport,
};
use holdfast_core::outcome::{FailedRequest, Reason, Source};
use holdfast_core::plan::LoadPlan;
use holdfast_core::template::Template;
use holdfast_engine::{Events, LoadDriver};
use holdfast_load::{Options, Share, driver};
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;

/// `users` users for some time without a prober, sending orders.
pub(crate) fn plan(users: u32, duration: Duration) -> LoadPlan {
    LoadPlan {
        target: Target::Url(String::new()),
        model: Model::Users(vec![Stage {
            users,
            ramp: Duration::ZERO,
            duration,
        }]),
        duration,
        requests_per_user: None,
        journeys: vec![Journey {
            name: "orders".to_owned(),
            weight: 1,
            think_time: Duration::ZERO,
            pauses: Pauses::Exact,
            data: None,
            requests: vec![order()],
        }],
        timeout: Duration::from_secs(10),
        drain_limit: Duration::from_secs(5),
        prober: None,
        transport: Transport::default(),
        workers: 1,
        seed: 1,
    }
}

/// `rate` arrivals a second for some time, sending orders.
pub(crate) fn open_plan(rate: f64, duration: Duration, max_in_flight: u32) -> LoadPlan {
    LoadPlan {
        model: Model::Arrivals(Arrivals {
            stages: vec![RateStage {
                rate,
                ramp: Duration::ZERO,
                duration,
            }],
            spacing: Spacing::Constant,
            max_in_flight,
        }),
        ..plan(1, duration)
    }
}

pub(crate) fn order() -> Request {
    Request {
        method: "POST".to_owned(),
        path: Template::fixed("/orders"),
        headers: BTreeMap::from([(
            "content-type".to_owned(),
            Template::fixed("application/json"),
        )]),
        body: Some(Body::Json(Template::fixed("{\"item\":\"chicken\"}"))),
        expect: vec![201],
        checks: Vec::new(),
        save: BTreeMap::new(),
        timeout: None,
        think_time: None,
    }
}

/// Everything a load said.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) events: Vec<Event>,
    pub(crate) ticks: Vec<Tick>,
    pub(crate) failed: Vec<FailedRequest>,
    pub(crate) finished: LoadFinished,
}

/// Runs a load to its end and checks what must hold in every run.
pub(crate) async fn run(url: &str, plan: &LoadPlan, options: Options) -> Told {
    run_until(url, plan, options, CancellationToken::new()).await
}

pub(crate) async fn run_until(
    url: &str,
    plan: &LoadPlan,
    options: Options,
    stop: CancellationToken,
) -> Told {
    let share = options.share;
    let load = driver(url, options).unwrap();
    let told = told_by(&load, plan, stop).await;
    told.check(plan, share);
    told
}

/// Runs a load until its server has seen enough.
pub(crate) async fn until_enough(url: &str, plan: &LoadPlan, enough: &CancellationToken) -> Told {
    run_until(url, plan, Options::default(), enough.clone()).await
}

/// Runs a load of any driver to its end.
pub(crate) async fn told_by(
    load: &dyn LoadDriver,
    plan: &LoadPlan,
    stop: CancellationToken,
) -> Told {
    let (sender, mut receiver) = unbounded_channel();
    load.run(plan, Events::new(sender), stop).await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = receiver.recv().await {
        events.push(event);
    }
    Told::new(events)
}

impl Told {
    fn new(events: Vec<Event>) -> Self {
        let ticks = events.iter().filter_map(|event| match event {
            Event::Tick(tick) => Some((**tick).clone()),
            _ => None,
        });
        let failed = events.iter().filter_map(|event| match event {
            Event::RequestFailed(failed) => Some(failed.clone()),
            _ => None,
        });
        let Some(Event::LoadFinished(finished)) = events.last() else {
            panic!("the last event is {:?}", events.last());
        };
        Self {
            ticks: ticks.collect(),
            failed: failed.collect(),
            finished: (**finished).clone(),
            events,
        }
    }

    pub(crate) fn of(&self, source: Source) -> impl Iterator<Item = &Tick> {
        self.ticks.iter().filter(move |tick| tick.source == source)
    }

    /// A sum over one source's ticks.
    pub(crate) fn sum(&self, source: Source, figure: impl Fn(&Tick) -> u64) -> u64 {
        self.of(source).map(figure).sum()
    }

    pub(crate) fn expected(&self) -> u64 {
        self.ticks.iter().map(|tick| tick.expected).sum()
    }

    pub(crate) fn reasons(&self) -> BTreeMap<Reason, u64> {
        let mut reasons = BTreeMap::new();
        for (reason, count) in self.ticks.iter().flat_map(|tick| &tick.unexpected) {
            *reasons.entry(*reason).or_default() += count;
        }
        reasons
    }

    /// Checks what must hold in every run.
    pub(crate) fn check(&self, plan: &LoadPlan, share: Share) {
        let probes = plan.prober.is_some() && share.index == 0;
        self.check_order();
        for source in [Source::Users, Source::Prober] {
            if source == Source::Prober && !probes {
                assert_eq!(self.of(source).count(), 0);
                continue;
            }
            let open = source == Source::Prober || matches!(plan.model, Model::Arrivals(_));
            self.check_identity(source, open);
            self.check_seconds(source);
        }
        assert_eq!(self.finished.workers.len(), plan.workers as usize);
        let sent: u64 = self.ticks.iter().map(|tick| tick.sent).sum();
        let by_workers = self.finished.workers.iter().map(|worker| worker.sent);
        assert_eq!(by_workers.sum::<u64>(), sent);
        assert_eq!(
            self.failed.len() as u64 + self.finished.failures_not_kept,
            self.reasons().values().sum::<u64>(),
        );
        // What a load says does not grow with its requests.
        assert!(self.failed.len() <= 1000);
        assert_eq!(self.events.len(), self.ticks.len() + self.failed.len() + 3);
        for failed in &self.failed {
            assert!(!failed.detail.is_empty() && failed.detail.chars().count() <= 200);
            assert!(!failed.detail.contains('\n'));
        }
    }

    /// Started first, stopped between the last tick of the load and the first of the drain.
    fn check_order(&self) {
        assert_eq!(self.events[0], Event::LoadStarted);
        let stopped = self
            .events
            .iter()
            .position(|event| *event == Event::LoadStopped);
        let stopped = stopped.expect("the load stopped");
        for (at, event) in self.events.iter().enumerate() {
            if let Event::Tick(tick) = event {
                assert_eq!(tick.draining, at > stopped, "{tick:?}");
            }
        }
    }

    /// scheduled = sent + dropped; sent = expected + unexpected + cut off.
    fn check_identity(&self, source: Source, open: bool) {
        let sent = self.sum(source, |tick| tick.sent);
        let scheduled = self.sum(source, |tick| tick.scheduled);
        assert_eq!(scheduled, sent + self.sum(source, |tick| tick.dropped));
        let ended = self.sum(source, |tick| tick.expected + tick.unexpected_total());
        assert_eq!(sent, ended + self.finished.cut_off[&source]);
        let mut in_flight = 0;
        for tick in self.of(source) {
            in_flight = in_flight + tick.sent - tick.expected - tick.unexpected_total();
            assert_eq!(tick.in_flight, in_flight);
            assert!(!tick.draining || tick.sent + tick.dropped == 0);
            assert_eq!(tick.latency_expected.count(), tick.expected);
            assert_eq!(tick.latency_unexpected.count(), tick.unexpected_total());
            let ended = tick.expected + tick.unexpected_total();
            assert_eq!(tick.response.count(), if open { ended } else { 0 });
        }
        assert_eq!(in_flight, self.finished.cut_off[&source]);
    }

    /// Every second once, in order; the one in which the load stopped may come once more.
    fn check_seconds(&self, source: Source) {
        let (drained, loaded): (Vec<_>, Vec<_>) = self.of(source).partition(|tick| tick.draining);
        for (second, tick) in loaded.iter().enumerate() {
            assert_eq!(tick.second as usize, second);
        }
        let last = loaded.last().expect("a load has at least one tick").second;
        for (number, tick) in drained.iter().enumerate() {
            let first = drained[0].second;
            assert!(first == last || first == last + 1);
            assert_eq!(tick.second as usize, first as usize + number);
        }
    }
}
