//! Figures of runs that are told second by second.

use holdfast_core::event::{Event, JourneyEnd, Tick};
use holdfast_core::experiment::{Arrivals, Model, Phase, Spacing};
use holdfast_core::outcome::{Hop, Reason, Sample, Source};
use holdfast_core::record::Record;
use holdfast_core::summary::{Measured, Summary, summarize};

use crate::run::{OUTAGE, Story, eventful, failed, ok, plan_with, secs};

/// A run of a minute with a fault, in which the seconds of `refused` fail.
fn outage(injected: f64, recovered: f64, refused: std::ops::Range<u32>) -> Summary {
    let mut story = Story::new(plan_with(OUTAGE));
    let refusal = failed(1, None, Reason::ConnectRefused);
    story.minute(|second| {
        if refused.contains(&second) {
            refusal.clone()
        } else {
            ok(100)
        }
    });
    story.fault(injected, Some(recovered));
    story.end();
    summarize(&story.record())
}

fn spans(summary: &Summary) -> Vec<(Phase, f64, f64, u64)> {
    let windows = summary.windows.iter();
    windows
        .map(|window| {
            (
                window.phase,
                window.start,
                window.end,
                window.users.requests,
            )
        })
        .collect()
}

#[test]
fn without_a_fault_the_whole_run_is_baseline() {
    let mut story = Story::new(plan_with(""));
    story.minute(|_| ok(100));
    story.end();
    let summary = summarize(&story.record());
    assert_eq!(spans(&summary), [(Phase::Baseline, 0.0, 60.0, 600)]);
    assert_eq!((summary.recovery_time, summary.recovered), (None, None));
    assert_eq!(summary.users.availability, Some(100.0));
    assert_eq!(summary.users.goodput, Some(10.0));
}

#[test]
fn windows_are_cut_at_the_observed_times_and_not_at_the_planned_ones() {
    // Planned: 20 to 40. A second that touches the fault at all is the fault's.
    let summary = outage(21.2, 43.9, 21..46);
    assert_eq!(
        spans(&summary),
        [
            (Phase::Baseline, 0.0, 21.0, 210),
            (Phase::Fault, 21.0, 44.0, 230),
            (Phase::Recovery, 44.0, 46.0, 20),
            (Phase::After, 46.0, 60.0, 140),
        ]
    );
    let fault = &summary.windows[1];
    assert_eq!(fault.users.availability, Some(0.0));
    assert_eq!(fault.users.goodput, Some(0.0));
    assert_eq!(fault.users.latency_expected.p99, None);
    assert_eq!(summary.windows[3].users.availability, Some(100.0));
    assert_eq!(summary.recovered, Some(true));
    let recovery = summary.recovery_time.unwrap();
    assert!((recovery - 2.1).abs() < 1e-9, "{recovery}");
    assert_eq!(summary.failed_seconds, 25);
}

#[test]
fn a_fault_that_begins_and_ends_on_whole_seconds_owns_the_second_it_ends_in() {
    let summary = outage(20.0, 40.0, 20..40);
    assert_eq!(
        spans(&summary),
        [
            (Phase::Baseline, 0.0, 20.0, 200),
            (Phase::Fault, 20.0, 41.0, 210),
            (Phase::After, 41.0, 60.0, 190),
        ]
    );
    assert_eq!(summary.recovery_time, Some(0.0));
}

#[test]
fn seconds_in_which_a_fault_was_being_injected_are_no_baseline() {
    let mut story = Story::new(plan_with(OUTAGE));
    story.minute(|_| ok(100));
    story.slow_fault(20.3, 23.6, Some(40.5));
    story.end();
    let mut record = story.record();
    assert_eq!(record.faults[0].begun, Some(secs(22.8)));
    let baseline = |record: &Record| spans(&summarize(record))[0];
    assert_eq!(baseline(&record), (Phase::Baseline, 0.0, 20.0, 200));

    // An older record does not say when the injection began.
    let mut json = serde_json::to_value(&record).unwrap();
    json["faults"][0].as_object_mut().unwrap().remove("begun");
    record = serde_json::from_value(json).unwrap();
    assert_eq!(record.faults[0].begun, None);
    assert_eq!(baseline(&record), (Phase::Baseline, 0.0, 23.0, 230));
}

#[test]
fn two_good_seconds_are_not_steady_service() {
    let mut story = Story::new(plan_with(OUTAGE));
    // Good are 41, 42 and then everything from 44 on.
    let refusal = failed(1, None, Reason::ConnectRefused);
    story.minute(|second| match second {
        20..=40 | 43 => refusal.clone(),
        _ => ok(100),
    });
    story.fault(20.5, Some(40.5));
    story.end();
    let summary = summarize(&story.record());
    assert_eq!(summary.recovery_time, Some(3.5));
    assert_eq!(spans(&summary)[2], (Phase::Recovery, 41.0, 44.0, 30));
}

#[test]
fn what_follows_the_steady_moment_is_after_even_if_it_fails() {
    let mut story = Story::new(plan_with(OUTAGE));
    let refusal = failed(1, None, Reason::ConnectRefused);
    story.minute(|second| match second {
        50.. => refusal.clone(),
        _ => ok(100),
    });
    story.fault(20.5, Some(40.5));
    story.end();
    let summary = summarize(&story.record());
    assert_eq!(summary.recovery_time, Some(0.0));
    let after = summary.windows.last().unwrap();
    assert_eq!((after.phase, after.start), (Phase::After, 41.0));
    assert_eq!(after.users.expected, 90);
    assert_eq!(after.users.requests, 190);
}

#[test]
fn a_failure_of_the_prober_alone_is_not_steady_service() {
    let mut story = Story::new(plan_with(OUTAGE));
    for second in 0..60 {
        story.second(Source::Users, second, &ok(100));
        let refusal = failed(1, None, Reason::ConnectRefused);
        let probe = if second == 41 { refusal } else { ok(50) };
        story.second(Source::Prober, second, &probe);
    }
    story.fault(20.5, Some(40.5));
    story.end();
    assert_eq!(summarize(&story.record()).recovery_time, Some(1.5));
}

#[test]
fn a_service_that_does_not_come_back_has_not_recovered() {
    let summary = outage(20.5, 40.5, 21..60);
    assert_eq!(
        (summary.recovery_time, summary.recovered),
        (None, Some(false))
    );
    assert_eq!(summary.windows.last().unwrap().phase, Phase::Recovery);
}

#[test]
fn silence_is_not_steady_service() {
    let mut story = Story::new(plan_with(OUTAGE));
    for second in (0..41).chain(50..60) {
        story.second(Source::Users, second, &ok(100));
    }
    story.fault(20.5, Some(40.5));
    story.end();
    assert_eq!(summarize(&story.record()).recovery_time, Some(9.5));
}

#[test]
fn a_fault_that_was_never_reverted_lasts_to_the_end() {
    let mut story = Story::new(plan_with(OUTAGE));
    story.minute(|_| ok(100));
    story.fault(30.0, None);
    story.end();
    let summary = summarize(&story.record());
    let last = summary.windows.last().unwrap();
    assert_eq!((last.phase, last.end), (Phase::Fault, 60.0));
    assert_eq!(summary.recovered, Some(false));
}

#[test]
fn the_drain_counts_for_strict_availability_and_not_for_siege() {
    let mut story = Story::new(plan_with(""));
    story.load.elapsed = secs(2.0);
    story.load.cut_off = [(Source::Users, 3)].into();
    let late = failed(5000, None, Reason::HeaderTimeout);
    story.tick(Source::Users, 0, false, &[(10, &ok(100))]);
    story.tick(Source::Users, 1, false, &[(5, &ok(100))]);
    let mut tick = Tick::new(Source::Users, 1, false);
    tick.sent = 5;
    tick.scheduled = 5;
    story.tell(4.5, Event::Tick(Box::new(tick)));
    story.tick(Source::Users, 2, true, &[(1, &ok(100)), (1, &late)]);
    story.end();
    let summary = summarize(&story.record());
    assert_eq!((summary.siege.transactions, summary.siege.failed), (15, 0));
    assert_eq!(summary.siege.availability, 100.0);
    assert_eq!(summary.users.requests, 20);
    assert_eq!(summary.users.expected, 16);
    assert_eq!(summary.users.cut_off, 3);
    assert_eq!(summary.users.availability, Some(80.0));
    // Answers of the drain are no service of the load's two seconds.
    assert_eq!(summary.users.goodput, Some(7.5));
    assert_eq!(summary.windows.len(), 1);
    assert_eq!(summary.windows[0].users, summary.users);
    assert!(summary.accounting.holds, "{:?}", summary.accounting);
    assert_eq!(summary.accounting.drained, 2);
}

#[test]
fn windows_that_lie_in_the_drain_have_requests_and_no_length() {
    let mut story = Story::new(plan_with(OUTAGE));
    story.minute(|_| ok(100));
    let late = failed(3000, None, Reason::HeaderTimeout);
    story.tick(Source::Users, 60, true, &[(1, &late)]);
    story.tick(Source::Users, 62, true, &[(2, &late)]);
    story.fault(30.0, Some(60.5));
    story.end();
    let summary = summarize(&story.record());
    assert_eq!(
        spans(&summary),
        [
            (Phase::Baseline, 0.0, 30.0, 300),
            (Phase::Fault, 30.0, 60.0, 301),
            (Phase::Recovery, 60.0, 60.0, 2),
        ]
    );
    assert_eq!(summary.windows[2].users.goodput, None);
    assert_eq!(summary.recovered, Some(false));
}

#[test]
fn windows_add_up_to_the_whole_run() {
    let summary = outage(21.2, 43.9, 21..46);
    let sum = |count: fn(&Measured) -> u64| -> u64 {
        summary
            .windows
            .iter()
            .map(|window| count(&window.users))
            .sum()
    };
    assert_eq!(sum(|users| users.requests), summary.users.requests);
    assert_eq!(sum(|users| users.expected), summary.users.expected);
    let seconds: f64 = summary
        .windows
        .iter()
        .map(|window| window.users.seconds)
        .sum();
    assert_eq!(seconds, summary.users.seconds);
}

#[test]
fn failures_of_the_generator_lower_no_availability_and_void_the_run() {
    let mut story = Story::new(plan_with(""));
    let no_port = failed(0, None, Reason::NoPort);
    story.tick(Source::Users, 0, false, &[(10, &ok(100)), (5, &no_port)]);
    story.end();
    let summary = summarize(&story.record());
    assert_eq!(summary.users.requests, 10);
    assert_eq!(summary.users.availability, Some(100.0));
    assert_eq!(summary.users.unexpected[&Reason::NoPort], 5);
    assert_eq!(summary.self_check.client_side_failures, 5);
    assert!(!summary.self_check.valid);
    assert!(summary.accounting.holds);
}

#[test]
fn errors_of_two_sources_do_not_cancel_each_other_out() {
    let mut story = Story::new(plan_with(""));
    for (source, sent) in [(Source::Users, 9), (Source::Prober, 11)] {
        let mut tick = Tick::new(source, 0, false);
        (0..10).for_each(|_| tick.count(&ok(100)));
        tick.sent = sent;
        tick.scheduled = sent;
        story.tell(3.5, Event::Tick(Box::new(tick)));
    }
    story.end();
    let accounting = summarize(&story.record()).accounting;
    assert_eq!((accounting.sent, accounting.expected), (20, 20));
    assert!(!accounting.holds);
}

#[test]
fn intervals_are_wilsons() {
    let mut story = Story::new(plan_with(""));
    let error = failed(1, Some(500), Reason::Status5xx);
    story.tick(Source::Users, 0, false, &[(1025, &ok(1)), (588, &error)]);
    story.end();
    let summary = summarize(&story.record());
    let (low, high) = summary.users.availability_interval.unwrap();
    // By hand: (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n), p = 1025/1613, z = 1.96.
    assert_eq!(format!("{low:.2} {high:.2}"), "61.17 65.86");
    let (low, high) = outage(20.0, 40.0, 0..60)
        .users
        .availability_interval
        .unwrap();
    assert_eq!(low, 0.0);
    assert!(high > 0.0);
}

#[test]
fn percentiles_of_good_and_bad_requests_are_kept_apart() {
    let mut story = Story::new(plan_with(""));
    let error = failed(5000, Some(503), Reason::Status5xx);
    story.tick(Source::Users, 0, false, &[(90, &ok(100)), (10, &error)]);
    story.end();
    let users = summarize(&story.record()).users;
    let near = |found: Option<f64>, exact: f64| (found.unwrap() - exact).abs() < exact / 500.0;
    assert!(near(users.latency_expected.p99, 0.1), "{users:?}");
    assert!(near(users.latency_unexpected.p50, 5.0), "{users:?}");
}

#[test]
fn the_generator_may_be_saturated_for_a_twentieth_of_the_load() {
    for (seconds, valid) in [(3, true), (4, false)] {
        let mut story = Story::new(plan_with(""));
        story.minute(|_| ok(100));
        story.load.saturated_seconds = (0..seconds).collect();
        story.end();
        let check = summarize(&story.record()).self_check;
        assert_eq!(check.valid, valid, "{:?}", check.problems);
        if !valid {
            assert_eq!(check.problems, ["generator saturated 4 of 60 s"]);
        }
        assert_eq!(check.cpu_percent, Some(5.0));
    }
}

#[test]
fn littles_law_exposes_a_generator_that_lost_time() {
    // Ten requests a second of 100 ms keep one user busy.
    for (mean_users, holds) in [(1.0, true), (1.04, true), (2.0, false), (0.5, false)] {
        let mut story = Story::new(plan_with(""));
        story.minute(|_| ok(100));
        story.load.mean_users = mean_users;
        story.end();
        let check = summarize(&story.record()).self_check;
        assert_eq!(check.valid, holds, "{mean_users}: {:?}", check.problems);
        assert!((check.little_expected.unwrap() - 1.0).abs() < 0.01);
    }
}

#[test]
fn the_gaps_between_quick_requests_are_not_taken_for_lost_time() {
    // One user at work all the time: 500 requests a second of 1 ms, and 1 ms between them.
    let mut story = Story::new(plan_with(""));
    for second in 0..60 {
        story.tick(Source::Users, second, false, &[(500, &ok(1))]);
    }
    story.load.mean_users = 1.0;
    story.end();
    let check = summarize(&story.record()).self_check;
    assert!(check.valid, "{:?}", check.problems);
}

#[test]
fn an_outage_at_the_end_is_not_taken_for_a_broken_generator() {
    // Ten users hang from second 40 on, until the load ends and the drain gives them up.
    let mut story = Story::new(plan_with(""));
    for second in 0..40 {
        story.second(Source::Users, second, &ok(1000));
    }
    let mut tick = Tick::new(Source::Users, 40, false);
    (tick.sent, tick.scheduled) = (10, 10);
    story.tell(43.5, Event::Tick(Box::new(tick)));
    story.load.cut_off = [(Source::Users, 10)].into();
    story.load.mean_users = 10.0;
    story.end();
    let summary = summarize(&story.record());
    assert!(
        summary.self_check.valid,
        "{:?}",
        summary.self_check.problems
    );
}

/// Ten users with a pause of 10 ms whose requests take a millisecond for a minute, but for one
/// that takes two seconds each time; told in second 30.
fn freeze() -> Story {
    let mut story = Story::new(plan_with(""));
    for second in 0..60 {
        story.tick(Source::Users, second, false, &[(900, &ok(1))]);
    }
    story.tick(Source::Users, 30, false, &[(10, &ok(2000))]);
    story.load.pause_seconds = 54_010.0 * 0.010;
    story.load.mean_users = 10.0;
    story
}

#[test]
fn a_closed_load_is_told_what_it_left_out() {
    let mut story = freeze();
    story.end();
    let omission = summarize(&story.record()).coordinated_omission.unwrap();
    let near = |measured: f64, expected: f64| (measured / expected - 1.0).abs() < 0.01;
    assert!(near(omission.interval, 0.011), "{omission:?}");
    // Each of the ten users would have sent once in each 11 ms of the two seconds.
    let missing = 10.0 * (2.0 / 0.011 - 1.0);
    assert!(near(omission.missing as f64, missing), "{omission:?}");
    assert!(near(omission.p99, 0.001), "{omission:?}");
    // Of 55,800 the 558 longest are among the 1,818 between 2 s and 11 ms, evenly spread.
    let p99 = 2.0 - 558.0 / 10.0 * 0.011;
    assert!(near(omission.corrected_p99, p99), "{omission:?}");
    let mean = (54_000.0 * 0.001 + 10.0 * 2.0 * 2.0 / 2.0 / 0.011) / 55_818.0;
    assert!(
        (omission.corrected_mean / mean - 1.0).abs() < 0.02,
        "{omission:?}, not {mean}"
    );
}

#[test]
fn what_an_open_load_measured_is_whole() {
    let mut plan = plan_with("");
    plan.load.model = Model::Arrivals(Arrivals {
        stages: Vec::new(),
        spacing: Spacing::Constant,
        max_in_flight: 10,
    });
    let mut story = Story::new(plan);
    story.events.extend(freeze().events.into_iter().skip(2));
    story.end();
    assert_eq!(summarize(&story.record()).coordinated_omission, None);
}

#[test]
fn times_that_vary_are_no_omission() {
    let mut story = Story::new(plan_with(""));
    for second in 0..60 {
        // Exponentially distributed: a quarter takes more than twice the median.
        let quantiles = (0..100).map(|n| -(1.0 - (f64::from(n) + 0.5) / 100.0_f64).ln());
        let samples: Vec<_> = quantiles.map(|q| ok((q * 100.0) as u64)).collect();
        let samples: Vec<_> = samples.iter().map(|sample| (1, sample)).collect();
        story.tick(Source::Users, second, false, &samples);
    }
    story.end();
    assert_eq!(summarize(&story.record()).coordinated_omission, None);
}

#[test]
fn response_times_are_of_everything_that_ended_and_has_one() {
    let mut story = Story::new(plan_with(""));
    let late = |sample: Sample| Sample {
        response_time: Some(sample.service_time * 2),
        ..sample
    };
    let refused = late(failed(500, None, Reason::ConnectRefused));
    let samples = [(99, &late(ok(100))), (1, &refused)];
    story.tick(Source::Prober, 0, false, &samples);
    story.tick(Source::Users, 0, false, &[(10, &ok(100))]);
    story.end();
    let summary = summarize(&story.record());
    let response = summary.prober.unwrap().response;
    assert!((response.p50.unwrap() - 0.2).abs() < 0.001, "{response:?}");
    assert!((response.max.unwrap() - 1.0).abs() < 0.001, "{response:?}");
    assert_eq!(summary.users.response.p50, None);
}

#[test]
fn endpoints_journeys_and_hops_are_added_up() {
    let mut story = Story::new(plan_with(""));
    let of = |pod: &str, sample: Sample| Sample {
        endpoint: Some(pod.into()),
        hops: vec![
            Hop {
                time: secs(0.01),
                status: 302,
                body_bytes: 0,
            };
            2
        ],
        ..sample
    };
    let refused = failed(1, None, Reason::ConnectRefused);
    let samples = [
        (3, &of("app-1", ok(100))),
        (2, &of("app-2", ok(100))),
        (1, &of("app-2", refused)),
    ];
    let mut tick = Tick::new(Source::Users, 0, false);
    for end in [
        JourneyEnd::Completed,
        JourneyEnd::Completed,
        JourneyEnd::Failed,
    ] {
        tick.count_journey("buy", end);
    }
    story.tell(3.5, Event::Tick(Box::new(tick)));
    story.tick(Source::Users, 1, false, &samples);
    story.tick(Source::Prober, 1, false, &samples[..1]);
    story.end();
    let summary = summarize(&story.record());
    let endpoints = summary.endpoints.iter();
    let endpoints: Vec<_> = endpoints
        .map(|(name, count)| (name.as_str(), count.expected, count.unexpected))
        .collect();
    assert_eq!(endpoints, [("app-1", 6, 0), ("app-2", 2, 1)]);
    let journey = summary.journeys["buy"];
    assert_eq!((journey.completed, journey.failed), (2, 1));
    assert_eq!(summary.hops, 18);
}

#[test]
fn a_busy_generator_is_noted_where_it_can_be_seen() {
    for (millis, percent, noted) in [(0, 97.0, true), (0, 80.0, false), (2, 97.0, false)] {
        let mut story = Story::new(plan_with(""));
        story.minute(|_| ok(millis));
        story.load.sender_cpu_seconds = 0.6 * percent;
        story.load.mean_users = 0.01 * millis as f64;
        story.end();
        let check = summarize(&story.record()).self_check;
        assert!(check.valid, "{:?}", check.problems);
        assert_eq!(!check.notes.is_empty(), noted, "{:?}", check.notes);
        if noted {
            let note =
                "the generator's own thread was busy 97 %: times below 1 ms are also its own";
            assert_eq!(check.notes, [note]);
        }
    }
}

#[test]
fn late_wakes_are_noted_where_they_are_as_long_as_the_answers_times() {
    for (late, millis, noted) in [(8, 10, true), (8, 1000, false), (1, 3, false)] {
        let mut story = Story::new(plan_with(""));
        story.minute(|_| ok(millis));
        story.load.lag.record(secs(f64::from(late) / 1000.0));
        story.load.mean_users = 0.01 * millis as f64;
        story.end();
        let check = summarize(&story.record()).self_check;
        assert!(check.valid, "{:?}", check.problems);
        assert_eq!(!check.notes.is_empty(), noted, "{:?}", check.notes);
        if noted {
            let note =
                "the generator woke 8.00 ms late on average: times are longer by about as much";
            assert_eq!(check.notes, [note]);
        }
    }
}

#[test]
fn a_run_without_any_load_has_no_figures_and_no_panic() {
    let mut story = Story::new(plan_with(OUTAGE));
    story.events.truncate(1);
    let summary = summarize(&story.record());
    assert_eq!(summary.users.availability, None);
    assert_eq!(summary.users.goodput, None);
    assert_eq!(summary.windows, []);
    assert!(!summary.self_check.valid);
}

#[test]
fn the_whole_summary_of_an_eventful_run() {
    insta::assert_json_snapshot!(summarize(&eventful().record()));
}
