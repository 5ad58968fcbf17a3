//! One load from several processes: `holdfast run --workers`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use holdfast_core::record::Record;
use holdfast_core::summary::{Summary, summarize};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::holdfast::{Finished, eventually, finish, holdfast, processes_of, wait};
use crate::scenario::{Parts, Scenario};

/// Answers every request of every connection with 200, a little later.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = |mut stream: TcpStream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        // The end of the head is an empty line; there are no bodies.
        while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
            if line == "\r\n" {
                std::thread::sleep(Duration::from_millis(5));
                let sent = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                if sent.is_err() {
                    return;
                }
            }
            line.clear();
        }
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

/// An experiment on a server of this process, sent by two workers.
struct Shared {
    folder: tempfile::TempDir,
    marker: String,
}

impl Shared {
    fn new(target: &str, duration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let marker = format!("marker-{}", folder.path().file_name().unwrap().display());
        let text = format!(
            "apiVersion: holdfast.dev/v1alpha1
kind: Experiment
metadata: {{name: shared}}
spec:
  load:
    target: {{url: \"http://{target}\"}}
    stages: [{{users: 5, duration: {duration}}}]
    thinkTime: 20ms
    timeout: 5s
    prober: {{rate: 5/s}}
    workers: 2
    requests: [{{get: /}}]
  steadyState: [{{metric: availability, min: 99}}]
"
        );
        std::fs::write(folder.path().join("shared.yaml"), text).unwrap();
        Self { folder, marker }
    }

    fn run(&self) -> Command {
        let mut command = holdfast(&self.marker);
        command
            .arg("run")
            .arg(self.folder.path().join("shared.yaml"))
            .arg("--out")
            .arg(self.folder.path());
        command
    }

    fn record(&self) -> Record {
        let file = self.folder.path().join("shared/latest/record.json");
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }

    /// The workers that live: process id and command line.
    fn workers(&self) -> Vec<(Pid, String)> {
        let processes = processes_of(&self.marker);
        let workers = processes.iter().filter_map(|line| {
            let (pid, command) = line.split_once(' ').unwrap();
            let worker = command.contains(" load-worker ");
            worker.then(|| (Pid::from_raw(pid.parse().unwrap()), command.to_owned()))
        });
        workers.collect()
    }

    fn worker(&self, index: u32) -> Pid {
        let wanted = format!("--index {index}");
        let workers = self.workers();
        let mut found = workers.iter().filter(|(_, line)| line.contains(&wanted));
        found.next().expect("the worker lives").0
    }

    fn until_it_ticks(&self) {
        eventually("the load ticks", || {
            let runs = std::fs::read_dir(self.folder.path().join("shared"));
            runs.into_iter().flatten().flatten().any(|run| {
                let journal = std::fs::read_to_string(run.path().join("events.jsonl"));
                journal.is_ok_and(|text| text.contains("\"tick\""))
            })
        });
    }

    fn nothing_is_left(&self) {
        eventually("no process is left", || {
            processes_of(&self.marker).is_empty()
        });
    }
}

fn lost(record: &Record) -> Vec<Option<String>> {
    let workers = &record.load.as_ref().unwrap().workers;
    workers.iter().map(|worker| worker.lost.clone()).collect()
}

/// The run passed; on a machine that was too busy for its clock the verdict may be open, too.
fn is_whole(record: &Record, finished: &Finished) -> Summary {
    let summary = summarize(record);
    assert!(summary.accounting.holds, "{:?}", summary.accounting);
    let problems = &summary.self_check.problems;
    let busy = |problem: &String| problem.starts_with("generator saturated");
    assert!(problems.iter().all(busy), "{problems:?}");
    let code = if problems.is_empty() { 0 } else { 3 };
    assert_eq!(finished.status.code(), Some(code), "{}", finished.err);
    summary
}

/// The verdict is open because of worker 1, and what was told adds up.
fn is_inconclusive(shared: &Shared, finished: &Finished, words: &str) {
    assert_eq!(finished.status.code(), Some(3), "{}", finished.err);
    let reason = format!("worker 1 of 2 was lost: {words}");
    assert!(finished.err.contains(&reason), "{}", finished.err);
    let record = shared.record();
    let (first, second) = (&lost(&record)[0], &lost(&record)[1]);
    assert_eq!(*first, None);
    assert!(second.as_ref().unwrap().contains(words), "{second:?}");
    let summary = summarize(&record);
    assert!(summary.accounting.holds, "{:?}", summary.accounting);
    assert!(summary.accounting.expected > 0);
    shared.nothing_is_left();
}

#[test]
fn workers_send_one_load_together() {
    let shared = Shared::new(&serve().to_string(), "3s");
    let child = shared.run().args(["--workers", "3"]).spawn().unwrap();
    let mut workers = Vec::new();
    eventually("three workers live", || {
        workers = shared.workers();
        workers.len() == 3
    });
    for (_, command) in &workers {
        // No token: every user of the machine can read this.
        let words: Vec<_> = command.split_whitespace().skip(1).collect();
        assert_eq!(words.len(), 5, "{command}");
        assert_eq!((words[0], words[1]), ("load-worker", "--coordinator"));
        assert!(words[2].starts_with("127.0.0.1:"), "{command}");
    }
    let finished = wait(child);
    let record = shared.record();
    let summary = is_whole(&record, &finished);
    assert_eq!(lost(&record), [None, None, None]);
    let load = record.load.unwrap();
    let sent: Vec<u64> = load.workers.iter().map(|worker| worker.sent).collect();
    assert_eq!(sent.iter().sum::<u64>(), summary.accounting.sent);
    assert!(sent.iter().all(|sent| *sent > 0), "{sent:?}");
    for worker in &load.workers {
        // One machine has one clock.
        let (offset, uncertainty) = worker.clock_offset.unwrap();
        assert!(offset.abs() <= uncertainty + 0.25, "{offset} {uncertainty}");
    }
    assert!(load.cpu_seconds > 0.0);
    assert!(load.lag.count() > 0);
    shared.nothing_is_left();
}

/// On the local cluster workers dial pods as one process does.
#[test]
fn workers_dial_the_pods_of_the_local_cluster() {
    let scenario = Scenario::new(&Parts::default());
    let finished = finish(scenario.run().args(["--workers", "2"]));
    let file = scenario.reports().join("scenario/latest/record.json");
    let record: Record = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let summary = is_whole(&record, &finished);
    assert_eq!(lost(&record), [None, None]);
    // Each request is known to be a pod's.
    let by_pod = summary.endpoints.iter();
    let app = by_pod.filter(|(pod, _)| pod.starts_with("app-"));
    let answered: u64 = app.map(|(_, count)| count.expected).sum();
    assert_eq!(answered, summary.accounting.expected);
    let emulations = &record.run.environment.emulations;
    assert!(emulations.iter().any(|line| line.contains("dials a pod")));
    assert_eq!(processes_of(&scenario.marker), [""; 0]);
}

#[test]
fn a_killed_worker_leaves_the_verdict_open() {
    let shared = Shared::new(&serve().to_string(), "5s");
    let child = shared.run().spawn().unwrap();
    shared.until_it_ticks();
    kill(shared.worker(1), Signal::SIGKILL).unwrap();
    let finished = wait(child);
    is_inconclusive(&shared, &finished, "signal: 9 (SIGKILL)");
    let elapsed = shared.record().load.unwrap().elapsed;
    assert!(elapsed >= Duration::from_secs(5), "the other one went on");
}

#[test]
fn a_worker_that_hangs_is_lost_and_ended() {
    let shared = Shared::new(&serve().to_string(), "15s");
    let child = shared.run().spawn().unwrap();
    shared.until_it_ticks();
    kill(shared.worker(1), Signal::SIGSTOP).unwrap();
    is_inconclusive(&shared, &wait(child), "it said nothing for 10 s");
}

#[test]
fn a_worker_that_is_told_to_end_says_so() {
    let shared = Shared::new(&serve().to_string(), "4s");
    let child = shared.run().spawn().unwrap();
    shared.until_it_ticks();
    kill(shared.worker(1), Signal::SIGTERM).unwrap();
    is_inconclusive(&shared, &wait(child), "exit status: 143");
}

#[test]
fn workers_end_with_their_coordinator() {
    let shared = Shared::new(&serve().to_string(), "60s");
    let mut child = shared.run().spawn().unwrap();
    shared.until_it_ticks();
    assert_eq!(shared.workers().len(), 2);
    child.kill().unwrap();
    child.wait().unwrap();
    shared.nothing_is_left();
}

#[test]
fn an_interrupt_drains_all_workers() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let shared = Shared::new(&serve().to_string(), "60s");
        let child = shared.run().spawn().unwrap();
        shared.until_it_ticks();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        kill(pid, signal).unwrap();
        let finished = wait(child);
        assert_eq!(finished.status.code(), Some(code), "{}", finished.err);
        let record = shared.record();
        assert_eq!(lost(&record), [None, None]);
        let accounting = summarize(&record).accounting;
        assert!(accounting.holds);
        assert_eq!(accounting.cut_off, 0);
        assert_eq!(processes_of(&shared.marker), [""; 0]);
    }
}

#[test]
fn a_load_that_no_worker_can_send_is_refused_before_the_run() {
    let shared = Shared::new("no-such-host.invalid", "3s");
    let finished = finish(&mut shared.run());
    assert_eq!(finished.status.code(), Some(2), "{}", finished.err);
    assert!(
        finished.err.contains("no-such-host.invalid"),
        "{}",
        finished.err
    );
    assert!(!shared.folder.path().join("shared").exists());
    shared.nothing_is_left();
}

#[test]
fn a_worker_without_a_token_or_a_coordinator_says_what_it_lacks() {
    let worker = |token: Option<&str>| {
        let mut command = holdfast("nobody");
        command.args([
            "load-worker",
            "--coordinator",
            "127.0.0.1:9",
            "--index",
            "0",
        ]);
        command.env_remove("HOLDFAST_WORKER_TOKEN");
        if let Some(token) = token {
            command.env("HOLDFAST_WORKER_TOKEN", token);
        }
        let finished = finish(&mut command);
        assert_eq!(finished.status.code(), Some(2), "{}", finished.err);
        finished.err
    };
    let words = worker(None);
    assert!(words.contains("HOLDFAST_WORKER_TOKEN"), "{words}");
    let words = worker(Some("secret"));
    assert!(words.contains("127.0.0.1:9"), "{words}");
    assert!(words.contains("hint"), "{words}");
    assert!(!words.contains("secret"), "{words}");
}
