//! Measuring what pods and the machine use, as metrics-server does on a real cluster.
//!
//! ```text
//! node ─a container runs─▶ Metrics ◀─sample─ API (metrics.k8s.io), autoscaling
//!                             ▲
//!              /proc, once in a resolution
//! ```
//!
//! Processor use is an average over the last two measurements; memory is that of the last one.

mod process_table;
mod sample;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock;
use process_table::{ProcessTable, TreeUsage, machine_usage};
pub(crate) use sample::{PodSample, Usage};
use sample::{Point, Points, pod_sample};

/// The measurements; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    resolution: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By the pod's uid and the container's name.
    containers: BTreeMap<(String, String), Measured>,
    machine: Points,
}

/// A running container.
#[derive(Debug)]
struct Measured {
    shim: u32,
    started: Timestamp,
    points: Points,
    /// Processor time of processes that nobody waited for.
    lost: Duration,
}

/// Keeps a container measured until it is dropped.
#[derive(Debug)]
pub(crate) struct Measurement {
    metrics: Metrics,
    key: (String, String),
}

/// What the whole machine uses.
#[derive(Copy, Clone, Debug)]
pub(crate) struct MachineSample {
    pub(crate) timestamp: Timestamp,
    pub(crate) window: Duration,
    pub(crate) usage: Usage,
}

impl Metrics {
    /// Measures nothing until [`Metrics::run`].
    pub(crate) fn new(resolution: Duration) -> Self {
        Self(Arc::new(Inner {
            resolution,
            state: Mutex::default(),
        }))
    }

    /// Measures the container whose processes descend from `shim`, from now on.
    pub(crate) fn measure(&self, pod_uid: &str, container: &str, shim: u32) -> Measurement {
        let key = (pod_uid.to_owned(), container.to_owned());
        let measured = Measured {
            shim,
            started: clock::now_precise(),
            points: Points::default(),
            lost: Duration::ZERO,
        };
        self.lock().containers.insert(key.clone(), measured);
        Measurement {
            metrics: self.clone(),
            key,
        }
    }

    /// What a pod uses: `None` until each of its running containers has been measured twice.
    pub(crate) fn pod(&self, uid: &str) -> Option<PodSample> {
        let state = self.lock();
        let from = (uid.to_owned(), String::new());
        let of_pod = state
            .containers
            .range(from..)
            .take_while(|((pod, _), _)| pod == uid);
        pod_sample(of_pod.map(|((_, name), measured)| (name.as_str(), measured.points.reading())))
    }

    /// What the machine uses: `None` until it has been measured twice.
    pub(crate) fn machine(&self) -> Option<MachineSample> {
        let reading = self.lock().machine.reading()?;
        Some(MachineSample {
            timestamp: reading.timestamp,
            window: reading.window,
            usage: reading.usage,
        })
    }

    /// Measures once in a resolution until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(self.0.resolution);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.cancelled() => return,
            }
            let metrics = self.clone();
            // Reading `/proc` takes milliseconds, which connections should not wait for.
            if let Err(error) = tokio::task::spawn_blocking(move || metrics.take()).await {
                tracing::error!(%error, "the use of processor and memory was not measured");
            }
        }
    }

    fn take(&self) {
        // What starts meanwhile is measured the next time.
        let shims: Vec<u32> = self
            .lock()
            .containers
            .values()
            .map(|known| known.shim)
            .collect();
        let trees: BTreeMap<u32, TreeUsage> = if shims.is_empty() {
            BTreeMap::new()
        } else {
            let table = ProcessTable::read();
            let usages = shims
                .into_iter()
                .map(|shim| Some((shim, table.below(shim)?)));
            usages.flatten().collect()
        };
        let machine = machine_usage();
        self.lock()
            .add(clock::now_precise(), &trees, machine, self.0.resolution);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is changed in more than one step.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(
        &mut self,
        at: Timestamp,
        trees: &BTreeMap<u32, TreeUsage>,
        machine: Option<TreeUsage>,
        resolution: Duration,
    ) {
        for measured in self.containers.values_mut() {
            if let Some(usage) = trees.get(&measured.shim) {
                measured.add(at, *usage, resolution);
            }
        }
        if let Some(usage) = machine {
            let point = Point {
                at,
                cpu: usage.cpu,
                memory_bytes: usage.memory_bytes,
            };
            self.machine.add(point, Timestamp::UNIX_EPOCH, resolution);
        }
    }
}

impl Measured {
    fn add(&mut self, at: Timestamp, usage: TreeUsage, resolution: Duration) {
        let before = self.points.last().map_or(Duration::ZERO, |point| point.cpu);
        // A process that its parent ignores takes its processor time along.
        let gone = before.saturating_sub(self.lost + usage.cpu);
        self.lost += gone;
        let point = Point {
            at,
            cpu: self.lost + usage.cpu,
            memory_bytes: usage.memory_bytes,
        };
        self.points.add(point, self.started, resolution);
    }
}

impl Drop for Measurement {
    fn drop(&mut self) {
        self.metrics.lock().containers.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOLUTION: Duration = Duration::from_secs(15);

    fn measured() -> Measured {
        Measured {
            shim: 1,
            started: Timestamp::UNIX_EPOCH,
            points: Points::default(),
            lost: Duration::ZERO,
        }
    }

    fn add(measured: &mut Measured, second: i64, cpu_ms: u64) -> Option<u64> {
        let usage = TreeUsage {
            cpu: Duration::from_millis(cpu_ms),
            memory_bytes: 0,
        };
        measured.add(Timestamp::from_second(second).unwrap(), usage, RESOLUTION);
        let reading = measured.points.reading();
        reading.map(|reading| reading.usage.cpu_nanocores)
    }

    #[test]
    fn processor_time_never_falls() {
        let mut measured = measured();
        add(&mut measured, 100, 5000);
        assert_eq!(add(&mut measured, 110, 1000), Some(0), "4 s are lost");
        assert_eq!(add(&mut measured, 120, 2000), Some(100_000_000));
    }

    #[test]
    fn a_container_is_measured_while_it_runs() {
        let metrics = Metrics::new(RESOLUTION);
        let sample = |second, trees: &[(u32, u64)]| {
            let usage = |cpu_ms| TreeUsage {
                cpu: Duration::from_millis(cpu_ms),
                memory_bytes: 1024,
            };
            let trees = trees
                .iter()
                .map(|(shim, cpu)| (*shim, usage(*cpu)))
                .collect();
            let at = clock::now_precise() + k8s_openapi::jiff::SignedDuration::from_secs(second);
            metrics.lock().add(at, &trees, None, RESOLUTION);
        };
        let first = metrics.measure("u", "first", 7);
        let _second = metrics.measure("u", "second", 8);
        let _other = metrics.measure("v", "first", 9);
        sample(20, &[(7, 100), (8, 100)]);
        assert_eq!(metrics.pod("u"), None);
        sample(30, &[(7, 1100), (8, 100)]);
        let pod = metrics.pod("u").unwrap();
        let names: Vec<&str> = pod.containers.keys().map(String::as_str).collect();
        assert_eq!(names, ["first", "second"]);
        assert_eq!(pod.containers["second"].memory_bytes, 1024);
        assert_eq!(pod.containers["second"].cpu_nanocores, 0);
        assert!(pod.containers["first"].cpu_nanocores > 0);
        assert_eq!(metrics.pod("v"), None);
        drop(first);
        assert_eq!(metrics.pod("u").unwrap().containers.len(), 1);
    }
}
