//! Experiments that make a service busy or hold it against a clock: each has the machine for itself.

use test_servers::broker_program;

use super::{better, carry_out, quick, serves};
use crate::holdfast::{the_machine, tool};
use crate::system::System;

#[test]
fn a_readiness_probe_saves_a_rolling_update() {
    let _machine = the_machine();
    let with = serves("rolling-update-with-readiness", 98.0);
    let without = serves("rolling-update-without-readiness", 40.0);
    let unprepared = serves("prestop-missing", 80.0);
    better(&with, &without, 8.0);
    better(&unprepared, &without, 4.0);
    // That an old pod leaves, the proxy hears up to a second after that the new one is ready.
    let (with, unprepared) = (with.found_nobody(), unprepared.found_nobody());
    assert!(unprepared >= with + 3, "{unprepared} against {with}");
    // By new pods that do not listen yet, and at the addresses of old ones.
    assert!(without.failed("connectRefused") > 0 && without.failed("connectTimeout") > 0);
}

#[test]
fn a_circuit_breaker_helps_in_a_steady_overload_and_an_autoscaler_ends_it() {
    let _machine = the_machine();
    let with = serves("circuit-breaker-paced", 40.0);
    let without = quick("circuit-breaker-paced", &["breaker=off"]);
    better(&with, &without, 5.0);
    let states = with.circuit();
    let opened = states.iter().position(|state| *state == "open");
    let after = &states[opened.expect("it opens")..];
    assert!(after.contains(&"closed"), "{states:?}");

    let scaled = serves("autoscale-pay", 40.0);
    better(&scaled, &with, 2.0);
    // The autoscaler may make four times as many of few at once.
    let ready = scaled.ready_until_undone("pay");
    assert!(ready.last() >= Some(&4), "{ready:?}");
    // It is the load that it follows: where there is almost none, one is enough.
    let idle = carry_out(&System::new(), "autoscale-pay", &["rate=0.5/s", "least=10"]);
    idle.was_carried_out();
    let ready = idle.ready_until_undone("pay");
    assert!(ready.iter().all(|pods| *pods == 1), "{ready:?}");
}

#[test]
fn one_more_try_helps_in_front_of_a_busy_circuit_breaker() {
    let _machine = the_machine();
    serves("circuit-breaker", 20.0);
    let with = serves("circuit-breaker-with-retry", 30.0);
    let without = quick("circuit-breaker-with-retry", &["retries=0"]);
    better(&with, &without, 3.0);
}

#[test]
fn orders_are_refused_while_the_database_of_pay_is_away_and_served_soon_after() {
    let _machine = the_machine();
    if tool("mariadbd").is_some() && broker_program().is_some() {
        let run = serves("database-outage", 60.0);
        // Its objectives leave room: refused in the outage, served 15 s after it at the latest.
        let verdict = &run.result["verdict"];
        assert_eq!(verdict["outcome"], "passed", "{verdict}");
    }
}
