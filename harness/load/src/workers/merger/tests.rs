//! Whatever order workers tell in, the sum is exact.

use std::time::Duration;

use holdfast_core::outcome::{Reason, Sample};
use proptest::prelude::*;

use super::*;
use crate::workers::clock::{Clock, Round};

fn merger(workers: usize, sources: &[Source]) -> Merger {
    let now = Clock::of_this_machine().now();
    let round = Round {
        asked: now,
        shown: now,
        answered: now,
    };
    let offset = Offset::measured(&[round]).unwrap();
    Merger::new(vec![(Machine::default(), offset); workers], sources)
}

/// A second in which requests took these times; odd ones failed.
fn tick(source: Source, second: u32, draining: bool, micros: &[u64]) -> Tick {
    let mut tick = Tick::new(source, second, draining);
    if !draining {
        tick.sent = micros.len() as u64;
        tick.scheduled = tick.sent;
    }
    for micros in micros {
        let failure = (micros % 2 == 1).then_some(Reason::Status5xx);
        tick.count(&Sample {
            service_time: Duration::from_micros(*micros),
            response_time: Some(Duration::from_micros(micros + 1)),
            status: Some(if failure.is_some() { 500 } else { 201 }),
            body_bytes: *micros,
            failure,
            hops: Vec::new(),
            endpoint: None,
        });
    }
    tick
}

fn failed(second: u32) -> Event {
    Event::RequestFailed(FailedRequest {
        source: Source::Users,
        ended: Duration::from_secs(u64::from(second)),
        service_time: Duration::from_millis(1),
        reason: Reason::Status5xx,
        status: Some(500),
        request: "GET /".to_owned(),
        endpoint: None,
        detail: "500".to_owned(),
        draining: false,
    })
}

fn event(tick: Tick) -> Event {
    Event::Tick(Box::new(tick))
}

fn finished() -> Event {
    Event::LoadFinished(Box::new(LoadFinished {
        elapsed: Duration::from_secs(3),
        ..LoadFinished::default()
    }))
}

fn ticks(events: &[Event]) -> Vec<&Tick> {
    let ticks = events.iter().filter_map(|event| match event {
        Event::Tick(tick) => Some(&**tick),
        _ => None,
    });
    ticks.collect()
}

fn account(events: &[Event]) -> &LoadFinished {
    match events.last() {
        Some(Event::LoadFinished(account)) => account,
        last => panic!("the last event is {last:?}"),
    }
}

/// What one worker tells: some seconds with service times, then nothing in flight.
fn story(seconds: &[Vec<u64>]) -> VecDeque<Event> {
    let mut story = VecDeque::from([Event::LoadStarted]);
    for (second, micros) in (0..).zip(seconds) {
        let failures = micros.iter().filter(|micros| *micros % 2 == 1);
        story.extend(failures.map(|_| failed(second)));
        story.push_back(event(tick(Source::Users, second, false, micros)));
    }
    story.extend([Event::LoadStopped, finished()]);
    story
}

fn seconds() -> impl Strategy<Value = Vec<Vec<u64>>> {
    let micros = prop::collection::vec(1_u64..60_000_000, 0..20);
    prop::collection::vec(micros, 1..5)
}

proptest! {
    /// As many workers as one likes, in any order of telling: each second's tick is, to the last
    /// bucket of its histograms, the one that a single process would have told.
    #[test]
    fn the_sum_is_what_one_process_would_have_told(
        workers in prop::collection::vec(seconds(), 1..5),
        turns in prop::collection::vec(any::<prop::sample::Index>(), 200),
    ) {
        let mut merger = merger(workers.len(), &[Source::Users]);
        let mut stories: Vec<_> = workers.iter().map(|seconds| story(seconds)).collect();
        let mut turns = turns.into_iter();
        while stories.iter().any(|story| !story.is_empty()) {
            let turn = turns.next().map_or(0, |turn| turn.index(stories.len()));
            let open = (0..stories.len()).map(|step| (turn + step) % stories.len());
            let mut open = open.filter(|index| !stories[*index].is_empty());
            let index = open.next().unwrap();
            let event = stories[index].pop_front().unwrap();
            // As it comes over the wire.
            let event = serde_json::to_vec(&event).unwrap();
            merger.take(index, serde_json::from_slice(&event).unwrap()).unwrap();
        }
        let told = merger.events();
        let length = workers.iter().map(Vec::len).max().unwrap();
        prop_assert_eq!(ticks(&told).len(), length);
        let mut unexpected = 0;
        for (second, told) in ticks(&told).into_iter().enumerate() {
            let all: Vec<u64> = workers.iter().filter_map(|one| one.get(second)).flatten().copied().collect();
            prop_assert_eq!(told, &tick(Source::Users, second as u32, false, &all));
            unexpected += told.unexpected_total();
        }
        let kept = told.iter().filter(|event| matches!(event, Event::RequestFailed(_))).count();
        prop_assert_eq!(kept as u64 + account(&told).failures_not_kept, unexpected);
        prop_assert_eq!(kept as u64, unexpected);
        prop_assert_eq!(account(&told).workers.iter().map(|one| one.sent).sum::<u64>(),
            workers.iter().flatten().flatten().count() as u64);
        let histogram = |told: &[Event]| ticks(told).into_iter().fold(
            Histogram::default(),
            |mut sum, tick| { sum.merge(&tick.latency_expected); sum.merge(&tick.latency_unexpected); sum },
        );
        let mut direct = Histogram::default();
        for micros in workers.iter().flatten().flatten() {
            direct.record(Duration::from_micros(*micros));
        }
        prop_assert_eq!(histogram(&told), direct);
    }
}

#[test]
fn a_second_waits_for_all_who_send_and_for_nobody_for_ever() {
    let mut merger = merger(2, &[Source::Users, Source::Prober]);
    merger
        .take(0, event(tick(Source::Users, 0, false, &[2])))
        .unwrap();
    merger
        .take(1, event(tick(Source::Users, 0, false, &[4])))
        .unwrap();
    assert!(merger.events().is_empty(), "the prober has not told");
    merger
        .take(0, event(tick(Source::Prober, 0, false, &[6])))
        .unwrap();
    let told = merger.events();
    assert_eq!(ticks(&told).len(), 2);
    assert_eq!(ticks(&told)[0], &tick(Source::Users, 0, false, &[2, 4]));
    // The other one is late.
    merger
        .take(1, event(tick(Source::Users, 1, false, &[8])))
        .unwrap();
    merger.wait_no_longer_for(1);
    assert!(merger.events().is_empty());
    merger.wait_no_longer_for(2);
    assert_eq!(
        ticks(&merger.events()),
        [&tick(Source::Users, 1, false, &[8])]
    );
    // What it tells then belongs to its own second all the same.
    merger
        .take(0, event(tick(Source::Users, 1, false, &[10])))
        .unwrap();
    assert_eq!(
        ticks(&merger.events()),
        [&tick(Source::Users, 1, false, &[10])]
    );
    // Of a second of which nobody has told there is nothing to hand out.
    merger.wait_no_longer_for(9);
    assert!(merger.events().is_empty());
}

#[test]
fn what_a_lost_worker_told_counts_and_what_it_had_in_flight_is_cut_off() {
    let mut merger = merger(2, &[Source::Users]);
    let mut first = tick(Source::Users, 0, false, &[1, 2]);
    first.sent += 3;
    first.scheduled += 3;
    first.in_flight = 3;
    merger.take(0, failed(0)).unwrap();
    merger.take(0, event(first)).unwrap();
    // Of this one no tick tells any more.
    merger.take(0, failed(1)).unwrap();
    merger
        .take(1, event(tick(Source::Users, 0, false, &[4])))
        .unwrap();
    merger.lose(0, "killed");
    assert!(merger.is_over(0));
    for (second, micros) in [(1, 6), (2, 8)] {
        merger
            .take(1, event(tick(Source::Users, second, false, &[micros])))
            .unwrap();
    }
    merger.take(1, Event::LoadStopped).unwrap();
    merger.take(1, finished()).unwrap();
    let told = merger.events();
    let account = account(&told);
    let sum = |figure: fn(&Tick) -> u64| ticks(&told).into_iter().map(figure).sum::<u64>();
    let ended = sum(|tick| tick.expected + tick.unexpected_total());
    assert_eq!(
        sum(|tick| tick.sent),
        ended + account.cut_off[&Source::Users]
    );
    assert_eq!(account.cut_off[&Source::Users], 3);
    assert_eq!(account.failures_not_kept, 0);
    let kept = told
        .iter()
        .filter(|event| matches!(event, Event::RequestFailed(_)));
    assert_eq!(kept.count(), 1);
    let workers: Vec<_> = account
        .workers
        .iter()
        .map(|one| (one.sent, one.lost.as_deref()))
        .collect();
    assert_eq!(workers, [(5, Some("killed")), (3, None)]);
    // Too late to be lost.
    merger.lose(1, "gone");
    assert!(merger.events().is_empty());
}

#[test]
fn a_load_whose_workers_are_all_lost_ends() {
    let mut merger = merger(2, &[Source::Users]);
    merger
        .take(0, event(tick(Source::Users, 0, false, &[2])))
        .unwrap();
    merger.lose(1, "killed");
    merger.lose(0, "killed, too");
    let told = merger.events();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[1], Event::LoadStopped);
    assert_eq!(account(&told).elapsed, Duration::from_secs(1));
}

#[test]
fn workers_that_stop_in_different_seconds_drain_together() {
    let mut merger = merger(2, &[Source::Users]);
    let sent = |second, count| {
        let mut tick = Tick::new(Source::Users, second, false);
        tick.sent = count;
        tick.scheduled = count;
        event(tick)
    };
    merger.take(0, sent(0, 1)).unwrap();
    merger.take(0, Event::LoadStopped).unwrap();
    merger
        .take(0, event(tick(Source::Users, 0, true, &[])))
        .unwrap();
    merger
        .take(0, event(tick(Source::Users, 1, true, &[2])))
        .unwrap();
    merger.take(1, sent(0, 1)).unwrap();
    merger.take(1, sent(1, 0)).unwrap();
    merger.take(1, sent(2, 1)).unwrap();
    merger.take(0, finished()).unwrap();
    merger.take(1, Event::LoadStopped).unwrap();
    merger
        .take(1, event(tick(Source::Users, 3, true, &[4, 6])))
        .unwrap();
    merger.take(1, finished()).unwrap();
    let told = merger.events();
    let shape: Vec<_> = ticks(&told)
        .into_iter()
        .map(|tick| (tick.second, tick.draining, tick.expected, tick.in_flight))
        .collect();
    assert_eq!(
        shape,
        [
            (0, false, 0, 2),
            (1, false, 0, 2),
            (2, false, 0, 3),
            // What the first drained before the second stopped.
            (2, true, 1, 2),
            (3, true, 2, 0),
        ]
    );
}

#[test]
fn nonsense_is_not_counted() {
    let mut merger = merger(2, &[Source::Users, Source::Prober]);
    let mut refused = |index, event| merger.take(index, event).unwrap_err();
    let users = |second, draining| event(tick(Source::Users, second, draining, &[]));
    assert_eq!(
        refused(0, users(1, false)),
        Nonsense::Second { told: 1, due: 0 }
    );
    assert_eq!(refused(0, users(0, true)), Nonsense::Tick);
    let prober = event(tick(Source::Prober, 0, false, &[]));
    assert_eq!(refused(1, prober), Nonsense::Tick);
    let mut too_many = tick(Source::Users, 0, false, &[2]);
    too_many.sent = 0;
    assert_eq!(refused(0, event(too_many)), Nonsense::MoreEndedThanSent);
    assert_eq!(refused(0, finished()), Nonsense::Order);
    let stopped = Event::Stopped(holdfast_core::event::StopCause::Interrupted);
    assert_eq!(refused(0, stopped), Nonsense::Event);
    assert!(merger.events().is_empty());
}
