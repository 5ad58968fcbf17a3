//! Processes as the local cluster runs them for a pod.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::process::{Child, Command};

use super::agent::until;

/// A supervisor and, below it, a program that starts others all the time.
pub(crate) struct Container {
    supervisor: Child,
}

/// A uid that no other pod has.
pub(crate) fn uid() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(
        "00000000-0000-4000-8000-{:06x}{number:06x}",
        std::process::id()
    )
}

impl Container {
    pub(crate) async fn start(uid: &str) -> Self {
        // The program outlives its supervisor only if it is stopped, which these tests make sure of.
        let program = "while kill -0 $PPID; do env -i sleep 0.02; done";
        let supervisor = Command::new("/bin/sh")
            .args(["-c", &format!("/bin/sh -c '{program}' & wait")])
            .env("HOLDFAST_POD_UID", uid)
            .env("HOSTNAME", "app")
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let container = Self { supervisor };
        until(async || (!container.below().is_empty()).then_some(())).await;
        container
    }

    pub(crate) fn supervisor(&self) -> i32 {
        self.supervisor.id().unwrap().try_into().unwrap()
    }

    /// The program and what it has started.
    pub(crate) fn below(&self) -> Vec<i32> {
        let mut found = vec![self.supervisor()];
        let mut next = 0;
        while let Some(pid) = found.get(next) {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let children = children.unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .map(|pid| pid.parse::<i32>().unwrap()),
            );
            next += 1;
        }
        let mut below = found.split_off(1);
        // What has ended cannot be stopped, and waits for a parent that is.
        below.retain(|pid| !matches!(state(*pid), None | Some('Z')));
        below
    }

    /// Whether every process of the program is stopped, and there is one.
    pub(crate) fn is_frozen(&self) -> bool {
        let below = self.below();
        !below.is_empty() && below.iter().all(|pid| is_stopped(*pid))
    }

    /// Returns when none is stopped.
    pub(crate) async fn runs(&self) {
        until(async || {
            let below = self.below();
            (!below.is_empty() && !below.iter().any(|pid| is_stopped(*pid))).then_some(())
        })
        .await;
    }
}

pub(crate) fn is_stopped(pid: i32) -> bool {
    state(pid) == Some('T')
}

/// As `/proc` names it.
fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.chars().next()
}
