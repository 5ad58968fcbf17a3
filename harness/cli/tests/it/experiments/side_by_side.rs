//! Experiments that mostly wait: two at a time.

use test_servers::broker_program;

use super::{Run, better, quick, quick_of, serves};
use crate::holdfast::a_share_of_the_machine;
use crate::system::System;

/// throttle-pay with a delay that is too long, and app as the only one that meets the proxy.
fn throttle_app() -> Run {
    let system = System::new();
    let folder = system.path().join("experiments");
    let mut text = std::fs::read_to_string(folder.join("throttle-pay.yaml")).unwrap();
    for (from, to) in [
        ("name: throttle-pay", "name: throttle-app"),
        (
            "service: pay,",
            "service: pay, from: {deployment: app, env: PAY_URL},",
        ),
    ] {
        assert!(text.contains(from), "{text}");
        text = text.replace(from, to);
    }
    std::fs::write(folder.join("throttle-app.yaml"), text).unwrap();
    quick_of(&system, "throttle-app", &["delay=900ms"])
}

#[test]
fn orders_are_refused_while_pay_is_gone() {
    let _share = a_share_of_the_machine();
    let run = serves("pay-down", 40.0);
    // Almost half of the run is the outage.
    assert!(run.availability() < 80.0, "{}", run.availability());
}

#[test]
fn orders_are_served_while_pay_is_slow_but_not_too_slow() {
    let _share = a_share_of_the_machine();
    let slow = serves("throttle-pay", 90.0);
    let too_slow = quick("throttle-pay", &["delay=900ms"]);
    better(&slow, &too_slow, 8.0);
    better(&slow, &throttle_app(), 8.0);
}

#[test]
fn a_service_that_stands_still_is_started_anew_only_with_a_liveness_probe() {
    let _share = a_share_of_the_machine();
    let with = serves("liveness-self-healing", 70.0);
    let without = quick("liveness-self-healing", &["failures=1000"]);
    assert_eq!(with.ready_until_undone("pay").last(), Some(&2));
    assert_eq!(without.ready_until_undone("pay").last(), Some(&1));
}

#[test]
fn a_gateway_lets_each_client_have_its_share() {
    let _share = a_share_of_the_machine();
    let run = serves("rate-limit", 20.0);
    assert!(run.availability() < 60.0, "{}", run.availability());
}

#[test]
fn orders_come_and_are_read_back() {
    let _share = a_share_of_the_machine();
    serves("arrivals", 70.0);
    serves("order-journey", 95.0);
}

#[test]
fn nothing_is_lost_or_done_twice_when_what_hears_of_orders_is_gone() {
    let _share = a_share_of_the_machine();
    if broker_program().is_some() {
        // Customers read their orders' status: with a store it would not stay what it is.
        let run = serves("store-down", 98.0);
        assert!(run.ready_until_undone("store").contains(&0));
        let run = serves("supporting-services-down", 98.0);
        for service in ["customer", "marketing"] {
            assert!(run.ready_until_undone(service).contains(&0), "{service}");
        }
    }
}

#[test]
fn nothing_is_lost_or_done_twice_when_the_broker_is_gone_or_shared_by_more() {
    let _share = a_share_of_the_machine();
    if broker_program().is_some() {
        let run = serves("consumer-scale-out", 98.0);
        assert!(run.ready_until_undone("store").contains(&3));
        let run = serves("broker-outage", 98.0);
        assert!(run.ready_until_undone("broker").contains(&0));
    }
}
