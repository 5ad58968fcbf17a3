//! What the process and the cluster hold at a moment, and whether it grows.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_cluster::Holdings;

use super::clients::Site;
use super::{ALLOCATOR, Failure};

/// By how much the mean of the last third of a run may be greater than that of
/// the middle third.
const TOLERANCE: f64 = 0.05;
/// Until then histories and Events fill up to their bounds.
const SHORTEST: Duration = Duration::from_mins(5);
/// By how much the rate of requests may be smaller in the last third.
const RATE_TOLERANCE: f64 = 0.1;

#[derive(Copy, Clone)]
pub(super) struct Figures {
    requests: u64,
    resident_mb: f64,
    /// Memory which no other process shares.
    private_mb: f64,
    /// What has been allocated and not freed.
    in_use_mb: f64,
    holdings: Holdings,
    tasks: usize,
    descriptors: usize,
}

/// A figure which must not grow, by its name.
type Measure = (&'static str, fn(&Figures) -> f64);

const MEASURES: [Measure; 10] = [
    ("private memory", |figures| figures.private_mb),
    ("memory in use", |figures| figures.in_use_mb),
    ("kinds", |figures| count(figures.holdings.kinds)),
    ("objects", |figures| count(figures.holdings.objects)),
    ("history", |figures| count(figures.holdings.history)),
    ("weight of objects and history", |figures| {
        count(figures.holdings.weight_bytes)
    }),
    ("index entries", |figures| {
        count(figures.holdings.index_entries)
    }),
    ("watches", |figures| count(figures.holdings.watches)),
    ("tasks", |figures| count(figures.tasks)),
    ("descriptors", |figures| count(figures.descriptors)),
];

impl Figures {
    pub(super) const HEADING: &str = "minute  requests  RSS MB  private MB  in use MB  objects  history  kinds  watches  tasks  descriptors";

    pub(super) fn now(site: &Site, holdings: &Holdings) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Handle::current().metrics();
        let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
        let megabytes = |wanted: &str| -> f64 {
            let lines = rollup.lines().filter(|line| line.starts_with(wanted));
            let kibibytes =
                lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
            kibibytes.sum::<f64>() * 1024.0 / 1e6
        };
        Ok(Self {
            requests: site.requests.load(Ordering::Relaxed),
            resident_mb: megabytes("Rss:"),
            private_mb: megabytes("Private_"),
            in_use_mb: count(ALLOCATOR.current_usage()) / 1e6,
            holdings: *holdings,
            tasks: runtime.num_alive_tasks(),
            descriptors: std::fs::read_dir("/proc/self/fd")?.count(),
        })
    }

    pub(super) fn line(&self, elapsed: Duration) -> String {
        let Self {
            requests,
            resident_mb,
            private_mb,
            in_use_mb,
            holdings,
            tasks,
            descriptors,
        } = self;
        format!(
            "{:>6.1} {requests:>9} {resident_mb:>7.1} {private_mb:>11.1} {in_use_mb:>10.1} {:>8} {:>8} {:>6} {:>8} {tasks:>6} {descriptors:>12}",
            elapsed.as_secs_f64() / 60.0,
            holdings.objects,
            holdings.history,
            holdings.kinds,
            holdings.watches,
        )
    }
}

/// Whether the process grows.
pub(super) enum Verdict {
    Flat,
    /// What has grown, from how much to how much.
    Grown(Vec<(&'static str, f64, f64)>),
    TooShort,
    /// How many requests there were in a third of the run.
    Slower {
        middle: u64,
        last: u64,
    },
}

impl Verdict {
    /// Compares the last third with the middle one.
    pub(super) fn of(samples: &[Figures], duration: Duration) -> Self {
        if duration < SHORTEST {
            return Self::TooShort;
        }
        let third = samples.len() / 3;
        let (before, last) = samples.split_at(samples.len() - third);
        let middle = &before[before.len() - third..];
        let [Some(middle_requests), Some(last_requests)] = [middle, last].map(requests_during)
        else {
            return Self::TooShort;
        };
        if as_float(last_requests) < as_float(middle_requests) * (1.0 - RATE_TOLERANCE) {
            return Self::Slower {
                middle: middle_requests,
                last: last_requests,
            };
        }
        let compared = MEASURES.iter().map(|(name, measure)| {
            let mean = |samples: &[Figures]| {
                samples.iter().map(measure).sum::<f64>() / count(samples.len())
            };
            (*name, mean(middle), mean(last))
        });
        let grown: Vec<_> = compared
            .filter(|(_, middle, last)| *last > middle * (1.0 + TOLERANCE))
            .collect();
        if grown.is_empty() {
            Self::Flat
        } else {
            Self::Grown(grown)
        }
    }
}

fn requests_during(samples: &[Figures]) -> Option<u64> {
    let (first, last) = (samples.first()?, samples.last()?);
    Some(last.requests - first.requests)
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flat => f.write_str("flat"),
            Self::Grown(grown) => {
                f.write_str("not flat:")?;
                for (name, middle, last) in grown {
                    write!(f, " {name} from {middle:.1} to {last:.1};")?;
                }
                Ok(())
            }
            Self::TooShort => f.write_str("not judged: the run was too short"),
            Self::Slower { middle, last } => write!(
                f,
                "not judged: {last} requests in the last third, but {middle} in the middle one; try again on a machine that keeps up"
            ),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "far below the numbers at which a float loses one"
)]
fn as_float(number: u64) -> f64 {
    number as f64
}

fn count(number: usize) -> f64 {
    as_float(number as u64)
}
