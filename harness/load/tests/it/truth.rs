//! What the figures say is what happened: delays, a freeze, a rate and a stolen processor that the
//! tests bring about and know themselves. A busy machine only adds to a time and never takes from
//! it: where a time is compared, the best of a few attempts counts.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdfast_core::event::{Environment, RunStarted, Stamped};
use holdfast_core::experiment::{Connections, Windows};
use holdfast_core::histogram::Histogram;
use holdfast_core::outcome::Source;
use holdfast_core::plan::{LoadPlan, Plan};
use holdfast_core::record::Record;
use holdfast_core::summary::{Summary, summarize};
use holdfast_load::Options;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::task::block_in_place;

use crate::child::{hear_any, is_child, say, start_child};
use crate::load::{Told, open_plan, plan, run};

const ATTEMPTS: usize = 5;
/// Where a time is compared.
const PERCENTILES: [f64; 2] = [50.0, 99.0];
/// What the generator may add to a time beside 1 % of it, where the machine itself adds less than a
/// third: an optimised one wakes and reads within it, the others are slower.
const ADDED: Duration = if cfg!(debug_assertions) {
    Duration::from_micros(400)
} else {
    Duration::from_micros(100)
};

/// A server on a thread of its own that keeps the time it took for each answer.
struct Delayer {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<Duration>>>,
}

impl Delayer {
    fn start(delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&taken);
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            answer_after(delay, stream, &kept);
        });
        Self { address, taken }
    }

    /// The times that it took.
    fn truth(&self) -> Histogram {
        let mut truth = Histogram::default();
        for taken in self.taken.lock().unwrap().iter() {
            truth.record(*taken);
        }
        truth
    }
}

/// Until the client leaves.
fn answer_after(delay: Duration, mut stream: TcpStream, taken: &Mutex<Vec<Duration>>) {
    stream.set_nodelay(true).unwrap();
    let mut request = [0; 4096];
    while stream.read(&mut request).is_ok_and(|read| read > 0) {
        let arrived = Instant::now();
        std::thread::sleep(delay);
        // Before the answer: whoever waits for a processor after it has answered delays nobody.
        taken.lock().unwrap().push(arrived.elapsed());
        let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).unwrap();
    }
}

fn service_times(told: &Told) -> Histogram {
    let mut times = Histogram::default();
    for tick in told.of(Source::Users) {
        times.merge(&tick.latency_expected);
    }
    times
}

/// How much the measured percentile is above the true one, beyond 1 %; nothing is below.
fn excess(measured: &Histogram, truth: &Histogram, percent: f64) -> Duration {
    let (measured, truth) = (
        measured.percentile(percent).unwrap(),
        truth.percentile(percent).unwrap(),
    );
    let rounding = truth / 1000;
    assert!(measured + rounding >= truth, "{measured:?} for {truth:?}");
    measured.saturating_sub(truth + truth / 100)
}

/// Whether the generator got its processor when it wanted it: what it adds to a time says nothing
/// about it otherwise.
fn kept_its_own_time(told: &Told) -> bool {
    let lag = told.finished.lag.max();
    lag.is_none_or(|lag| lag <= Duration::from_millis(2))
}

/// The same of a client that does nothing else, on a thread of its own: what the machine itself adds.
fn excess_of_a_bare_client(delay: Duration, count: u32) -> [Duration; 2] {
    let server = Delayer::start(delay);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut measured = Histogram::default();
    let mut answer = [0; 4096];
    for _ in 0..count {
        let asked = Instant::now();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap();
        assert!(stream.read(&mut answer).unwrap() > 0);
        measured.record(asked.elapsed());
    }
    PERCENTILES.map(|percent| excess(&measured, &server.truth(), percent))
}

#[tokio::test(flavor = "multi_thread")]
async fn delays_are_measured_as_they_were() {
    for (delay, count, attempts) in [(1, 300, 25), (10, 100, 10), (100, 10, 10), (1000, 2, 5)] {
        let delay = Duration::from_millis(delay);
        let mut judged = None;
        for _ in 0..attempts {
            let server = Delayer::start(delay);
            let mut plan = plan(1, delay * count);
            plan.transport.connections = Connections::KeepAlive;
            let url = format!("http://{}", server.address);
            let told = run(&url, &plan, Options::default()).await;
            let (measured, truth) = (service_times(&told), server.truth());
            assert_eq!(measured.count(), truth.count());
            let added = PERCENTILES.map(|percent| excess(&measured, &truth, percent));
            let machine = block_in_place(|| excess_of_a_bare_client(delay, count));
            let limits = machine.map(|machine| ADDED.max(3 * machine));
            let is_right = added[0] <= limits[0] && added[1] <= limits[1];
            if is_right || kept_its_own_time(&told) {
                judged = Some((is_right, added, limits));
            }
            if is_right {
                break;
            }
        }
        println!("{delay:?}: {judged:?} (right, beyond 1 %, at most)");
        match judged {
            Some((is_right, added, limits)) => assert!(is_right, "{added:?} above {limits:?}"),
            None => println!("not judged: this machine is too busy to time {delay:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_asked_rate_is_kept_and_kept_in_time() {
    let server = ServerProcess::start().await;
    let mut best = (f64::MAX, Duration::MAX);
    for _ in 0..ATTEMPTS {
        let mut plan = open_plan(500.0, Duration::from_secs(2), 200);
        plan.transport.connections = Connections::KeepAlive;
        let told = run(&server.url, &plan, Options::default()).await;
        assert_eq!(told.sum(Source::Users, |tick| tick.scheduled), 1000);
        let sent = told.sum(Source::Users, |tick| tick.sent) as f64;
        let rate = sent / told.finished.elapsed.as_secs_f64();
        let off = (rate / 500.0 - 1.0).abs();
        let lag = told.finished.send_lag.percentile(50.0).unwrap();
        println!("{rate:.2}/s, half of the sends within {lag:?}");
        best = (off.min(best.0), lag.min(best.1));
        if best.0 <= 0.005 && best.1 <= Duration::from_micros(200) {
            break;
        }
    }
    assert!(best.0 <= 0.005, "{best:?}");
    // Not even half a tick of the runtime's own timers.
    assert!(best.1 <= Duration::from_micros(500), "{best:?}");
}

/// A server in a process of its own, that can be frozen.
struct ServerProcess {
    child: Child,
    url: String,
}

impl ServerProcess {
    async fn start() -> Self {
        let (child, mut said) = start_child("truth::serves_in_a_process_of_its_own");
        let address = hear_any(&mut said).await;
        Self {
            child,
            url: format!("http://{address}"),
        }
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("it runs until it is dropped");
        kill(Pid::from_raw(i32::try_from(id).unwrap()), signal).unwrap();
    }

    /// Stops it for some time; returns how long that was.
    async fn freeze(&self, time: Duration) -> Duration {
        self.signal(Signal::SIGSTOP);
        let begun = Instant::now();
        tokio::time::sleep(time).await;
        self.signal(Signal::SIGCONT);
        begun.elapsed()
    }
}

#[tokio::test]
async fn serves_in_a_process_of_its_own() {
    if !is_child() {
        return;
    }
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    // What comes during a freeze waits instead of being lost.
    let listener = socket.listen(4096).unwrap();
    say(&listener.local_addr().unwrap().to_string());
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let mut request = [0; 4096];
            while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        });
    }
}

const FREEZE: Duration = Duration::from_secs(2);
const LENGTH: Duration = Duration::from_secs(6);

/// Runs a load during which the server is frozen once; returns how long that was, too.
async fn run_through_freeze(plan: &LoadPlan) -> (Told, Duration) {
    let server = ServerProcess::start().await;
    let loading = run(&server.url, plan, Options::default());
    let freezing = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.freeze(FREEZE).await
    };
    tokio::join!(loading, freezing)
}

/// Arrivals per second at the server that freezes.
const RATE: f64 = 100.0;

#[tokio::test(flavor = "multi_thread")]
async fn an_open_load_sees_a_freeze_in_full() {
    let mut plan = open_plan(RATE, LENGTH, 500);
    plan.transport.connections = Connections::KeepAlive;
    let mut differences = String::new();
    for _ in 0..ATTEMPTS {
        let (told, frozen) = run_through_freeze(&plan).await;
        differences = compare_with_freeze(&told, frozen);
        if differences.is_empty() {
            return;
        }
    }
    panic!("{differences}");
}

/// What a load measured otherwise than a freeze of that length makes it, in words.
fn compare_with_freeze(told: &Told, frozen: Duration) -> String {
    let mut response = Histogram::default();
    for tick in told.of(Source::Users) {
        response.merge(&tick.response);
    }
    // Whoever comes at x into a freeze of F waits F - x; the others hardly at all: of a load of
    // length D the mean is F² / 2D, and of the longest share p of all the shortest is F - p D.
    let (frozen, length) = (frozen.as_secs_f64(), LENGTH.as_secs_f64());
    let mean = response.mean().unwrap().as_secs_f64();
    let seconds = |percent| response.percentile(percent).unwrap().as_secs_f64();
    let figures = [
        ("mean", mean, frozen * frozen / 2.0 / length),
        ("p99", seconds(99.0), frozen - 0.01 * length),
        ("max", seconds(100.0), frozen),
    ];
    let mut differences = String::new();
    for (name, measured, truth) in figures {
        println!("{name}: {measured:.3} s, in truth {truth:.3} s");
        // An arrival more or less within the freeze, and what it takes to catch up.
        if !(truth - 2.0 / RATE..truth * 1.02 + 0.1).contains(&measured) {
            differences += &format!("{name}: {measured:.3} s, in truth {truth:.3} s; ");
        }
    }
    let dropped = told.sum(Source::Users, |tick| tick.dropped);
    if dropped > 0 {
        differences += &format!("{dropped} dropped; ");
    }
    let (under_way, by_law) = (told.finished.mean_users, RATE * mean);
    if (under_way - by_law).abs() > 0.05 * under_way + 0.5 {
        differences += &format!("{under_way} under way, {by_law} by Little's law");
    }
    differences
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_load_owns_up_to_what_it_omitted() {
    let mut plan = plan(10, LENGTH);
    plan.transport.connections = Connections::KeepAlive;
    plan.journeys[0].think_time = Duration::from_millis(10);
    let (told, frozen) = run_through_freeze(&plan).await;
    let seen = service_times(&told).percentile(99.0).unwrap();
    assert!(seen < Duration::from_millis(500), "p99 {seen:?}");
    let summary = summary(&plan, &told);
    let omission = summary.coordinated_omission.expect("a freeze is told");
    let frozen = frozen.as_secs_f64();
    let corrected = omission.corrected_p99;
    println!("{omission:?}");
    assert!(
        (0.8 * frozen..=1.1 * frozen).contains(&corrected),
        "{omission:?}"
    );
    // Ten users would have sent about once in each cycle of the freeze.
    let would = 10.0 * frozen / omission.interval;
    let missing = omission.missing as f64;
    assert!(
        (missing / would - 1.0).abs() < 0.2,
        "{omission:?}, not {would}"
    );
}

fn summary(plan: &LoadPlan, told: &Told) -> Summary {
    let mut record = Record::new(RunStarted {
        run_id: String::new(),
        started_at: String::new(),
        source_file: String::new(),
        command: Vec::new(),
        profile: Default::default(),
        params: Default::default(),
        environment: Environment::default(),
        plan: Plan {
            experiment: String::new(),
            title: String::new(),
            load: plan.clone(),
            windows: Windows {
                baseline: Duration::ZERO,
                recovery: Duration::ZERO,
            },
            faults: Vec::new(),
            objectives: Vec::new(),
            invariants: Vec::new(),
            cluster: None,
            stop_conditions: Vec::new(),
            allow: Vec::new(),
            reference: None,
        },
    });
    for event in &told.events {
        record.apply(&Stamped {
            at: Duration::ZERO,
            event: event.clone(),
        });
    }
    summarize(&record)
}

#[test]
fn burns_a_processor() {
    if is_child() {
        say("burning");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60) {
            std::hint::spin_loop();
        }
    }
}

/// The thread that sends is bound to one processor, which others take from it.
#[tokio::test]
async fn a_stolen_processor_voids_the_run() {
    let server = ServerProcess::start().await;
    let this_thread = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_thread).unwrap();
    let first = (0..CpuSet::count()).find(|processor| allowed.is_set(*processor).unwrap());
    let mut one = CpuSet::new();
    one.set(first.unwrap()).unwrap();
    // Threads and processes begin where their maker may run.
    sched_setaffinity(this_thread, &one).unwrap();
    let mut thieves = Vec::new();
    for _ in 0..3 {
        let (child, mut said) = start_child("truth::burns_a_processor");
        hear_any(&mut said).await;
        thieves.push((child, said));
    }
    let busy = |seconds| {
        let mut plan = plan(32, Duration::from_secs(seconds));
        plan.transport.connections = Connections::KeepAlive;
        plan
    };
    let robbed = run(&server.url, &busy(3), Options::default()).await;
    for (mut thief, _) in thieves {
        thief.kill().await.unwrap();
    }
    let starved = |told: &Told| {
        let starved = told.finished.starved_seconds.expect("the system says so");
        starved / told.finished.elapsed.as_secs_f64()
    };
    // A quarter of the processor is left.
    println!("starved for {:.2} of the time", starved(&robbed));
    assert!(starved(&robbed) > 0.5);
    assert!(robbed.finished.saturated_seconds.len() >= 2);
    let mut least = f64::MAX;
    for _ in 0..ATTEMPTS {
        let alone = run(&server.url, &busy(1), Options::default()).await;
        least = starved(&alone).min(least);
        if least < 0.2 {
            break;
        }
    }
    println!("without thieves for {least:.2}");
    assert!(least < starved(&robbed) / 1.5);
    let check = summary(&busy(3), &robbed).self_check;
    assert!(!check.valid);
    let problem = &check.problems[0];
    assert!(problem.starts_with("generator saturated"), "{problem}");
    assert!(problem.ends_with("of 3 s"), "{problem}");
}
