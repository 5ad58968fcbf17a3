//! The control group's processor quota: how much it leaves, and how long it stopped the process.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The tightest quota above this process.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    /// Processors it leaves; `None` without a quota.
    pub(crate) processors: Option<f64>,
    /// Where the system counts how long it stopped its members.
    statistics: Option<PathBuf>,
}

impl Quota {
    /// The quota of this process's control group or of one above it, in either version of control
    /// groups. What cannot be read is no quota.
    pub(crate) fn find() -> Self {
        let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::among(&directories(&membership, Path::new("/sys/fs/cgroup")))
    }

    fn among(directories: &[PathBuf]) -> Self {
        let quotas = directories.iter().filter_map(|directory| {
            Some(Self {
                processors: Some(limit(directory)?),
                statistics: Some(directory.join("cpu.stat")),
            })
        });
        quotas
            .min_by(|a, b| f64::total_cmp(&a.left(), &b.left()))
            .unwrap_or_default()
    }

    fn left(&self) -> f64 {
        self.processors.unwrap_or(f64::INFINITY)
    }

    /// How long it has stopped its members so far, all processors together.
    pub(crate) fn throttled(&self) -> Duration {
        let text = self.statistics.as_ref().map(fs::read_to_string);
        text.and_then(Result::ok)
            .and_then(|text| throttled(&text))
            .unwrap_or_default()
    }
}

/// The control groups of a process that can have a quota, by the text of its `cgroup` file: its own
/// and all above it, in the hierarchies mounted below `root`.
fn directories(membership: &str, root: &Path) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
            continue;
        };
        let hierarchies = if controllers.is_empty() {
            vec![root.to_owned()]
        } else if controllers.split(',').any(|name| name == "cpu") {
            vec![root.join("cpu"), root.join(controllers)]
        } else {
            continue;
        };
        // In a container the path may be the host's, which is not mounted: the top always is.
        let group = Path::new(group.trim_start_matches('/'));
        for hierarchy in hierarchies {
            let levels = group.ancestors();
            directories.extend(levels.map(|level| hierarchy.join(level)));
        }
    }
    directories
}

/// Processors that a group's quota leaves.
fn limit(directory: &Path) -> Option<f64> {
    let read = |name: &str| fs::read_to_string(directory.join(name)).ok();
    let (quota, period) = match read("cpu.max") {
        // Version 2: `<quota or max> <period>`, in microseconds.
        Some(both) => {
            let (quota, period) = both.split_once(' ')?;
            (quota.to_owned(), period.to_owned())
        }
        // Version 1: a file each; the quota is -1 where there is none.
        None => (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?),
    };
    let quota: f64 = quota.trim().parse().ok().filter(|quota| *quota > 0.0)?;
    let period: f64 = period.trim().parse().ok().filter(|period| *period > 0.0)?;
    Some(quota / period)
}

/// `throttled_usec` of version 2 or `throttled_time` (nanoseconds) of version 1.
fn throttled(statistics: &str) -> Option<Duration> {
    statistics.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        let value = value.trim().parse().ok()?;
        match name {
            "throttled_usec" => Some(Duration::from_micros(value)),
            "throttled_time" => Some(Duration::from_nanos(value)),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files.
    fn groups(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn quota(membership: &str, root: &tempfile::TempDir) -> Quota {
        Quota::among(&directories(membership, root.path()))
    }

    #[test]
    fn the_tightest_quota_of_version_2_counts() {
        let root = groups(&[
            ("cpu.stat", "usage_usec 1\n"),
            ("kube/cpu.max", "150000 100000\n"),
            (
                "kube/cpu.stat",
                "nr_throttled 3\nthrottled_usec 2500000\nburst_usec 0\n",
            ),
            ("kube/pod/cpu.max", "max 100000\n"),
        ]);
        let quota = quota("0::/kube/pod\n", &root);
        assert_eq!(quota.processors, Some(1.5));
        assert_eq!(quota.throttled(), Duration::from_millis(2500));
    }

    #[test]
    fn version_1_counts_in_its_own_hierarchy() {
        let root = groups(&[
            ("cpu,cpuacct/docker/cpu.cfs_quota_us", "50000\n"),
            ("cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n"),
            (
                "cpu,cpuacct/docker/cpu.stat",
                "nr_periods 9\nthrottled_time 7000000\n",
            ),
            ("cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ]);
        let quota = quota("5:memory:/elsewhere\n4:cpu,cpuacct:/docker\n0::/\n", &root);
        assert_eq!(quota.processors, Some(0.5));
        assert_eq!(quota.throttled(), Duration::from_millis(7));
    }

    #[test]
    fn a_container_that_sees_its_own_group_at_the_top_has_its_quota() {
        let root = groups(&[("cpu.max", "200000 100000\n")]);
        assert_eq!(quota("0::/host/path\n", &root).processors, Some(2.0));
    }

    #[test]
    fn without_a_quota_nothing_is_throttled() {
        let quota = quota("0::/\n", &groups(&[]));
        assert_eq!(quota.processors, None);
        assert_eq!(quota.throttled(), Duration::ZERO);
    }
}
