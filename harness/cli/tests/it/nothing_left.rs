//! However a run ends, no process of it stays.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::holdfast::{eventually, processes_of, wait, workspace};
use crate::scenario::{Parts, Scenario};

fn long() -> Scenario {
    Scenario::new(&Parts {
        duration: "60s",
        ..Parts::default()
    })
}

fn pid(child: &std::process::Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

/// Waits until the run's journal has a line with `word`.
fn journal_has(scenario: &Scenario, word: &str) -> bool {
    let runs = std::fs::read_dir(scenario.reports().join("scenario"));
    runs.into_iter().flatten().flatten().any(|run| {
        let journal = std::fs::read_to_string(run.path().join("events.jsonl"));
        journal.is_ok_and(|text| text.contains(word))
    })
}

#[test]
fn sigkill_at_any_moment_leaves_no_process() {
    // Ten moments from the first instruction to the middle of the load. How far the run has come
    // by then differs from machine to machine: the promise holds at every point.
    for delay in [0, 30, 100, 200, 350, 500, 800, 1200, 2000, 3500] {
        let scenario = long();
        let mut child = scenario.run().spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        kill(pid(&child), Signal::SIGKILL).unwrap();
        child.wait().unwrap();
        eventually("no process is left after SIGKILL", || {
            processes_of(&scenario.marker).is_empty()
        });
    }
}

#[test]
fn sigkill_under_load_leaves_no_process() {
    let scenario = long();
    let mut child = scenario.run().spawn().unwrap();
    eventually("the load ticks", || journal_has(&scenario, "\"tick\""));
    assert!(
        processes_of(&scenario.marker).len() >= 3,
        "the tool, app and pay"
    );
    kill(pid(&child), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    eventually("no process is left after SIGKILL", || {
        processes_of(&scenario.marker).is_empty()
    });
}

#[test]
fn an_interrupt_under_load_reports_what_there_is() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let scenario = long();
        let child = scenario.run().spawn().unwrap();
        eventually("the load ticks", || journal_has(&scenario, "\"tick\""));
        kill(pid(&child), signal).unwrap();
        let finished = wait(child);
        assert_eq!(finished.status.code(), Some(code), "{}", finished.err);
        assert!(finished.err.contains("Transactions:"), "{}", finished.err);
        assert!(
            scenario
                .reports()
                .join("scenario/latest/report.html")
                .exists()
        );
        assert_eq!(processes_of(&scenario.marker), [""; 0]);
    }
}

#[test]
fn an_interrupt_during_a_fault_reverts_it() {
    let rest = "  method:
    - {name: pay-gone, at: 0s, duration: 50s, fault: {scale: {deployment: pay, replicas: 0}}}
  safety: {allow: [blastRadius]}
  steadyState: [{metric: availability, min: 1}]
";
    let scenario = Scenario::new(&Parts {
        duration: "60s",
        rest,
        ..Parts::default()
    });
    let child = scenario.run().spawn().unwrap();
    eventually("the fault is injected", || {
        journal_has(&scenario, "faultInjected")
    });
    kill(pid(&child), Signal::SIGINT).unwrap();
    let finished = wait(child);
    assert_eq!(finished.status.code(), Some(130), "{}", finished.err);
    assert!(journal_has(&scenario, "faultRecovered"), "{}", finished.err);
    assert!(journal_has(&scenario, "\"residue\":[]"), "{}", finished.err);
}

#[test]
fn an_interrupt_during_the_preparation_leaves_nothing() {
    for delay in [20, 150, 400] {
        let scenario = long();
        let child = scenario.run().spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        kill(pid(&child), Signal::SIGINT).unwrap();
        let finished = wait(child);
        // Before the handler is there, SIGINT ends the process as it ends any.
        let ended = finished.status.code();
        assert!(
            ended.is_none() || ended == Some(130),
            "{ended:?} {}",
            finished.err
        );
        eventually("no process is left", || {
            processes_of(&scenario.marker).is_empty()
        });
    }
}

/// A `cargo` that never ends and has a child, as a compiler at work.
fn endless_cargo(scenario: &Scenario) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let program = scenario.folder.path().join("cargo");
    let marker = &scenario.marker;
    let text = format!("#!/bin/sh\nHOLDFAST_TEST_MARKER={marker} sleep 600 &\nsleep 600\n");
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[test]
fn a_build_ends_with_the_tool() {
    for (signal, code) in [(Signal::SIGINT, Some(130)), (Signal::SIGKILL, None)] {
        let scenario = long();
        // As in the repository: packages that are to be built.
        let images = "k8s/images.yaml";
        let system = scenario.system.path();
        std::fs::copy(workspace().join(images), system.join(images)).unwrap();
        let mut command = scenario.run();
        let child = command
            .env("CARGO", endless_cargo(&scenario))
            .spawn()
            .unwrap();
        eventually("the compiler is at work", || {
            processes_of(&scenario.marker)
                .iter()
                .filter(|line| line.contains("sleep"))
                .count()
                == 2
        });
        kill(pid(&child), signal).unwrap();
        assert_eq!(wait(child).status.code(), code);
        eventually("no process is left", || {
            processes_of(&scenario.marker).is_empty()
        });
        assert!(!scenario.reports().join("scenario").exists() || code.is_none());
    }
}
