//! The fixed runs that every format is shown with.

use holdfast_core::event::{Event, FaultAction, JourneyEnd, StopCause, WorkerAccount};
use holdfast_core::experiment::{Metric, Phase};
use holdfast_core::outcome::{Reason, Source};

use crate::runs::{Answer, Building, Run, Sent};

const OK: (Option<u16>, Option<Reason>) = (Some(201), None);

fn user(ended: f64, took: f64, (status, failure): (Option<u16>, Option<Reason>)) -> Sent {
    Sent {
        source: Source::Users,
        ended,
        took,
        status,
        failure,
    }
}

fn probe(ended: f64, took: f64, outcome: (Option<u16>, Option<Reason>)) -> Sent {
    Sent {
        source: Source::Prober,
        ..user(ended, took, outcome)
    }
}

/// Ten seconds without a fault in which everything goes well.
pub(crate) fn clean_pass() -> Run {
    let mut run = Building::new("Orders under steady load", 5, 10);
    run.objective(Metric::Availability, &[], (Some(99.9), None));
    run.objective(Metric::P99, &[], (None, Some(2.0)));
    for index in 0..200 {
        let took = 0.010 + 0.030 * run.chance();
        run.request(user(0.05 * f64::from(index) + 0.04, took, OK), 10.0);
    }
    for index in 0..250 {
        run.request(probe(0.04 * f64::from(index) + 0.03, 0.012, OK), 10.0);
    }
    run.finish(10.0)
}

/// The seed's run: a minute, 100 users, a timeout that lies inside the dependency's normal
/// times, a breaker that comes and goes, and a dependency that is gone for a while.
pub(crate) fn failed() -> Run {
    let mut run = Building::new("Pay is slow, then gone", 100, 60);
    run.reference();
    run.objective(Metric::Availability, &[Phase::Fault], (Some(99.9), None));
    run.objective(Metric::P99, &[Phase::Fault], (None, Some(2.0)));
    run.objective(Metric::RecoveryTime, &[], (None, Some(5.0)));
    run.objective(Metric::SiegeAvailability, &[], (Some(60.0), None));
    run.fault("pay-gone", 20.4, Some(32.1));
    run.fault("pay-gone-again", 40.2, Some(44.7));
    for pod in ["app-6d9f7-k2x8p", "app-6d9f7-zq4mn"] {
        for (at, state) in [
            (-0.5, "closed"),
            (22.3, "open"),
            (27.4, "half_open"),
            (27.9, "open"),
            (33.0, "half_open"),
            (33.6, "closed"),
        ] {
            run.breaker(at, pod, state);
        }
    }
    for (at, ready, total) in [(-0.5, 2, 2), (20.6, 0, 0), (30.8, 0, 2), (32.0, 2, 2)] {
        run.endpoints(at, ready, total);
    }
    for index in 0..960 {
        let ended = f64::from(index) * 0.0645 + 0.03;
        let chance = run.chance();
        let slow = 4.0 + 1.5 * run.chance();
        let request = match (ended, chance) {
            (20.5..32.5, 0.0..0.45) => (slow, (Some(503), Some(Reason::BreakerOpen))),
            (20.5..32.5, 0.45..0.7) => (0.9, (Some(502), Some(Reason::DependencyUnreachable))),
            (40.3..45.0, 0.0..0.8) => (0.9, (Some(502), Some(Reason::DependencyUnreachable))),
            (_, 0.0..0.06) => (slow, (Some(500), Some(Reason::DependencyTimeout))),
            (_, 0.06..0.2) => (slow + 0.2, (Some(503), Some(Reason::BulkheadFull))),
            (_, 0.2..0.22) => (9.2, (None, Some(Reason::ResetBeforeHeaders))),
            (_, 0.22..0.24) => (0.02, (Some(429), Some(Reason::Status429))),
            (_, 0.24..0.25) => (1.3, (Some(302), Some(Reason::StatusOther))),
            (_, 0.25..0.26) => (5.0, (Some(500), Some(Reason::Status5xx))),
            (_, 0.26..0.265) => (0.004, (None, Some(Reason::ConnectRefused))),
            _ => (slow, OK),
        };
        run.request(user(ended, request.0, request.1), 59.78);
    }
    run.cut_off(58.0, 59.78, 3);
    run.dropped(Source::Prober, 31, 2);
    for index in 0..1500 {
        let ended = f64::from(index) * 0.04 + 0.02;
        let chance = run.chance();
        let outcome = match (ended, chance) {
            (20.5..32.5, 0.0..0.97) => (0.003, (Some(503), Some(Reason::BreakerOpen))),
            (40.3..45.0, _) => (0.004, (Some(502), Some(Reason::DependencyUnreachable))),
            (_, 0.0..0.3) => (2.0, (None, Some(Reason::HeaderTimeout))),
            _ => (0.55 + 0.5 * chance, OK),
        };
        run.request(probe(ended, outcome.0, outcome.1), 59.78);
    }
    run.finish(59.78)
}

/// A minute with twenty seconds in which nothing answers.
pub(crate) fn outage() -> Run {
    let mut run = Building::new("App is gone for twenty seconds", 20, 60);
    run.objective(Metric::ProberAvailability, &[], (Some(99.0), None));
    run.fault("app-gone", 20.0, Some(40.3));
    for (at, ready, total) in [(-0.5, 1, 1), (20.2, 0, 0), (38.9, 0, 1), (40.2, 1, 1)] {
        run.endpoints(at, ready, total);
    }
    for index in 0..960 {
        let ended = f64::from(index) * 0.0625 + 0.03;
        let took = 0.040 + 0.2 * run.chance().powi(6);
        match ended {
            20.0..40.3 if index % 4 == 0 => {
                let refused = (None, Some(Reason::ConnectRefused));
                run.request(user(ended, 0.002, refused), 60.0);
            }
            20.0..40.3 => {}
            _ => run.request(user(ended, took, OK), 60.0),
        }
    }
    for index in 0..1500 {
        let ended = f64::from(index) * 0.04 + 0.02;
        match ended {
            20.0..40.3 => {
                let refused = (None, Some(Reason::ConnectRefused));
                run.request(probe(ended, 0.001, refused), 60.0);
            }
            _ => run.request(probe(ended, 0.045, OK), 60.0),
        }
    }
    run.finish(60.0)
}

/// A run that ended before its first request because its fault could not be brought about.
pub(crate) fn aborted_at_once() -> Run {
    let mut run = Building::new("Nothing to break", 100, 60);
    run.objective(Metric::Availability, &[], (Some(99.9), None));
    run.plan_fault("pay-gone");
    let error = "deployment pay does not exist in namespace food-delivery".to_owned();
    run.apply(
        0.0,
        Event::FaultFailed {
            fault: "pay-gone".to_owned(),
            action: FaultAction::Inject,
            error: error.clone(),
        },
    );
    run.apply(0.1, Event::Stopped(StopCause::FaultFailed(error)));
    run.judged(Vec::new())
}

/// A run interrupted while a fault was in effect, which then could not be undone.
pub(crate) fn interrupted() -> Run {
    let mut run = Building::new("Interrupted | in <the> middle", 10, 60);
    run.objective(Metric::Availability, &[Phase::Fault], (Some(90.0), None));
    run.fault("pay-gone", 5.2, None);
    run.apply(
        8.3,
        Event::FaultFailed {
            fault: "pay-gone".to_owned(),
            action: FaultAction::Recover,
            error: "the API server did not answer within 10 s".to_owned(),
        },
    );
    run.apply(8.0, Event::Stopped(StopCause::Interrupted));
    for index in 0..160 {
        let ended = f64::from(index) * 0.05 + 0.2;
        let outcome = if ended > 5.3 {
            (Some(503), Some(Reason::BreakerOpen))
        } else {
            OK
        };
        run.request(user(ended, 0.15, outcome), 8.0);
    }
    run.finish(8.0)
}

/// Thirty seconds of arrivals from two workers, of which one is lost in the middle.
pub(crate) fn open_model() -> Run {
    let mut run = Building::new("Checkout at a rate of its own", 50, 30);
    run.open(20.0, 30);
    run.objective(Metric::Availability, &[], (Some(99.0), None));
    for index in 0..600 {
        let ended = 0.05 * f64::from(index) + 0.04;
        let took = 0.010 + 0.030 * run.chance();
        let (outcome, end) = if index % 50 == 7 {
            let refused = (Some(503), Some(Reason::Shed));
            (refused, JourneyEnd::Failed)
        } else {
            (OK, JourneyEnd::Completed)
        };
        run.request(user(ended - 0.02, took, OK), 30.0);
        run.request(user(ended, 0.01, outcome), 30.0);
        run.journey(ended, end, u64::from(index % 100 == 0));
    }
    run.dropped(Source::Users, 17, 12);
    run.account(|load| {
        load.sender_cpu_seconds = 0.9;
        load.starved_seconds = Some(0.12);
        load.throttled_seconds = 0.4;
        load.calibrated_rate = Some(23_456.7);
        load.workers = vec![
            WorkerAccount {
                index: 0,
                sent: 812,
                ..WorkerAccount::default()
            },
            WorkerAccount {
                index: 1,
                sent: 388,
                clock_offset: Some((0.0021, 0.0003)),
                lost: Some("its connection ended in second 19".to_owned()),
            },
        ];
    });
    run.finish(30.0)
}

/// A good minute's quick version, after which the data tells another story.
pub(crate) fn unsettled() -> Run {
    let mut run = Building::new("Orders are kept, payments are not", 5, 10);
    run.quick();
    run.objective(Metric::Availability, &[], (Some(99.9), None));
    for index in 0..200 {
        let took = 0.010 + 0.030 * run.chance();
        run.request(user(0.05 * f64::from(index) + 0.04, took, OK), 10.0);
    }
    run.invariant("orders", 3.5, Answer::Settled);
    run.invariant("payments", 0.0, Answer::Violated);
    run.invariant("deliveries", 20.0, Answer::Due);
    run.invariant("coupons", 20.0, Answer::Refused);
    run.finish(10.0)
}

/// Ten quick users of a busy generator who all hang for four of twenty seconds.
pub(crate) fn frozen() -> Run {
    let mut run = Building::new("The service freezes", 10, 20);
    for index in 0..16_000 {
        let ended = f64::from(index) * 0.001 + 0.001;
        let ended = if ended < 8.0 { ended } else { ended + 4.0 };
        run.request(user(ended, 0.0008, OK), 20.0);
    }
    for _ in 0..10 {
        run.request(user(12.0, 4.0, OK), 20.0);
    }
    run.account(|load| load.sender_cpu_seconds = 19.0);
    run.finish(20.0)
}
