//! Several workers under one coordinator, here as tasks of this process: together they are one
//! load. Workers as processes are tested with the binary.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_core::event::Event;
use holdfast_core::experiment::{Model, Spacing, Stage};
use holdfast_core::outcome::Source;
use holdfast_core::plan::LoadPlan;
use holdfast_engine::{Events, LoadDriver as _};
use holdfast_load::workers::{
    Clock, Crew, Launcher, MusterError, MusterOptions, Post, Process, Routes, Token, WorkerOptions,
    muster, work,
};
use holdfast_load::{Endpoint, Options, Share, driver};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::load::{Told, open_plan, plan, told_by};
use crate::server::{Act, Server};

const SHORT: Duration = Duration::from_secs(2);

/// Workers as tasks, each with what `enlist` makes of its post.
struct Tasks<F> {
    enlist: F,
    /// A clone goes with each worker: it is closed when the last one has ended.
    alive: UnboundedSender<()>,
}

impl<F: Fn(Post) -> WorkerOptions + Send + Sync> Launcher for Tasks<F> {
    fn launch(&self, post: Post) -> io::Result<Process> {
        let options = (self.enlist)(post);
        let alive = self.alive.clone();
        Ok(Process::new(tokio::spawn(async move {
            let _alive = alive;
            match work(&options).await {
                Ok(()) => "it has done its duty".to_owned(),
                Err(error) => error.to_string(),
            }
        })))
    }
}

fn enlist(post: Post) -> WorkerOptions {
    WorkerOptions {
        coordinator: post.coordinator.to_string(),
        index: post.index,
        token: post.token,
        clock: Clock::of_this_machine(),
    }
}

fn tasks(
    enlist: impl Fn(Post) -> WorkerOptions + Send + Sync + 'static,
) -> (MusterOptions, impl Future<Output = ()>) {
    let (alive, mut living) = unbounded_channel();
    let options = MusterOptions::on_this_machine(Arc::new(Tasks { enlist, alive }));
    let ended = async move {
        let last = tokio::time::timeout(Duration::from_secs(30), living.recv()).await;
        assert_eq!(last.expect("every worker ends"), None);
    };
    (options, ended)
}

fn shared(plan: LoadPlan, workers: u32) -> LoadPlan {
    LoadPlan { workers, ..plan }
}

async fn crew(plan: &LoadPlan, url: &str, options: &MusterOptions) -> Result<Crew, MusterError> {
    muster(plan, url, options, &|_| {}).await
}

/// Lets a crew send and checks what must hold in every run.
async fn send(crew: &Crew, plan: &LoadPlan, stop: CancellationToken) -> Told {
    let told = told_by(crew, plan, stop).await;
    told.check(plan, Share::default());
    told
}

async fn run_until(plan: &LoadPlan, url: &str, stop: CancellationToken) -> Told {
    let (options, ended) = tasks(enlist);
    let crew = crew(plan, url, &options).await.unwrap();
    drop(options);
    let told = send(&crew, plan, stop).await;
    // No worker is left when the load is over.
    ended.await;
    told
}

async fn run(plan: &LoadPlan, url: &str) -> Told {
    run_until(plan, url, CancellationToken::new()).await
}

fn sent(told: &Told) -> Vec<u64> {
    told.finished.workers.iter().map(|one| one.sent).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_user_is_one_workers_and_the_prober_is_the_first_ones() {
    // Every user sends one request and hangs.
    let server = Server::start(|_, _| Act::StallHeaders).await;
    let mut plan = shared(plan(7, Duration::from_secs(1)), 3);
    plan.prober = Some(10.0);
    plan.drain_limit = Duration::ZERO;
    let told = run(&plan, &server.url()).await;
    assert_eq!(told.sum(Source::Users, |tick| tick.sent), 7);
    assert_eq!(told.sum(Source::Prober, |tick| tick.scheduled), 10);
    let probes = told.sum(Source::Prober, |tick| tick.sent);
    assert_eq!(sent(&told), [3 + probes, 2, 2]);
    assert_eq!(told.finished.cut_off[&Source::Users], 7);
    let indices: Vec<u32> = told.finished.workers.iter().map(|one| one.index).collect();
    assert_eq!(indices, [0, 1, 2]);
    assert!(told.finished.workers.iter().all(|one| one.lost.is_none()));
    let shared_processors = std::thread::available_parallelism().unwrap().get() as f64;
    assert_eq!(told.finished.processors, shared_processors);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_arrival_is_one_workers() {
    let server = Server::start(|_, _| Act::CreatedAfter(Duration::from_millis(5))).await;
    let mut plan = shared(open_plan(100.0, Duration::from_secs(1), 60), 3);
    let constant = run(&plan, &server.url()).await;
    assert_eq!(constant.sum(Source::Users, |tick| tick.scheduled), 100);
    if let Model::Arrivals(arrivals) = &mut plan.model {
        arrivals.spacing = Spacing::Poisson;
    }
    let shared = run(&plan, &server.url()).await;
    // All draw the same times from the plan's seed, as one process does.
    let alone = driver(&server.url(), Options::default()).unwrap();
    let alone = told_by(&alone, &plan, CancellationToken::new()).await;
    let scheduled = |told: &Told| told.sum(Source::Users, |tick| tick.scheduled);
    assert_eq!(scheduled(&shared), scheduled(&alone));
    let told = constant.expected() + shared.expected() + alone.expected();
    assert_eq!(told, server.ledger().requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_of_all_equals_the_servers_ledger() {
    let act = |number: u64| match number % 10 {
        3 => Act::Answer(503, "x-refusal-reason: breaker-open", ""),
        5 => Act::Answer(404, "", "not here"),
        7 => Act::CloseBeforeHeaders,
        8 => Act::CreatedAfter(Duration::from_millis(40)),
        _ => Act::Created,
    };
    let server = Server::start(move |number, _| act(number)).await;
    let mut plan = shared(plan(6, SHORT), 3);
    plan.journeys[0].think_time = Duration::from_millis(10);
    let told = run(&plan, &server.url()).await;
    let ledger = server.ledger();
    let acts = |wanted: fn(&Act) -> bool| -> u64 {
        let acts = ledger.acts.iter().filter(|(act, _)| wanted(act));
        acts.map(|(_, count)| count).sum()
    };
    let expected = acts(|act| matches!(act, Act::Created | Act::CreatedAfter(_)));
    assert_eq!(told.expected(), expected);
    assert_eq!(
        told.reasons().values().sum::<u64>(),
        ledger.requests() - expected
    );
    assert_eq!(sent(&told).into_iter().sum::<u64>(), ledger.requests());
    assert!(sent(&told).iter().all(|sent| *sent > 0));
    let pauses = ledger.requests() as f64 * 0.01;
    let told_pauses = told.finished.pause_seconds;
    assert!(told_pauses >= pauses * 0.8, "{told_pauses} of {pauses}");
    assert!(told.finished.mean_users > 3.0 && told.finished.mean_users <= 6.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_failures_than_are_kept_are_counted() {
    let server = Server::start(|_, _| Act::Answer(500, "", "")).await;
    let told = run(&shared(plan(20, SHORT), 3), &server.url()).await;
    let failures = told.reasons().values().sum::<u64>();
    assert_eq!(failures, server.ledger().requests());
    assert!(failures > 1000, "{failures} are too few for this test");
    assert_eq!(told.failed.len(), 1000);
}

/// One clock is two hours ahead; they begin together all the same.
#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_are_measured_and_all_begin_together() {
    const AHEAD: Duration = Duration::from_secs(7200);
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let arrived = Arc::clone(&arrivals);
    let server = Server::start(move |_, _| {
        arrived.lock().unwrap().push(Instant::now());
        Act::StallHeaders
    })
    .await;
    let mut plan = shared(plan(3, Duration::from_secs(1)), 3);
    plan.drain_limit = Duration::ZERO;
    let (options, _) = tasks(|post| {
        let clock = Clock::of_this_machine();
        let clock = match post.index {
            1 => clock.ahead_by(AHEAD),
            _ => clock,
        };
        WorkerOptions {
            clock,
            ..enlist(post)
        }
    });
    let crew = crew(&plan, &server.url(), &options).await.unwrap();
    let (sender, mut events) = unbounded_channel();
    let (begun, told) = tokio::join!(
        async {
            assert_eq!(events.recv().await, Some(Event::LoadStarted));
            let begun = Instant::now();
            while let Some(event) = events.recv().await {
                if let Event::LoadFinished(finished) = event {
                    return (begun, finished);
                }
            }
            panic!("the load finishes");
        },
        crew.run(&plan, Events::new(sender), CancellationToken::new()),
    );
    told.unwrap();
    let (begun, finished) = begun;
    for (worker, ahead) in finished.workers.iter().zip([0.0, AHEAD.as_secs_f64(), 0.0]) {
        let (offset, uncertainty) = worker.clock_offset.unwrap();
        assert!(uncertainty < 1.0, "{uncertainty}");
        // The wall clock and the steady one are not read at the very same moment.
        let error = (offset - ahead).abs();
        assert!(error <= uncertainty + 0.25, "{error} {uncertainty}");
    }
    let arrivals = arrivals.lock().unwrap();
    assert_eq!(arrivals.len(), 3);
    for arrival in &*arrivals {
        let (late, early) = (
            arrival.saturating_duration_since(begun),
            begun.saturating_duration_since(*arrival),
        );
        let bound = Duration::from_millis(500);
        assert!(
            late < bound && early < bound,
            "{late:?} late, {early:?} early"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_load_ends_at_once_and_is_classified() {
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    let server = Server::start(move |number, _| {
        if number == 20 {
            stopper.cancel();
        }
        Act::CreatedAfter(Duration::from_millis(50))
    })
    .await;
    let mut plan = shared(plan(4, Duration::from_secs(3600)), 2);
    plan.prober = Some(20.0);
    let told = run_until(&plan, &server.url(), stop).await;
    assert_eq!(told.expected(), server.ledger().requests());
    assert!(told.finished.elapsed < Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_cancelled_before_it_begins_is_an_empty_account() {
    let stop = CancellationToken::new();
    stop.cancel();
    let server = Server::start(|_, _| Act::Created).await;
    let told = run_until(
        &shared(plan(2, Duration::from_secs(3600)), 2),
        &server.url(),
        stop,
    )
    .await;
    assert_eq!(told.expected(), server.ledger().requests());
    assert!(told.finished.elapsed < Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_dial_the_endpoints_that_the_coordinator_knows() {
    let service = "127.99.64.1:80".parse().unwrap();
    let (seen, mut seeing) = unbounded_channel();
    let start = |name: char| {
        let seen = seen.clone();
        Server::start(move |_, _| {
            seen.send(name).ok();
            Act::CreatedAfter(Duration::from_millis(5))
        })
    };
    let (first, second) = (start('a').await, start('b').await);
    let to = |pods: &[(&str, &Server)]| {
        let endpoint = |(name, server): &(&str, &Server)| Endpoint {
            address: server.address,
            name: Some((*name).into()),
        };
        Routes::from_iter([(service, pods.iter().map(endpoint).collect())])
    };
    let (routes, known) = watch::channel(to(&[]));
    let (options, _) = tasks(enlist);
    let options = MusterOptions {
        routes: Some(known),
        ..options
    };
    let plan = shared(plan(4, Duration::from_secs(3600)), 2);
    let crew = crew(&plan, "http://127.99.64.1", &options).await.unwrap();
    // Changed while they stood ready.
    routes.send_replace(to(&[("pod-a", &first)]));
    let stop = CancellationToken::new();
    let changing = async {
        let mut until = async |name| {
            for _ in 0..20 {
                while seeing.recv().await.unwrap() != name {}
            }
        };
        until('a').await;
        routes.send_replace(to(&[("pod-b", &second)]));
        until('b').await;
        stop.cancel();
    };
    let (told, ()) = tokio::join!(send(&crew, &plan, stop.clone()), changing);
    assert!(told.reasons().is_empty(), "{:?}", told.reasons());
    // Who served each request is known.
    let mut by_pod = BTreeMap::<_, u64>::new();
    for (pod, count) in told.ticks.iter().flat_map(|tick| &tick.endpoints) {
        *by_pod.entry(pod.as_str()).or_default() += count.expected;
    }
    let served = |server: &Server| server.ledger().requests();
    assert_eq!(
        by_pod,
        BTreeMap::from([("pod-a", served(&first)), ("pod-b", served(&second))])
    );
}

/// Workers whose tasks can be ended from outside.
struct Mortal {
    tasks: Mutex<Vec<tokio::task::AbortHandle>>,
}

impl Launcher for Mortal {
    fn launch(&self, post: Post) -> io::Result<Process> {
        let task = tokio::spawn(async move {
            work(&enlist(post)).await.unwrap();
            String::new()
        });
        self.tasks.lock().unwrap().push(task.abort_handle());
        Ok(Process::new(task))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_worker_is_named_and_the_others_go_on() {
    let (seen, mut seeing) = unbounded_channel();
    let server = Server::start(move |number, _| {
        seen.send(number).ok();
        Act::CreatedAfter(Duration::from_millis(20))
    })
    .await;
    let plan = shared(plan(4, Duration::from_secs(3)), 2);
    let mortal = Arc::new(Mortal {
        tasks: Mutex::default(),
    });
    let options = MusterOptions::on_this_machine(Arc::clone(&mortal) as Arc<dyn Launcher>);
    let crew = crew(&plan, &server.url(), &options).await.unwrap();
    let killing = async {
        while seeing.recv().await.unwrap() < 20 {}
        mortal.tasks.lock().unwrap()[1].abort();
    };
    let (told, ()) = tokio::join!(send(&crew, &plan, CancellationToken::new()), killing);
    let lost: Vec<bool> = told
        .finished
        .workers
        .iter()
        .map(|one| one.lost.is_some())
        .collect();
    assert_eq!(lost, [false, true]);
    // The other one has sent to the end.
    assert!(told.finished.elapsed >= Duration::from_secs(3));
    assert!(sent(&told)[0] > sent(&told)[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_cannot_be_sent_is_refused_before_it_begins() {
    let (options, ended) = tasks(enlist);
    let plan = shared(plan(2, SHORT), 2);
    let refused = crew(&plan, "http://no-such-host.invalid:80", &options).await;
    let refused = refused.unwrap_err();
    assert!(refused.is_of_the_load(), "{refused}");
    assert!(
        refused.to_string().contains("no-such-host.invalid"),
        "{refused}"
    );
    drop(options);
    ended.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_refused_says_why() {
    let plan = shared(plan(2, SHORT), 2);
    let with = async |enlist: fn(Post) -> WorkerOptions| {
        let (options, _) = tasks(enlist);
        let refused = crew(&plan, "http://127.0.0.1:9", &options)
            .await
            .unwrap_err();
        assert!(!refused.is_of_the_load());
        refused.to_string()
    };
    let words = with(|post| WorkerOptions {
        token: Token::new("guessed".to_owned()),
        ..enlist(post)
    });
    let words = words.await;
    assert!(words.contains("its token is not this load's"), "{words}");
    let words = with(|post| WorkerOptions {
        index: 0,
        ..enlist(post)
    });
    let words = words.await;
    assert!(words.contains("worker 0 is connected already"), "{words}");
    let words = with(|post| WorkerOptions {
        index: post.index + 2,
        ..enlist(post)
    });
    let words = words.await;
    assert!(words.contains("there are 2 workers (from 0)"), "{words}");
}

/// Launches nobody, and tells where somebody is waited for.
struct Nobody(UnboundedSender<Post>);

impl Launcher for Nobody {
    fn launch(&self, post: Post) -> io::Result<Process> {
        self.0.send(post).ok();
        Ok(Process::new(tokio::spawn(std::future::pending())))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_never_connects_is_an_error_that_says_what_to_do() {
    let (posts, _posted) = unbounded_channel();
    let options = MusterOptions {
        connect_within: Duration::ZERO,
        ..MusterOptions::on_this_machine(Arc::new(Nobody(posts)))
    };
    let plan = shared(plan(2, SHORT), 2);
    let refused = crew(&plan, "http://127.0.0.1:9", &options)
        .await
        .unwrap_err();
    assert!(matches!(refused, MusterError::NotConnected { .. }));
    let words = refused.to_string();
    for part in [
        "0, 1 of 2",
        "did not connect to 127.0.0.1:",
        "fewer workers",
    ] {
        assert!(words.contains(part), "{words}");
    }
}

/// Strangers and workers of another version are told why, and do not keep the right ones out.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_sent_away_and_the_right_ones_let_in() {
    let (posts, mut posted) = unbounded_channel();
    let options = MusterOptions::on_this_machine(Arc::new(Nobody(posts)));
    let plan = shared(plan(1, SHORT), 1);
    let server = Server::start(|_, _| Act::Created).await;
    let url = server.url();
    let coming = async {
        let post = posted.recv().await.unwrap();
        let hello = |version: u32| {
            let token = serde_json::to_string(&post.token).unwrap();
            format!(r#"{{"hello":{{"version":{version},"token":{token},"index":0}}}}"#)
        };
        let said = |text: String| async move {
            let mut stream = TcpStream::connect(post.coordinator).await.unwrap();
            stream
                .write_all(format!("{text}\n").as_bytes())
                .await
                .unwrap();
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer).await.unwrap();
            answer
        };
        drop(TcpStream::connect(post.coordinator).await.unwrap());
        let answer = said("GET / HTTP/1.1".to_owned()).await;
        assert!(answer.contains("it did not say who it is"), "{answer}");
        let answer = said(hello(99)).await;
        assert!(answer.contains("version 99"), "{answer}");
        work(&enlist(post.clone())).await.unwrap();
    };
    let running = async {
        let crew = crew(&plan, &url, &options).await.unwrap();
        send(&crew, &plan, CancellationToken::new()).await
    };
    let (told, ()) = tokio::join!(running, coming);
    assert_eq!(told.expected(), server.ledger().requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crew_sends_one_load_only() {
    let (options, _) = tasks(enlist);
    let server = Server::start(|_, _| Act::Created).await;
    let ready = shared(plan(2, Duration::from_millis(200)), 2);
    let crew = crew(&ready, &server.url(), &options).await.unwrap();
    let refused = async |plan: &LoadPlan| {
        let (sender, _events) = unbounded_channel();
        let run = crew.run(plan, Events::new(sender), CancellationToken::new());
        run.await.unwrap_err().to_string()
    };
    let other = shared(plan(3, SHORT), 2);
    assert!(refused(&other).await.contains("another load"));
    send(&crew, &ready, CancellationToken::new()).await;
    assert!(refused(&ready).await.contains("have sent theirs"));
}

/// Users on a ramp come and go one by one whoever has them.
#[tokio::test(flavor = "multi_thread")]
async fn a_ramp_is_one_ramp() {
    let server = Server::start(|_, _| Act::StallHeaders).await;
    let seconds = 4;
    let mut plan = shared(plan(8, Duration::from_secs(seconds)), 3);
    plan.model = Model::Users(vec![Stage {
        users: 8,
        ramp: Duration::from_secs(seconds),
        duration: Duration::from_secs(seconds),
    }]);
    plan.drain_limit = Duration::ZERO;
    let told = run(&plan, &server.url()).await;
    let in_flight: Vec<u64> = told
        .of(Source::Users)
        .filter(|tick| !tick.draining)
        .map(|tick| tick.in_flight)
        .collect();
    // A busy machine may be late with users or ticks.
    for (second, users) in in_flight.iter().enumerate() {
        let planned = 2 * (second as u64 + 1);
        assert!(
            (planned.saturating_sub(2)..=planned + 2).contains(users),
            "{in_flight:?}"
        );
    }
    assert_eq!(told.finished.cut_off[&Source::Users], 8);
}
