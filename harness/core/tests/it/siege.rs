//! siege's arithmetic, line by line of the outcome table in `harness/docs/siege-figures.md`.

use std::time::Duration;

use holdfast_core::outcome::{Reason, Sample};
use holdfast_core::siege::Tally;
use proptest::prelude::*;

use crate::run::{failed, ok, secs};

/// (transactions, successful, failed, whether time, bytes and longest count it)
fn effect(status: Option<u16>) -> (u64, u64, u64, bool) {
    let sample = Sample {
        status,
        ..failed(70, status, Reason::StatusOther)
    };
    let mut tally = Tally::default();
    tally.count(&sample);
    let timed = tally.time_us == 70_000 && tally.bytes == 100 && tally.longest_us == 70_000;
    assert!(timed || (tally.time_us, tally.bytes, tally.longest_us) == (0, 0, 0));
    (tally.hits, tally.successful, tally.failed, timed)
}

#[test]
fn each_outcome_counts_as_siege_counts_it() {
    for success in [100, 200, 201, 204, 206, 301, 302, 304, 308, 399] {
        assert_eq!(effect(Some(success)), (1, 1, 0, true), "{success}");
    }
    // Without credentials these legs are the whole exchange.
    for challenge in [401, 407] {
        assert_eq!(effect(Some(challenge)), (1, 1, 0, true), "{challenge}");
    }
    for neither in [
        400, 402, 403, 404, 405, 406, 409, 410, 417, 422, 429, 451, 499,
    ] {
        assert_eq!(effect(Some(neither)), (1, 0, 0, true), "{neither}");
    }
    for failure in [408, 500, 501, 502, 503, 504, 505, 506, 507, 508, 509] {
        assert_eq!(effect(Some(failure)), (0, 0, 1, true), "{failure}");
    }
    for overlooked in [510, 511, 520, 521, 599] {
        assert_eq!(effect(Some(overlooked)), (1, 0, 0, true), "{overlooked}");
    }
    assert_eq!(effect(None), (0, 0, 1, false), "no answer at all");
}

#[test]
fn a_body_that_stalls_after_its_headers_is_a_success_to_siege() {
    let mut tally = Tally::default();
    tally.count(&failed(70, Some(200), Reason::BodyStall));
    assert_eq!((tally.hits, tally.successful, tally.failed), (1, 1, 0));
}

#[test]
fn slow_failures_are_in_the_response_time_but_not_in_its_denominator() {
    let mut tally = Tally::default();
    for _ in 0..1000 {
        tally.count(&ok(100));
        tally.count(&failed(5000, Some(503), Reason::Status5xx));
    }
    let figures = tally.figures(secs(100.0));
    assert_eq!(figures.response_time, 5.1);
    assert_eq!(figures.availability, 50.0);
    assert_eq!(figures.transaction_rate, 10.0);
    assert_eq!(figures.concurrency, 51.0);
    assert_eq!((figures.longest, figures.shortest), (5.0, 0.1));
}

#[test]
fn the_printed_figures_of_the_seed_follow_from_its_counts() {
    let tally = Tally {
        hits: 1025,
        successful: 1025,
        failed: 588,
        bytes: 1025 * 207 + 588 * 248,
        time_us: 5_740_000_000,
        longest_us: 9_200_000,
        shortest_us: Some(4_000),
        redirects: 0,
    };
    let figures = tally.figures(secs(59.78));
    let printed = |value: f64| format!("{value:.2}");
    assert_eq!(printed(figures.availability), "63.55");
    assert_eq!(printed(figures.data_transferred), "0.34");
    assert_eq!(printed(figures.response_time), "5.60");
    assert_eq!(printed(figures.transaction_rate), "17.15");
    assert_eq!(printed(figures.throughput), "0.01");
    assert_eq!(printed(figures.concurrency), "96.02");
    assert_eq!(printed(figures.longest), "9.20");
    assert_eq!(printed(figures.shortest), "0.00");
}

#[test]
fn without_a_hit_siege_prints_zeros() {
    let mut tally = Tally::default();
    let figures = tally.figures(Duration::ZERO);
    assert_eq!((figures.availability, figures.response_time), (0.0, 0.0));
    assert_eq!((figures.transaction_rate, figures.concurrency), (0.0, 0.0));
    tally.count(&failed(40, Some(503), Reason::Status5xx));
    let figures = tally.figures(secs(1.0));
    assert_eq!((figures.availability, figures.response_time), (0.0, 0.0));
    // The 503 took 40 ms, but siege prints the shortest of nothing successful as zero.
    assert_eq!((figures.longest, figures.shortest), (0.04, 0.0));
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let status = prop::option::of(100..600u16);
    (0..10_000u64, status).prop_map(|(millis, status)| match status {
        Some(status) => failed(millis, Some(status), Reason::StatusOther),
        None => failed(millis, None, Reason::HeaderTimeout),
    })
}

proptest! {
    #[test]
    fn tallies_add_up_however_the_requests_are_split(
        samples in prop::collection::vec(any_sample(), 0..50),
        cut in any::<prop::sample::Index>(),
    ) {
        let (first, second) = samples.split_at(cut.index(samples.len() + 1));
        let count = |samples: &[Sample]| {
            let mut tally = Tally::default();
            samples.iter().for_each(|sample| tally.count(sample));
            tally
        };
        let mut merged = count(first);
        merged.merge(&count(second));
        let whole = count(&samples);
        prop_assert_eq!(&merged, &whole);
        prop_assert_eq!(whole.hits + whole.failed, samples.len() as u64);
    }
}
