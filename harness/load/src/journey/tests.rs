use std::path::Path;
use std::time::Duration;

use holdfast_core::plan::plan;
use holdfast_core::spec::{self, SourceFile};
use holdfast_engine::Events;
use tokio::runtime::Builder;
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::client::tests::server;

/// A sender of what is under `load` in an experiment, and the account that it writes.
fn traveller(load: &str) -> Traveller {
    let url = format!("http://{}", server());
    let text = format!(
        "
apiVersion: holdfast.dev/v1alpha1
kind: Experiment
metadata: {{name: test}}
spec:
  load:
    target: {{url: '{url}'}}
    stages: [{{users: 1, duration: 1h}}]
    connections: keepAlive
{load}"
    );
    let source = SourceFile {
        name: "test.yaml",
        text: &text,
        directory: Path::new("."),
    };
    let experiment = spec::parse(&source, &[], &Path::exists).unwrap();
    let plan = plan(&experiment, 1).load;
    let target = Arc::new(Target::parse(&url, None).unwrap());
    let dialer = Arc::new(Dialer::new(plan.transport.clone(), &target).unwrap());
    let ways = Ways {
        target: &target,
        dialer: &dialer,
    };
    let itinerary = Itinerary::prepare(&plan, ways, Share::default()).unwrap();
    let (sender, _receiver) = unbounded_channel();
    Traveller::new(
        Client::new(&dialer, plan.transport.connections),
        Arc::new(itinerary),
        Recorder::begin(Instant::now(), plan.duration, Events::new(sender), None),
        0,
        CancellationToken::new(),
    )
}

/// How often memory is taken for this many journeys.
fn allocations(traveller: &mut Traveller, journeys: u64) -> u64 {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut travel = |journeys| {
        runtime.block_on(async {
            let until = Instant::now() + Duration::from_secs(600);
            for _ in 0..journeys {
                assert_eq!(traveller.travel(None, until).await, Onward::Yes);
            }
        });
    };
    travel(10);
    allocation_counter::measure(|| travel(journeys)).count_total
}

#[test]
fn a_fixed_request_takes_no_memory() {
    const JOURNEYS: u64 = 10_000;
    let mut traveller = traveller("    requests: [{post: /orders, json: {item: chicken}}]");
    let taken = allocations(&mut traveller, JOURNEYS);
    // Each second of the account takes some.
    assert!(taken < JOURNEYS / 50, "{taken}");
}

#[test]
fn a_request_with_numbers_is_written_in_the_memory_of_the_one_before() {
    const JOURNEYS: u64 = 10_000;
    let mut traveller = traveller(
        "    requests: [{put: '/{{user}}/{{iteration}}', headers: {x: '{{unique}}'}, body: '{{user}}'}]",
    );
    let taken = allocations(&mut traveller, JOURNEYS);
    assert!(taken < JOURNEYS / 50, "{taken}");
}

#[test]
fn pauses_are_exact_or_anything_up_to_the_think_time() {
    let think_time = Duration::from_secs(1);
    let mut chance = SmallRng::seed_from_u64(7);
    let mut draw = |pauses| pause_length(think_time, pauses, &mut chance);
    assert_eq!(draw(Pauses::Exact), think_time);
    let drawn: Vec<Duration> = (0..1000).map(|_| draw(Pauses::UpTo)).collect();
    assert!(drawn.iter().all(|pause| *pause <= think_time));
    let mean = drawn.iter().sum::<Duration>() / 1000;
    let off = mean.abs_diff(think_time / 2);
    assert!(off < think_time / 10, "ten standard errors off: {mean:?}");
}
