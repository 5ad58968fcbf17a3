//! What containers were measured to use, and what follows from two measurements.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

/// A container this old has a meaningful average since its start.
const FRESH_CONTAINER_AGE: Duration = Duration::from_secs(10);

/// What a container uses.
#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub(crate) struct Usage {
    pub(crate) cpu_nanocores: u64,
    pub(crate) memory_bytes: u64,
}

/// What a pod uses, container by container.
#[derive(Clone, Eq, PartialEq, Debug)]
pub(crate) struct PodSample {
    /// The end of the window.
    pub(crate) timestamp: Timestamp,
    /// Over which time the processor use is an average.
    pub(crate) window: Duration,
    pub(crate) containers: BTreeMap<String, Usage>,
}

/// One measurement.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) struct Point {
    pub(super) at: Timestamp,
    /// Processor time since the start; it never falls.
    pub(super) cpu: Duration,
    pub(super) memory_bytes: u64,
}

/// The last two measurements of one thing.
#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub(super) struct Points {
    previous: Option<Point>,
    last: Option<Point>,
}

/// What two points say.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) struct Reading {
    pub(super) timestamp: Timestamp,
    pub(super) window: Duration,
    pub(super) usage: Usage,
}

impl Points {
    /// Adds a measurement of something started at `started`. The first one of a young container
    /// counts from its start, if that is not too recent.
    pub(super) fn add(&mut self, point: Point, started: Timestamp, resolution: Duration) {
        let age = elapsed(started, point.at);
        let since_start = self.last.is_none() && age >= FRESH_CONTAINER_AGE && age < resolution;
        self.previous = if since_start {
            Some(Point {
                at: started,
                cpu: Duration::ZERO,
                memory_bytes: 0,
            })
        } else {
            self.last
        };
        self.last = Some(point);
    }

    pub(super) fn last(&self) -> Option<Point> {
        self.last
    }

    /// `None` until there are two points.
    pub(super) fn reading(&self) -> Option<Reading> {
        let (previous, last) = (self.previous?, self.last?);
        let window = elapsed(previous.at, last.at);
        let nanoseconds = window.as_nanos();
        if nanoseconds == 0 {
            return None;
        }
        let used = last.cpu.saturating_sub(previous.cpu).as_nanos();
        let cpu_nanocores = u64::try_from(used * 1_000_000_000 / nanoseconds).unwrap_or(u64::MAX);
        Some(Reading {
            timestamp: last.at,
            window,
            usage: Usage {
                cpu_nanocores,
                memory_bytes: last.memory_bytes,
            },
        })
    }
}

/// The pod's sample, once each of its containers has a reading.
pub(super) fn pod_sample<'a>(
    containers: impl IntoIterator<Item = (&'a str, Option<Reading>)>,
) -> Option<PodSample> {
    let mut sample: Option<PodSample> = None;
    for (name, reading) in containers {
        let reading = reading?;
        let pod = sample.get_or_insert_with(|| PodSample {
            timestamp: reading.timestamp,
            window: reading.window,
            containers: BTreeMap::new(),
        });
        // The earliest window tells the age of the sample as a whole.
        if reading.timestamp < pod.timestamp {
            (pod.timestamp, pod.window) = (reading.timestamp, reading.window);
        }
        pod.containers.insert(name.to_owned(), reading.usage);
    }
    sample
}

fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOLUTION: Duration = Duration::from_secs(15);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn point(second: i64, cpu_ms: u64) -> Point {
        Point {
            at: at(second),
            cpu: Duration::from_millis(cpu_ms),
            memory_bytes: 7,
        }
    }

    fn readings(started: i64, points: &[Point]) -> Vec<Option<u64>> {
        let mut kept = Points::default();
        let mut add = |point: &Point| {
            kept.add(*point, at(started), RESOLUTION);
            kept.reading().map(|reading| reading.usage.cpu_nanocores)
        };
        points.iter().map(&mut add).collect()
    }

    #[test]
    fn use_is_the_difference_of_the_last_two_points() {
        let points = [point(100, 10_000), point(115, 11_500), point(130, 11_500)];
        assert_eq!(
            readings(0, &points),
            [None, Some(100_000_000), Some(0)],
            "a tenth of a core, then nothing"
        );
    }

    #[test]
    fn a_young_container_counts_from_its_start() {
        assert_eq!(readings(88, &[point(100, 1200)]), [Some(100_000_000)]);
        assert_eq!(readings(91, &[point(100, 1200)]), [None], "too young");
        assert_eq!(readings(85, &[point(100, 1200)]), [None], "no longer young");
    }

    #[test]
    fn a_pod_has_no_sample_before_all_its_containers_have() {
        let reading = |second| Reading {
            timestamp: at(second),
            window: RESOLUTION,
            usage: Usage::default(),
        };
        assert_eq!(pod_sample([("a", Some(reading(1))), ("b", None)]), None);
        assert_eq!(pod_sample([]), None);
        let sample = pod_sample([("a", Some(reading(2))), ("b", Some(reading(1)))]).unwrap();
        assert_eq!(sample.timestamp, at(1));
        assert_eq!(sample.containers.len(), 2);
    }
}
