//! Runs in a cluster that is there already: what they leave, and how they are ended from outside.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::agent::processes;
use crate::holdfast::{Finished, ended_with, eventually, finish, holdfast, processes_of, wait};
use crate::scenario::{Parts, Scenario};
use crate::standing::{CONTEXT, LONG, NAMESPACE, Standing, pid};

fn code(finished: &Finished) -> i32 {
    finished.status.code().unwrap_or_default()
}

/// The first reason for which a run, which prints its result, proves nothing.
fn inconclusive_for(finished: &Finished) -> String {
    assert_eq!(code(finished), 3, "{}", finished.err);
    let result: Value = serde_json::from_str(&finished.out).unwrap();
    result["verdict"]["reasons"][0].as_str().unwrap().to_owned()
}

/// Every object that a plan could touch, with its version.
fn versions(standing: &Standing) -> String {
    let versions = "jsonpath={range .items[*]}{.kind} {.metadata.name} \
                    {.metadata.resourceVersion}{\"\\n\"}{end}";
    let inside = "deployments,replicasets,pods,services,configmaps,leases,events";
    let outside = "namespaces,nodes,customresourcedefinitions";
    let inside = standing.kubectl(&["-n", NAMESPACE, "get", inside, "-o", versions]);
    inside + &standing.kubectl(&["get", outside, "-o", versions])
}

#[test]
fn a_plan_names_the_pods_and_touches_nothing() {
    let Some(standing) = Standing::start() else {
        return;
    };
    standing.bring_up();
    let before = versions(&standing);
    let plan = ["plan", "running.yaml", "--context", CONTEXT, "--json"];
    let planned = finish(&mut standing.holdfast(&plan));
    assert_eq!(code(&planned), 0, "{}", planned.err);
    assert_eq!(versions(&standing), before);

    let plan: Value = serde_json::from_str(&planned.out).unwrap();
    let fault = &plan["faults"][0];
    let target = &fault["targets"][0];
    let names = "jsonpath={.items[*].metadata.name}";
    let pods = standing.kubectl(&["-n", NAMESPACE, "get", "pods", "-o", names]);
    let pods: Vec<&str> = pods.split(' ').collect();
    assert_eq!(target["readyPods"], serde_json::json!(pods));
    assert_eq!(target["minimumReady"], 1);
    assert_eq!(fault["undo"][0], "deployment web: spec.replicas to 2");
    assert_eq!(plan["permissions"][0]["metadata"]["namespace"], NAMESPACE);
}

#[test]
fn a_plan_names_what_stop_conditions_read() {
    let Some(standing) = Standing::start() else {
        return;
    };
    standing.bring_up();
    let text = std::fs::read_to_string(standing.file("running.yaml")).unwrap();
    let stop = "  safety: {stopConditions: [{k8sCondition: {kind: Node, name: a, type: Ready}, every: 1s}]}\n";
    std::fs::write(standing.file("stopping.yaml"), text + stop).unwrap();
    let plan = ["plan", "stopping.yaml", "--context", CONTEXT, "--json"];
    let planned = finish(&mut standing.holdfast(&plan));
    assert_eq!(code(&planned), 0, "{}", planned.err);
    let plan: Value = serde_json::from_str(&planned.out).unwrap();
    let mut rules = plan["permissions"][2]["rules"].as_array().unwrap().iter();
    let nodes = rules.find(|rule| rule["resources"][0] == "nodes").unwrap();
    assert_eq!(nodes["verbs"], serde_json::json!(["get"]));
}

#[test]
fn a_plan_says_what_is_not_permitted() {
    let Some(standing) = Standing::start() else {
        return;
    };
    standing.bring_up();
    let plan = ["plan", "running.yaml", "--context", CONTEXT];
    let planned = finish(standing.holdfast(&plan).args(["--set", "replicas=0"]));
    assert_eq!(code(&planned), 2, "{}", planned.err);
    assert!(planned.out.contains("allow: [blastRadius]"), "{planned:?}");
}

#[test]
fn faults_that_together_take_too_much_are_refused_before_anything_begins() {
    let Some(standing) = Standing::start() else {
        return;
    };
    standing.bring_up();
    let text = std::fs::read_to_string(standing.file("running.yaml")).unwrap();
    let second = "    - {name: kill, at: 1s, fault: {podKill: {deployment: web, count: 1}}}\n";
    let text = text.replace("  steadyState:", &format!("{second}  steadyState:"));
    std::fs::write(standing.file("together.yaml"), text).unwrap();
    let words =
        "the fault leaves 0 of 2 ready pods of deployment web together with the fault fewer;";
    let plan = ["plan", "together.yaml", "--context", CONTEXT, "--json"];
    let planned = finish(&mut standing.holdfast(&plan));
    assert_eq!(code(&planned), 2, "{}", planned.err);
    let plan: Value = serde_json::from_str(&planned.out).unwrap();
    assert_eq!(plan["faults"][0]["refused"], Value::Null);
    let refused = plan["faults"][1]["refused"].as_str().unwrap();
    assert!(refused.starts_with(words), "{refused}");
    let run = ["run", "together.yaml", "--context", CONTEXT];
    let run = finish(&mut standing.holdfast(&run));
    assert_eq!(code(&run), 2, "{}", run.err);
    assert!(run.err.contains(words), "{}", run.err);
}

#[test]
fn the_node_of_holdfast_is_spared_where_there_is_another_one() {
    let Some(standing) = Standing::start() else {
        return;
    };
    standing.bring_up();
    let pressure = "cpuPressure: {deployment: web, workers: 1, load: 10}";
    standing.write_running("pressed.yaml", pressure);
    let plan = ["plan", "pressed.yaml", "--context", CONTEXT];
    let planned = || finish(standing.holdfast(&plan).env("HOLDFAST_NODE", "local"));
    let alone = planned();
    assert_eq!(code(&alone), 0, "{alone:?}");
    let other = "apiVersion: v1\nkind: Node\nmetadata: {name: other}\n";
    std::fs::write(standing.file("node.yaml"), other).unwrap();
    standing.kubectl(&["create", "-f", "node.yaml"]);
    let refused = planned();
    assert_eq!(code(&refused), 2, "{refused:?}");
    let words = "the fault would harm node local";
    assert!(refused.out.contains(words), "{refused:?}");
    let from_outside = finish(&mut standing.holdfast(&plan));
    assert_eq!(code(&from_outside), 0, "{from_outside:?}");
}

#[test]
fn the_namespace_of_holdfast_is_spared() {
    let Some(standing) = Standing::start() else {
        return;
    };
    standing.bring_up();
    let plan = ["plan", "running.yaml", "--context", CONTEXT];
    let refused = finish(
        standing
            .holdfast(&plan)
            .env("HOLDFAST_NAMESPACE", NAMESPACE),
    );
    assert_eq!(code(&refused), 2, "{refused:?}");
    let words = format!("nothing is broken in namespace {NAMESPACE}: Holdfast itself runs there");
    assert!(refused.out.contains(&words), "{refused:?}");
}

#[test]
fn a_fault_that_changes_nothing_is_refused() {
    let Some(standing) = Standing::start() else {
        return;
    };
    standing.bring_up();
    let same = ["--set", "replicas=2"];
    let refused = finish(&mut standing.run("running.yaml", &same));
    assert_eq!(code(&refused), 2, "{}", refused.err);
    let words = "the fault changes nothing: in deployment web, spec.replicas is 2 already";
    assert!(refused.err.contains(words), "{}", refused.err);
    assert!(standing.is_as_before());
}

#[test]
fn a_run_removes_what_it_has_applied_and_nothing_else() {
    let Some(standing) = Standing::start() else {
        return;
    };
    let finished = finish(&mut standing.run("tiny.yaml", &["--cluster", CONTEXT, "--yes"]));
    ended_with(&finished, 0);
    let announced = format!("tiny on cluster {CONTEXT} (http");
    assert!(finished.err.starts_with(&announced), "{}", finished.err);
    let fault = "  fewer: scale deployment web to 1";
    assert!(finished.err.contains(fault), "{}", finished.err);
    assert!(standing.has_no_system());
    assert_eq!(processes_of(&standing.marker), [""; 0]);

    // What somebody else has brought up is neither changed nor removed.
    standing.bring_up();
    let refused = finish(&mut standing.run("tiny.yaml", &[]));
    assert_eq!(code(&refused), 2, "{}", refused.err);
    let names = "service tiny/web, deployment tiny/web";
    assert!(refused.err.contains(names), "{}", refused.err);
    assert!(standing.is_as_before());

    let finished = finish(&mut standing.run("running.yaml", &[]));
    ended_with(&finished, 0);
    eventually("leases are given up", || standing.is_as_before());
}

#[test]
fn another_cluster_than_the_one_that_was_meant_is_refused() {
    let Some(standing) = Standing::start() else {
        return;
    };
    let refused = finish(&mut standing.run("tiny.yaml", &["--cluster", "production"]));
    assert_eq!(code(&refused), 2, "{}", refused.err);
    let path = "jsonpath={.metadata.uid}";
    let uid = standing.kubectl(&["get", "namespace", "kube-system", "-o", path]);
    assert!(refused.err.contains(&uid), "{}", refused.err);
    assert!(standing.has_no_system());

    let text = std::fs::read_to_string(standing.file("tiny.yaml")).unwrap();
    let lock = "  safety: {cluster: {context: production}}\n";
    std::fs::write(standing.file("locked.yaml"), text + lock).unwrap();
    let refused = finish(&mut standing.run("locked.yaml", &[]));
    assert_eq!(code(&refused), 2, "{}", refused.err);
    assert!(refused.err.contains("safety.cluster"), "{}", refused.err);
    assert!(standing.has_no_system());
}

#[test]
fn sigkill_during_a_fault_leaves_nothing() {
    let Some(standing) = Standing::start() else {
        return;
    };
    let mut child = standing.run("tiny.yaml", &LONG).spawn().unwrap();
    standing.until_injected();
    assert_eq!(standing.replicas(), "1");
    kill(pid(&child), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    eventually("the janitor removes the system", || {
        standing.has_no_system()
    });
    eventually("the janitor ends", || {
        processes_of(&standing.marker).is_empty()
    });
}

#[test]
fn sigkill_during_a_fault_puts_back_what_was_there_before() {
    let Some(standing) = Standing::start() else {
        return;
    };
    standing.bring_up();
    let mut child = standing.run("running.yaml", &LONG).spawn().unwrap();
    standing.until_injected();
    kill(pid(&child), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    eventually("the janitor ends", || {
        processes_of(&standing.marker).is_empty()
    });
    assert!(standing.is_as_before(), "{:?}", standing.phases());
}

#[test]
fn a_run_that_leaves_something_changed_leaves_its_janitor_at_work() {
    let Some(standing) = Standing::start() else {
        return;
    };
    standing.bring_up();
    let run = standing
        .run("running.yaml", &["--set", "hold=6s", "--set", "length=16s"])
        .spawn();
    standing.until_injected();
    eventually("the fault is undone", || standing.phases().is_empty());
    standing.kubectl(&["-n", NAMESPACE, "scale", "deployment/web", "--replicas=3"]);
    // The janitor writes where the run does, so this waits for both.
    let finished = wait(run.unwrap());
    assert_eq!(code(&finished), 5, "{}", finished.err);
    let at_work = "has not put everything back; undoing what is left in namespace tiny";
    assert!(finished.err.contains(at_work), "{}", finished.err);
    let done = "is left, and nothing that it has applied";
    assert!(finished.err.contains(done), "{}", finished.err);
}

#[test]
fn halt_ends_a_run_and_resume_permits_the_next() {
    let Some(standing) = Standing::start() else {
        return;
    };
    standing.bring_up();
    let child = standing.run("running.yaml", &LONG).spawn().unwrap();
    standing.until_injected();
    let halt = finish(&mut standing.holdfast(&["halt", "--reason", "the shop is on fire"]));
    assert_eq!(code(&halt), 0, "{}", halt.err);
    let halted = wait(child);
    assert_eq!(code(&halted), 4, "{}", halted.err);
    assert!(halted.err.contains("the shop is on fire"), "{}", halted.err);
    assert_eq!(standing.replicas(), "2");

    let refused = finish(&mut standing.run("running.yaml", &[]));
    assert_eq!(code(&refused), 4, "{}", refused.err);
    assert!(refused.err.contains("holdfast resume"), "{}", refused.err);
    let status = finish(&mut standing.holdfast(&["status"]));
    assert!(status.out.contains("the shop is on fire"), "{status:?}");

    let resume = finish(&mut standing.holdfast(&["resume"]));
    assert_eq!(code(&resume), 0, "{}", resume.err);
    let finished = finish(&mut standing.run("running.yaml", &[]));
    ended_with(&finished, 0);
}

#[test]
fn a_run_that_hangs_is_undone_and_proves_nothing_when_it_goes_on() {
    let Some(standing) = Standing::start() else {
        return;
    };
    standing.bring_up();
    let held = ["--json", "--set", "hold=30s", "--set", "length=32s"];
    let child = standing.run("running.yaml", &held).spawn().unwrap();
    standing.until_injected();
    kill(pid(&child), Signal::SIGSTOP).unwrap();
    // Well before its notAfter: the lease is no longer renewed.
    eventually("the janitor undoes the fault", || {
        standing.phases() == ["Reverted"]
    });
    assert_eq!(standing.replicas(), "2");
    kill(pid(&child), Signal::SIGCONT).unwrap();
    let finished = wait(child);
    let why = "the fault fewer ended early: the run that wanted it is gone";
    assert_eq!(inconclusive_for(&finished), why);
    eventually("nothing is left", || {
        standing.is_as_before() && processes_of(&standing.marker).is_empty()
    });
}

#[test]
fn a_frozen_pod_that_goes_on_by_itself_proves_nothing() {
    let Some(standing) = Standing::start() else {
        return;
    };
    standing.bring_up();
    standing.write_running("frozen.yaml", "podFreeze: {deployment: web, count: 1}");
    let held = ["--json", "--set", "hold=10s", "--set", "length=12s"];
    let child = standing.run("frozen.yaml", &held).spawn().unwrap();
    standing.until_injected();
    let agent = ["-l", "app.kubernetes.io/name=holdfast-agent"];
    let path = ["-o", "jsonpath={.items[0].metadata.uid}"];
    let uid = [&["-n", NAMESPACE, "get", "pods"], &agent[..], &path[..]].concat();
    let agent = processes(&standing.kubectl(&uid), "agent freeze");
    assert_eq!(agent.len(), 1, "its watcher is another one");
    kill(Pid::from_raw(agent[0]), Signal::SIGKILL).unwrap();
    let finished = wait(child);
    let reason = inconclusive_for(&finished);
    let why = "the fault fault-0 ended early: pod holdfast-";
    assert!(reason.starts_with(why), "{reason}");
    assert!(reason.ends_with(" has ended"), "{reason}");
    eventually("leases are given up", || standing.is_as_before());
}

#[test]
fn a_living_run_whose_fault_is_recovered_proves_nothing() {
    let Some(standing) = Standing::start() else {
        return;
    };
    standing.bring_up();
    let held = ["--json", "--set", "hold=10s", "--set", "length=12s"];
    let child = standing.run("running.yaml", &held).spawn().unwrap();
    standing.until_injected();
    let recovered = finish(&mut standing.holdfast(&["recover", "--all"]));
    assert_eq!(code(&recovered), 0, "{}", recovered.err);
    assert_eq!(standing.replicas(), "2");
    let finished = wait(child);
    let reason = inconclusive_for(&finished);
    let why = "the fault fewer ended early: somebody else has deleted faultinjection ";
    assert!(reason.starts_with(why), "{reason}");
    eventually("leases are given up", || standing.is_as_before());
}

#[test]
fn recover_undoes_what_a_dead_run_has_left_and_leaves_living_ones_alone() {
    let Some(standing) = Standing::start() else {
        return;
    };
    standing.bring_up();
    let mut child = standing.run("running.yaml", &LONG).spawn().unwrap();
    standing.until_injected();
    let alive = finish(&mut standing.holdfast(&["recover"]));
    assert_eq!(code(&alive), 0, "{}", alive.err);
    assert!(alive.err.contains("which is alive"), "{}", alive.err);
    assert_eq!(standing.phases(), ["Injected"]);

    // The janitor first: as if the machine had died.
    let processes = processes_of(&standing.marker);
    let janitor = processes.iter().find(|line| line.contains(" janitor "));
    let janitor = janitor.unwrap().split(' ').next().unwrap();
    let janitor = Pid::from_raw(janitor.parse().unwrap());
    kill(janitor, Signal::SIGKILL).unwrap();
    kill(pid(&child), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    let status = finish(&mut standing.holdfast(&["status", "--json"]));
    let status: Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!(status["faults"][0]["phase"], "Injected");
    assert_eq!(standing.replicas(), "1");

    let recovered = finish(&mut standing.holdfast(&["recover", "-n", NAMESPACE]));
    assert_eq!(code(&recovered), 0, "{}", recovered.err);
    let evidence = "reverted: deployment web put back: spec.replicas is 2 again";
    assert!(recovered.err.contains(evidence), "{}", recovered.err);
    eventually("leases are given up", || standing.is_as_before());
}

#[test]
fn a_plan_for_a_cluster_that_does_not_answer_is_no_mistake_of_the_experiment() {
    let scenario = Scenario::new(&Parts {
        rest: "  method:
    - {name: outage, at: 1s, duration: 1s, fault: {scale: {deployment: app, replicas: 1}}}
",
        ..Parts::default()
    });
    let kubeconfig = scenario.folder.path().join("kubeconfig");
    // Nobody listens there.
    let text = "apiVersion: v1
kind: Config
clusters: [{name: gone, cluster: {server: 'http://127.0.0.1:1'}}]
users: [{name: gone, user: {}}]
contexts: [{name: gone, context: {cluster: gone, user: gone}}]
";
    fs::write(&kubeconfig, text).unwrap();
    let mut plan = holdfast("none");
    plan.args(["plan", "scenario.yaml", "--context", "gone"]);
    plan.current_dir(scenario.folder.path());
    let planned = finish(plan.env("KUBECONFIG", &kubeconfig));
    assert_eq!(planned.status.code(), Some(3), "{}", planned.err);
    let words = "cannot read namespace food-delivery";
    assert!(planned.err.contains(words), "{}", planned.err);
    assert!(planned.err.contains("onnection refused"), "{}", planned.err);
}
