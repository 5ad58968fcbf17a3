//! Stops the processes of a pod, so that it is there and does nothing.
//!
//! A stopped process stays stopped when the one that stopped it dies, so a watcher is told of each
//! process *before* it is stopped: see [`watcher`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::arguments::Common;
use crate::error::Error;
use crate::pod::Pod;
use crate::process::{Process, Stat};
use crate::quantity::duration;
use crate::session::Session;

mod watcher;

use watcher::Watcher;
pub(crate) use watcher::{WATCH, watch};

/// How often the pod is looked at for processes that run (again).
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Stops a pod's processes (SIGSTOP) and lets them go on at the end; in turns, also those that appear
/// later.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    pod: Pod,
    /// Stop them for this long at a time, with --up between
    #[arg(long, value_parser = duration, value_name = "DURATION", requires = "up")]
    down: Option<Duration>,
    /// Let them go on for this long at a time
    #[arg(long, value_parser = duration, value_name = "DURATION", requires = "down")]
    up: Option<Duration>,
}

pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let pod = options.pod;
    let held = Arc::new(Held::default());
    let told = (pod.clone(), Arc::clone(&held));
    let evidence = Arc::new(move || told.1.as_json(&told.0));
    let session = Session::begin("freeze", options.common, evidence).await?;
    if session.over.is_cancelled() {
        // An agent that was started again after its time: whatever is stopped is its predecessor's.
        let_go_on(&pod)?;
        session.ended();
        return Ok(());
    }
    pod.some_processes()?;
    let mut watcher = Watcher::start().await?;
    let harm = Harm {
        pod: &pod,
        held: &held,
        session: &session,
        down: options.down,
        up: options.up,
    };
    let done = harm.go_on(&mut watcher).await;
    // Both ways, however the harm ended: one of them may be why.
    let finished = watcher.finish().await;
    let_go_on(&pod)?;
    done.and(finished)?;
    session.ended();
    Ok(())
}

/// What is being done to a pod.
struct Harm<'a> {
    pod: &'a Pod,
    held: &'a Held,
    session: &'a Session,
    down: Option<Duration>,
    up: Option<Duration>,
}

impl Harm<'_> {
    /// Stops the pod, and lets it go on between, until it is over. Leaves it as it is then.
    ///
    /// Without turns, what stands still is what stood still: a container that is started anew, as after
    /// a failed liveness probe, runs.
    async fn go_on(&self, watcher: &mut Watcher) -> Result<(), Error> {
        let over = &self.session.over;
        self.held.stop(self.pod, watcher).await?;
        self.session.began();
        let Some((down, up)) = self.down.zip(self.up) else {
            return tokio::select! {
                () = over.cancelled() => Ok(()),
                gone = watcher.gone() => Err(gone),
            };
        };
        while !over.is_cancelled() {
            let end = Instant::now() + down;
            while !over.is_cancelled() && end > Instant::now() {
                self.held.stop(self.pod, watcher).await?;
                let next = Instant::now() + BETWEEN_LOOKS;
                self.wait(end.min(next), watcher).await?;
            }
            if !over.is_cancelled() {
                self.held.let_go_on(self.pod)?;
                self.wait(Instant::now() + up, watcher).await?;
            }
        }
        Ok(())
    }

    /// Until that moment, or until it is over; not without a watcher.
    async fn wait(&self, until: Instant, watcher: &mut Watcher) -> Result<(), Error> {
        tokio::select! {
            () = self.session.over.cancelled() => Ok(()),
            gone = watcher.gone() => Err(gone),
            () = sleep_until(until) => Ok(()),
        }
    }
}

/// Continues what is stopped in the pod, whoever stopped it, and makes sure that it runs.
fn let_go_on(pod: &Pod) -> Result<(), Error> {
    for stat in pod.processes()?.into_iter().filter_map(Stat::of) {
        if stat.is_stopped
            && let Ok(Some(process)) = Process::open(stat.pid, stat.started)
        {
            resume(pod, &process)?;
        }
    }
    let pids: Vec<i32> = pod
        .processes()?
        .into_iter()
        .filter(|pid| Stat::of(*pid).is_some_and(|stat| stat.is_stopped))
        .collect();
    if pids.is_empty() {
        return Ok(());
    }
    Err(Error::StillStopped {
        name: pod.name.clone(),
        pids,
    })
}

fn resume(pod: &Pod, process: &Process) -> Result<(), Error> {
    process.go_on().map_err(|_| Error::StillStopped {
        name: pod.name.clone(),
        pids: vec![process.pid],
    })
}

/// What was stopped.
#[derive(Debug, Default)]
struct Held(Mutex<Stopped>);

#[derive(Debug, Default)]
struct Stopped {
    processes: BTreeMap<i32, Process>,
    /// How often a process was stopped.
    stops: u64,
    /// How often one was let go on before the end.
    resumptions: u64,
}

impl Held {
    fn as_json(&self, pod: &Pod) -> Value {
        let held = self.lock();
        let stopped: Vec<i32> = held
            .processes
            .values()
            .filter(|process| process.is_stopped())
            .map(|process| process.pid)
            .collect();
        json!({
            "podName": pod.name,
            "podUid": pod.uid,
            "processes": held.processes.len(),
            "stopped": stopped.len(),
            "stoppedProcesses": stopped,
            "stops": held.stops,
            "resumptions": held.resumptions,
        })
    }

    /// Stops whatever runs in the pod, until nothing is left to be stopped.
    async fn stop(&self, pod: &Pod, watcher: &mut Watcher) -> Result<(), Error> {
        loop {
            let running: Vec<Stat> = pod
                .processes()?
                .into_iter()
                .filter_map(Stat::of)
                .filter(|stat| !stat.is_stopped)
                .collect();
            let new = self.open(pod, &running)?;
            for process in &new {
                watcher.guard(process).await?;
            }
            let nothing_new = new.is_empty();
            let mut held = self.lock();
            held.processes
                .extend(new.into_iter().map(|process| (process.pid, process)));
            for pid in running.iter().map(|stat| stat.pid) {
                if let Some(process) = held.processes.get(&pid) {
                    process.stop().map_err(|source| Error::Stop {
                        name: pod.name.clone(),
                        pid,
                        source,
                    })?;
                    held.stops += 1;
                }
            }
            held.processes.retain(|_, process| process.stat().is_some());
            if nothing_new {
                return Ok(());
            }
        }
    }

    /// Those of the running processes that were not known before.
    fn open(&self, pod: &Pod, running: &[Stat]) -> Result<Vec<Process>, Error> {
        let held = self.lock();
        let is_known = |stat: &Stat| {
            let known = held.processes.get(&stat.pid);
            known.is_some_and(|known| known.started == stat.started)
        };
        let new = running.iter().filter(|stat| !is_known(stat));
        let opened = new.map(|stat| {
            Process::open(stat.pid, stat.started).map_err(|source| Error::Stop {
                name: pod.name.clone(),
                pid: stat.pid,
                source,
            })
        });
        opened.filter_map(Result::transpose).collect()
    }

    fn let_go_on(&self, pod: &Pod) -> Result<(), Error> {
        let mut held = self.lock();
        for process in held.processes.values() {
            resume(pod, process)?;
        }
        held.resumptions += u64::try_from(held.processes.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Stopped> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
