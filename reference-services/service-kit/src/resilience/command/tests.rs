//! Command, bulkhead and timeout together. Calls end when the test says so, never after a while.

use super::*;
use crate::resilience::{CommandMetrics, Evaluate, Growth, OpenFor, Preset, Window};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;

const SOON: Duration = Duration::from_millis(20);

fn settings() -> CommandSettings {
    CommandSettings {
        timeout: None,
        release: Release::OnCompletion,
        bulkhead: Some(BulkheadSettings::without_queue(1)),
        breaker: None,
    }
}

/// Opens at the first failure and stays open.
fn touchy_breaker() -> BreakerSettings {
    BreakerSettings {
        window: Window::Consecutive { failures: 1 },
        open: OpenFor {
            first: Duration::from_secs(3_600),
            growth: Growth::Constant,
        },
        ..Preset::Hystrix.breaker()
    }
}

struct Fixture {
    command: Command,
    registry: Registry,
}

impl Fixture {
    fn new(settings: CommandSettings) -> Self {
        let mut registry = Registry::default();
        let command = Command::start(
            settings,
            CommandMetrics::register(&mut registry).of("other"),
        );
        Self { command, registry }
    }

    fn metric(&self, series: &str) -> i64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find(|line| line.starts_with(series));
        let line = line.unwrap_or_else(|| panic!("no {series} in\n{text}"));
        line[series.len()..].trim().parse().unwrap()
    }

    fn calls(&self, outcome: &str) -> i64 {
        self.metric(&format!(
            "circuit_breaker_calls_total{{name=\"other\",outcome=\"{outcome}\"}}"
        ))
    }

    async fn succeed(&self) -> Result<(), CallError<&'static str>> {
        self.command.run(async { Ok(()) }).await
    }

    async fn fail(&self) -> Result<(), CallError<&'static str>> {
        self.command.run(async { Err("broken") }).await
    }
}

/// Waits until `condition` holds.
async fn until(condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), holds)
        .await
        .expect("the condition never held");
}

/// A call that ends when the sender is used or dropped.
fn held_call() -> (
    oneshot::Sender<()>,
    impl Future<Output = Result<(), &'static str>> + Send + 'static,
) {
    let (end, ended) = oneshot::channel();
    (end, async move { ended.await.map_err(|_| "dropped") })
}

#[tokio::test]
async fn results_pass_through_and_are_counted() {
    let fixture = Fixture::new(settings());
    fixture.succeed().await.unwrap();
    assert!(matches!(
        fixture.fail().await,
        Err(CallError::Failed("broken"))
    ));
    assert_eq!((fixture.calls("success"), fixture.calls("failure")), (1, 1));
    assert_eq!(fixture.metric("bulkhead_permits_in_use{name=\"other\"}"), 0);
}

#[tokio::test]
async fn a_full_bulkhead_rejects_at_once() {
    let fixture = Fixture::new(settings());
    let (end, call) = held_call();
    let command = fixture.command.clone();
    let first = tokio::spawn(async move { command.run(call).await });
    until(|| fixture.metric("bulkhead_permits_in_use{name=\"other\"}") == 1).await;
    assert!(matches!(
        fixture.succeed().await,
        Err(CallError::BulkheadFull)
    ));
    end.send(()).unwrap();
    first.await.unwrap().unwrap();
    fixture.succeed().await.unwrap();
    assert_eq!(fixture.calls("rejected"), 1);
}

#[tokio::test]
async fn on_completion_a_call_that_timed_out_keeps_its_place_until_it_ends() {
    let fixture = Fixture::new(CommandSettings {
        timeout: Some(SOON),
        ..settings()
    });
    let (end, call) = held_call();
    assert!(matches!(
        fixture.command.run(call).await,
        Err(CallError::Timeout(SOON))
    ));
    assert!(matches!(
        fixture.succeed().await,
        Err(CallError::BulkheadFull)
    ));
    assert!(!fixture.command.is_idle());
    end.send(()).expect("the call is still waiting");
    until(|| fixture.metric("bulkhead_permits_in_use{name=\"other\"}") == 0).await;
    until(|| fixture.command.is_idle()).await;
    fixture.succeed().await.unwrap();
}

#[tokio::test]
async fn on_timeout_the_call_is_dropped_and_its_place_is_free() {
    let fixture = Fixture::new(CommandSettings {
        timeout: Some(SOON),
        release: Release::OnTimeout,
        ..settings()
    });
    let (end, call) = held_call();
    assert!(matches!(
        fixture.command.run(call).await,
        Err(CallError::Timeout(SOON))
    ));
    assert!(end.is_closed());
    fixture.succeed().await.unwrap();
}

#[tokio::test]
async fn without_a_bulkhead_nothing_is_rejected() {
    let fixture = Fixture::new(CommandSettings {
        bulkhead: None,
        ..settings()
    });
    let (_end, call) = held_call();
    let command = fixture.command.clone();
    let first = tokio::spawn(async move { command.run(call).await });
    until(|| fixture.metric("bulkhead_permits_in_use{name=\"other\"}") == 1).await;
    fixture.succeed().await.unwrap();
    first.abort();
}

#[tokio::test]
async fn a_circuit_that_opened_short_circuits_before_the_bulkhead_is_asked() {
    let fixture = Fixture::new(CommandSettings {
        breaker: Some(touchy_breaker()),
        ..settings()
    });
    fixture.fail().await.unwrap_err();
    let state = |state: &str| {
        fixture.metric(&format!(
            "circuit_breaker_state{{name=\"other\",state=\"{state}\"}}"
        ))
    };
    let states = (state("open"), state("closed"), state("half_open"));
    assert_eq!(states, (1, 0, 0));
    assert!(matches!(
        fixture.succeed().await,
        Err(CallError::BreakerOpen { retry_after }) if retry_after > Duration::from_secs(3_000)
    ));
    assert_eq!(fixture.calls("short_circuited"), 1);
    assert_eq!(
        fixture.metric(
            "circuit_breaker_transitions_total{name=\"other\",from=\"closed\",to=\"open\",reason=\"consecutive_failures\"}"
        ),
        1
    );
}

#[tokio::test]
async fn a_trial_whose_caller_goes_away_does_not_wedge_the_circuit() {
    let fixture = Fixture::new(CommandSettings {
        breaker: Some(BreakerSettings {
            open: OpenFor {
                first: Duration::ZERO,
                growth: Growth::Constant,
            },
            ..touchy_breaker()
        }),
        bulkhead: None,
        ..settings()
    });
    fixture.fail().await.unwrap_err();
    let transitions = |from: &str, to: &str| {
        let series = format!(
            "circuit_breaker_transitions_total{{name=\"other\",from=\"{from}\",to=\"{to}\","
        );
        let mut text = String::new();
        encode(&mut text, &fixture.registry).unwrap();
        text.contains(&series)
    };
    assert!(transitions("closed", "open"));
    let (_end, call) = held_call();
    let command = fixture.command.clone();
    let trial = tokio::spawn(async move { command.run(call).await });
    until(|| transitions("open", "half_open")).await;
    trial.abort();
    until(|| transitions("half_open", "open")).await;
    fixture.succeed().await.unwrap();
    assert!(transitions("half_open", "closed"));
}

#[tokio::test]
async fn a_breaker_that_needs_ticks_gets_them() {
    let window = Window::Time {
        // Longer than a busy machine may make a tick late.
        length: Duration::from_secs(10),
        bucket: Duration::from_millis(10),
        evaluate: Evaluate::Tick,
    };
    let fixture = Fixture::new(CommandSettings {
        breaker: Some(BreakerSettings {
            window,
            min_calls: 1,
            ..touchy_breaker()
        }),
        ..settings()
    });
    fixture.fail().await.unwrap_err();
    until(|| fixture.metric("circuit_breaker_state{name=\"other\",state=\"open\"}") == 1).await;
}

#[tokio::test]
async fn calls_wait_in_the_queue_in_turn_and_no_more_than_it_holds() {
    let fixture = Fixture::new(CommandSettings {
        bulkhead: Some(BulkheadSettings {
            queue: 1,
            ..BulkheadSettings::without_queue(1)
        }),
        ..settings()
    });
    let (end, call) = held_call();
    let command = fixture.command.clone();
    let first = tokio::spawn(async move { command.run(call).await });
    until(|| fixture.metric("bulkhead_permits_in_use{name=\"other\"}") == 1).await;
    let command = fixture.command.clone();
    let second = tokio::spawn(async move { command.run(async { Ok::<_, ()>(()) }).await });
    until(|| fixture.metric("bulkhead_waiting{name=\"other\"}") == 1).await;
    assert!(matches!(
        fixture.succeed().await,
        Err(CallError::BulkheadFull)
    ));
    end.send(()).unwrap();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(fixture.metric("bulkhead_waiting{name=\"other\"}"), 0);
    assert_eq!(
        (fixture.calls("success"), fixture.calls("rejected")),
        (2, 1)
    );
}

#[tokio::test]
async fn the_wait_in_the_queue_ends_with_its_limit_or_with_the_timeout() {
    for (queue_wait, timeout) in [(Some(SOON), None), (None, Some(SOON))] {
        let fixture = Fixture::new(CommandSettings {
            timeout,
            bulkhead: Some(BulkheadSettings {
                places: 1,
                queue: 1,
                queue_wait,
            }),
            ..settings()
        });
        let (_end, call) = held_call();
        let command = fixture.command.clone();
        let first = tokio::spawn(async move { command.run(call).await });
        until(|| fixture.metric("bulkhead_permits_in_use{name=\"other\"}") == 1).await;
        assert!(matches!(
            fixture.succeed().await,
            Err(CallError::BulkheadFull)
        ));
        assert_eq!(fixture.metric("bulkhead_waiting{name=\"other\"}"), 0);
        first.abort();
    }
}
