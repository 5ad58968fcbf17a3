//! What a worker may use of its machine: workers on one machine share its processors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::{Deserialize, Serialize};

use crate::generator::allowed;

/// The machine of a process, as far as that process may use it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Machine {
    /// Equal for processes that share processors; empty when the system does not say.
    boot: String,
    /// Numbers of the processors the process may run on.
    processors: BTreeSet<usize>,
}

impl Machine {
    pub(crate) fn of_this_process() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            boot: boot.trim().to_owned(),
            processors: allowed(),
        }
    }
}

/// How many processors processes may use together, from how many each may use: no more than there
/// are on the machines they share.
pub(crate) fn processors_of_all<'a>(each: impl Iterator<Item = (&'a Machine, f64)>) -> f64 {
    let mut machines: BTreeMap<&str, (BTreeSet<usize>, f64)> = BTreeMap::new();
    for (machine, processors) in each {
        let (numbers, sum) = machines.entry(&machine.boot).or_default();
        numbers.extend(&machine.processors);
        *sum += processors;
    }
    let usable = |(numbers, sum): &(BTreeSet<usize>, f64)| match numbers.len() {
        0 => *sum,
        there_are => sum.min(there_are as f64),
    };
    machines.values().map(usable).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(boot: &str, processors: &[usize]) -> Machine {
        Machine {
            boot: boot.to_owned(),
            processors: processors.iter().copied().collect(),
        }
    }

    #[test]
    fn processors_of_one_machine_count_once() {
        let (here, there) = (machine("a", &[0, 1]), machine("b", &[0, 1, 2, 3]));
        let all = |each: &[(&Machine, f64)]| processors_of_all(each.iter().copied());
        assert_eq!(all(&[(&here, 2.0), (&here, 2.0)]), 2.0);
        assert_eq!(all(&[(&here, 2.0), (&there, 4.0)]), 6.0);
        // Two quotas of a control group each.
        assert_eq!(all(&[(&there, 0.5), (&there, 1.0)]), 1.5);
        let (first, second) = (machine("a", &[0]), machine("a", &[1]));
        assert_eq!(all(&[(&first, 1.0), (&second, 1.0), (&first, 1.0)]), 2.0);
    }

    #[test]
    fn this_process_may_run_somewhere() {
        assert!(!Machine::of_this_process().processors.is_empty());
    }
}
