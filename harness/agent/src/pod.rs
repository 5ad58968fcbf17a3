//! Which of the machine's processes belong to a pod.
//!
//! A kubelet puts a pod's containers into a control group that is named by the pod's uid. The local
//! cluster has no control groups; it sets [`UID_VARIABLE`] for all that it starts for a pod.

use std::collections::BTreeSet;
use std::fs;

use crate::error::Error;
use crate::process::Table;

/// The environment variable by which the local cluster marks the processes of a pod.
const UID_VARIABLE: &str = "HOLDFAST_POD_UID";

/// The pod that is harmed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Pod {
    /// The uid of the pod
    #[arg(long = "pod-uid", value_name = "UID")]
    pub(crate) uid: String,
    /// The name of the pod, for messages
    #[arg(long = "pod-name", value_name = "NAME")]
    pub(crate) name: String,
}

impl Pod {
    /// The processes of the pod's containers at this moment, perhaps none. Never one that supervises
    /// them, and never the agent or what it descends from.
    pub(crate) fn processes(&self) -> Result<BTreeSet<i32>, Error> {
        let table = Table::read();
        let mut found = self.in_control_groups(&table)?;
        if found.is_empty() {
            found = self.marked(&table);
        }
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        if found.contains(&own) {
            return Err(Error::OwnPod {
                name: self.name.clone(),
            });
        }
        let mut spared = table.ancestors(own);
        spared.extend(table.descendants(&[own].into()));
        spared.insert(1);
        Ok(found.difference(&spared).copied().collect())
    }

    /// The same, and there is at least one.
    pub(crate) fn some_processes(&self) -> Result<BTreeSet<i32>, Error> {
        let found = self.processes()?;
        if found.is_empty() {
            return Err(Error::NoProcesses {
                name: self.name.clone(),
                uid: self.uid.clone(),
            });
        }
        Ok(found)
    }

    /// As a kubelet groups them. Some runtimes put the supervisor of a container into the same
    /// group; unlike it, the container has process ids of its own.
    fn in_control_groups(&self, table: &Table) -> Result<BTreeSet<i32>, Error> {
        let read = |pid: i32, file: &str| {
            // It may have ended meanwhile.
            fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
        };
        let grouped: BTreeSet<i32> = table
            .pids()
            .filter(|pid| is_in_group_of(&self.uid, &read(*pid, "cgroup")))
            .collect();
        let contained: BTreeSet<i32> = grouped
            .iter()
            .copied()
            .filter(|pid| has_own_process_ids(&read(*pid, "status")))
            .collect();
        if contained.is_empty() && !grouped.is_empty() {
            return Err(Error::SharesProcesses {
                name: self.name.clone(),
            });
        }
        Ok(contained)
    }

    /// As the local cluster marks them: what descends from the topmost of the marked processes, which
    /// is the supervisor.
    fn marked(&self, table: &Table) -> BTreeSet<i32> {
        let mark = format!("{UID_VARIABLE}={}", self.uid);
        let marked: BTreeSet<i32> = table
            .pids()
            .filter(|pid| {
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environment
                    .split(|&byte| byte == 0)
                    .any(|variable| variable == mark.as_bytes())
            })
            .collect();
        below_the_topmost(&marked, table)
    }
}

/// A program may have changed its environment, or started others without: its descent tells.
fn below_the_topmost(marked: &BTreeSet<i32>, table: &Table) -> BTreeSet<i32> {
    let topmost = marked
        .iter()
        .copied()
        .filter(|pid| table.ancestors(*pid).is_disjoint(marked))
        .collect();
    table.descendants(&topmost)
}

/// Whether `/proc/<pid>/cgroup` names the pod, as cgroupfs (`pod<uid>`) or systemd
/// (`kubepods-burstable-pod<uid with _>.slice`) write it.
fn is_in_group_of(uid: &str, groups: &str) -> bool {
    let names = [format!("pod{uid}"), format!("pod{}", uid.replace('-', "_"))];
    let parts = groups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .flat_map(|path| path.split('/'))
        .map(|part| part.strip_suffix(".slice").unwrap_or(part));
    parts.into_iter().any(|part| {
        names.iter().any(|name| {
            part.strip_suffix(name.as_str())
                .is_some_and(|before| before.is_empty() || before.ends_with('-'))
        })
    })
}

/// Whether `/proc/<pid>/status` shows the process in another PID namespace, too.
fn has_own_process_ids(status: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .is_some_and(|ids| ids.split_whitespace().count() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Stat;

    const UID: &str = "0b9f5a0e-6a3c-4d6e-9f3e-2f6f4f9d1a11";

    #[test]
    fn control_groups_are_read_as_both_drivers_write_them() {
        for groups in [
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0b9f5a0e_6a3c_4d6e_9f3e_2f6f4f9d1a11.slice/cri-containerd-1f.scope\n",
            "0::/../../kubepods-besteffort-pod0b9f5a0e_6a3c_4d6e_9f3e_2f6f4f9d1a11.slice/crio-1f.scope\n",
            "12:cpu,cpuacct:/kubepods/besteffort/pod0b9f5a0e-6a3c-4d6e-9f3e-2f6f4f9d1a11/1f\n0::/init\n",
        ] {
            assert!(is_in_group_of(UID, groups), "{groups}");
        }
        for groups in [
            "0::/\n",
            "0::/kubepods/besteffort/pod1b9f5a0e-6a3c-4d6e-9f3e-2f6f4f9d1a11/1f\n",
            "0::/kubepods/besteffort/xpod0b9f5a0e-6a3c-4d6e-9f3e-2f6f4f9d1a11/1f\n",
            "0::/kubepods/besteffort/pod0b9f5a0e-6a3c-4d6e-9f3e-2f6f4f9d1a11x/1f\n",
        ] {
            assert!(!is_in_group_of(UID, groups), "{groups}");
        }
    }

    #[test]
    fn supervisors_share_the_ids_of_the_node() {
        assert!(has_own_process_ids("Name:\tapp\nNSpid:\t4711\t1\n"));
        assert!(!has_own_process_ids("Name:\tconmon\nNSpid:\t4711\n"));
    }

    #[test]
    fn the_topmost_supervises_and_the_unmarked_below_belong() {
        let parents = [(1, 0), (10, 1), (11, 10), (12, 11), (13, 12), (20, 1)];
        let table: Table = parents
            .into_iter()
            .map(|(pid, parent)| Stat {
                pid,
                parent,
                is_stopped: false,
                started: 0,
            })
            .collect();
        // 11 has overwritten its environment.
        let found = below_the_topmost(&[10, 12].into(), &table);
        assert_eq!(found, BTreeSet::from([11, 12, 13]));
    }
}
