//! Which endpoint a call goes to. The addresses are given, nothing is looked up or called.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::*;
use crate::resilience::{BulkheadSettings, Preset, Release};

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, last], 80))
}

/// Endpoints behind breakers like Envoy's that open at the second failure in a row.
struct Fixture {
    endpoints: Endpoints,
    registry: Registry,
}

impl Fixture {
    fn new(known: &[u8], max_out_percent: usize, all_out: AllOut) -> Self {
        let mut registry = Registry::default();
        let mut breaker = Preset::Envoy.breaker();
        breaker.window = crate::resilience::Window::Consecutive { failures: 2 };
        let shared = Shared {
            service: "pay".to_owned(),
            settings: EndpointSettings {
                names: Vec::new(),
                max_out_percent,
                all_out,
            },
            command: CommandSettings {
                timeout: None,
                release: Release::OnTimeout,
                bulkhead: Some(BulkheadSettings::without_queue(1)),
                breaker: Some(breaker),
            },
            metrics: CommandMetrics::register(&mut registry),
            fleet: Arc::new(Fleet::new(max_out_percent)),
            known: RwLock::default(),
            turn: AtomicUsize::new(0),
        };
        let fixture = Self {
            endpoints: Endpoints(Arc::new(shared)),
            registry,
        };
        fixture.list(known);
        fixture
    }

    fn list(&self, known: &[u8]) {
        let addresses: Vec<_> = known.iter().copied().map(address).collect();
        self.endpoints.0.list(&addresses);
    }

    fn choose(&self) -> Chosen {
        self.endpoints.choose(None).unwrap()
    }

    /// The last numbers of the addresses of the next `count` choices.
    fn next(&self, count: usize) -> Vec<SocketAddr> {
        (0..count).map(|_| self.choose().address).collect()
    }

    /// As long as it is held, a call of this endpoint is under way.
    fn command(&self, last: u8) -> Command {
        let known = self.endpoints.0.known.read().unwrap();
        let endpoint = known.iter().find(|it| it.address == address(last));
        endpoint.unwrap().command.clone()
    }

    /// Has calls fail at one endpoint until it is left out, or would be.
    async fn fail(&self, last: u8) {
        let command = self.command(last);
        for _ in 0..2 {
            let failed = command.run(async { Err::<(), _>("broken") }).await;
            assert!(matches!(failed, Err(CallError::Failed("broken"))));
        }
    }

    fn shows(&self, series: &str) -> bool {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text.contains(series)
    }
}

#[tokio::test]
async fn endpoints_take_turns() {
    let fixture = Fixture::new(&[1, 2, 3], 100, AllOut::Fail);
    assert_eq!(fixture.next(4), [1, 2, 3, 1].map(address));
}

#[tokio::test]
async fn an_endpoint_that_fails_is_left_out_and_the_others_serve() {
    let fixture = Fixture::new(&[1, 2, 3], 100, AllOut::Fail);
    fixture.fail(2).await;
    assert!(!fixture.next(6).contains(&address(2)));
    for (endpoint, state) in [("127.0.0.2:80", "open"), ("127.0.0.1:80", "closed")] {
        let series =
            format!("circuit_breaker_state{{name=\"pay@{endpoint}\",state=\"{state}\"}} 1");
        assert!(fixture.shows(&series), "{series}");
    }
}

#[tokio::test]
async fn when_all_are_left_out_calls_fail_or_are_made_all_the_same() {
    let fixture = Fixture::new(&[1, 2], 100, AllOut::Fail);
    fixture.fail(1).await;
    fixture.fail(2).await;
    let refused = fixture.choose().run(async { Ok::<_, ()>(()) }).await;
    assert!(matches!(
        refused,
        Err(CallError::BreakerOpen { retry_after }) if retry_after > Duration::from_secs(20)
    ));
    // By the endpoint that comes back first, and counted there.
    let refused =
        "circuit_breaker_calls_total{name=\"pay@127.0.0.1:80\",outcome=\"short_circuited\"} 1";
    assert!(fixture.shows(refused));

    let fixture = Fixture::new(&[1, 2], 100, AllOut::Ignore);
    fixture.fail(1).await;
    fixture.fail(2).await;
    let chosen = fixture.choose();
    chosen.run(async { Ok::<_, ()>(()) }).await.unwrap();
}

#[tokio::test]
async fn no_more_than_a_share_is_left_out() {
    let fixture = Fixture::new(&[1, 2, 3, 4], 50, AllOut::Fail);
    for failing in [1, 2, 3, 4] {
        fixture.fail(failing).await;
    }
    let chosen = fixture.next(4);
    assert!(chosen.contains(&address(3)) && chosen.contains(&address(4)));
    assert!(!chosen.contains(&address(1)) && !chosen.contains(&address(2)));
    let series = "circuit_breaker_transitions_total{name=\"pay@127.0.0.3:80\",from=\"closed\",to=\"closed\",reason=\"too_many_out\"} 1";
    assert!(fixture.shows(series));
    // A share that is less than one endpoint leaves none out, as with Envoy's own 10 %.
    let fixture = Fixture::new(&[1, 2], 10, AllOut::Fail);
    fixture.fail(1).await;
    assert!(fixture.next(2).contains(&address(1)));
}

#[tokio::test]
async fn an_endpoint_left_out_that_goes_away_makes_room_for_another() {
    let fixture = Fixture::new(&[1, 2], 50, AllOut::Fail);
    fixture.fail(1).await;
    fixture.list(&[2, 3]);
    fixture.fail(2).await;
    assert_eq!(fixture.next(2), [3, 3].map(address));
}

#[tokio::test]
async fn only_listed_endpoints_count_for_the_share() {
    let fixture = Fixture::new(&[1, 2], 50, AllOut::Fail);
    fixture.fail(1).await;
    let under_way = fixture.command(1);
    fixture.list(&[2, 3]);
    fixture.fail(2).await;
    assert_eq!(fixture.next(2), [3, 3].map(address));
    // One that comes back is one too many now, and is closed.
    fixture.list(&[1, 2]);
    assert_eq!(fixture.next(2), [1, 1].map(address));
    let series = "circuit_breaker_transitions_total{name=\"pay@127.0.0.1:80\",from=\"open\",to=\"closed\",reason=\"too_many_out\"} 1";
    assert!(fixture.shows(series));
    // It counts like any other again.
    fixture.list(&[1]);
    fixture.list(&[1, 3]);
    drop(under_way);
    fixture.fail(1).await;
    assert_eq!(fixture.next(2), [3, 3].map(address));
}

#[tokio::test]
async fn a_repeat_goes_elsewhere_and_a_full_bulkhead_is_passed_by() {
    let fixture = Fixture::new(&[1, 2], 100, AllOut::Fail);
    for _ in 0..4 {
        let chosen = fixture.endpoints.choose(Some(address(1))).unwrap();
        assert_eq!(chosen.address, address(2));
    }
    let first = fixture.choose();
    let (release, held) = tokio::sync::oneshot::channel::<()>();
    let busy = first.address;
    let call = tokio::spawn(async move {
        first
            .run(async move { held.await.map_err(|_| "dropped") })
            .await
    });
    let in_use = format!("bulkhead_permits_in_use{{name=\"pay@{busy}\"}} 1");
    while !fixture.shows(&in_use) {
        tokio::task::yield_now().await;
    }
    assert!(!fixture.next(4).contains(&busy));
    release.send(()).unwrap();
    call.await.unwrap().unwrap();
    assert!(fixture.next(4).contains(&busy));
}

#[tokio::test]
async fn endpoints_come_and_go_and_only_a_used_one_keeps_its_circuit() {
    let fixture = Fixture::new(&[1, 2], 100, AllOut::Fail);
    fixture.list(&[2, 3]);
    assert!(!fixture.next(6).contains(&address(1)));
    assert!(!fixture.shows("circuit_breaker_state{name=\"pay@127.0.0.1:80\""));
    // One whose call is still under way is the same when it comes back.
    fixture.fail(2).await;
    let held = fixture.endpoints.choose(None).unwrap();
    assert_eq!(held.address, address(3));
    let in_use = fixture.command(2);
    fixture.list(&[3]);
    fixture.list(&[2, 3]);
    assert!(!fixture.next(4).contains(&address(2)));
    drop(in_use);
    fixture.list(&[]);
    assert!(fixture.endpoints.choose(None).is_none());
}

#[tokio::test]
async fn names_are_looked_up() {
    let mut registry = Registry::default();
    let endpoints = Endpoints::start(
        "pay",
        EndpointSettings {
            names: vec!["127.0.0.1:80".to_owned(), "127.0.0.2:81".to_owned()],
            max_out_percent: 100,
            all_out: AllOut::Fail,
        },
        CommandSettings {
            timeout: None,
            release: Release::OnTimeout,
            bulkhead: None,
            breaker: None,
        },
        CommandMetrics::register(&mut registry),
    )
    .await;
    let mut found = [0, 1].map(|_| endpoints.choose(None).unwrap().address.to_string());
    found.sort();
    assert_eq!(found, ["127.0.0.1:80", "127.0.0.2:81"]);
}

#[test]
fn the_scope_is_read_from_the_environment() {
    let read = |pairs: &[(&'static str, &'static str)]| {
        let mut env = Env::of_pairs(pairs.iter().copied());
        let settings = EndpointSettings::from_env(&mut env, "PAY", "pay:8082");
        env.finish().map_err(|error| error.to_string())?;
        Ok::<_, String>(settings)
    };
    assert_eq!(read(&[]).unwrap(), None);
    let endpoint = ("PAY_SCOPE", "endpoint");
    assert_eq!(
        read(&[endpoint]).unwrap(),
        Some(EndpointSettings {
            names: vec!["pay:8082".to_owned()],
            max_out_percent: 100,
            all_out: AllOut::Fail,
        })
    );
    assert_eq!(
        read(&[
            endpoint,
            ("PAY_ENDPOINTS", "pay-pods:8082, [::1]:80"),
            ("PAY_MAX_OUT_PERCENT", "10"),
            ("PAY_ALL_OUT", "ignore"),
        ])
        .unwrap(),
        Some(EndpointSettings {
            names: vec!["pay-pods:8082".to_owned(), "[::1]:80".to_owned()],
            max_out_percent: 10,
            all_out: AllOut::Ignore,
        })
    );
    for (wrong, name) in [
        (("PAY_ENDPOINTS", "pay"), "PAY_ENDPOINTS"),
        (("PAY_ENDPOINTS", "pay:8082,"), "PAY_ENDPOINTS"),
        (("PAY_MAX_OUT_PERCENT", "0"), "PAY_MAX_OUT_PERCENT"),
        (("PAY_MAX_OUT_PERCENT", "101"), "PAY_MAX_OUT_PERCENT"),
    ] {
        let message = read(&[endpoint, wrong]).unwrap_err();
        assert!(message.contains(name), "{message}");
    }
    let message = read(&[("PAY_ALL_OUT", "fail")]).unwrap_err();
    assert!(message.contains("PAY_SCOPE"), "{message}");
}
