//! One order is one trace, whoever has to do with it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use test_servers::{Collector, SpanKind, ToldSpan};
use tokio::time::timeout;

use end_to_end::system::{PATIENCE, Part, System};

/// Whether every span of the trace is there that others of it stand below, from the first on, and
/// somebody of each of these services.
fn is_whole(trace: &[&ToldSpan], services: &[&str]) -> bool {
    let ids: BTreeSet<&str> = trace.iter().map(|span| &*span.id).collect();
    let has_parent = |span: &&&ToldSpan| ids.contains(&*span.parent);
    let by = |service: &&&str| trace.iter().any(|span| span.service == **service);
    trace.iter().filter(has_parent).count() + 1 == trace.len()
        && services.iter().filter(by).count() == services.len()
}

fn is(span: &ToldSpan, service: &str, kind: SpanKind, name: &str) -> bool {
    span.service == service && span.kind == kind && span.name == name
}

/// The trace that the gateway began for an order.
fn of_the_order(told: &[ToldSpan]) -> Vec<&ToldSpan> {
    let first = told
        .iter()
        .find(|span| is(span, "gateway", SpanKind::Server, "POST /orders"));
    let is_of_it = |span: &&ToldSpan| first.is_some_and(|first| first.trace == span.trace);
    told.iter().filter(is_of_it).collect()
}

/// The names of the services from the first span down to `span`.
fn way<'a>(spans: &BTreeMap<&str, &'a ToldSpan>, mut span: &'a ToldSpan) -> Vec<&'a str> {
    let mut way = vec![&*span.service];
    while let Some(parent) = spans.get(&*span.parent) {
        way.push(&parent.service);
        span = parent;
    }
    way.reverse();
    way.dedup();
    way
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_one_trace_over_all_services_that_see_to_it() {
    let Some(mut system) = System::new().await else {
        return;
    };
    let collector = Collector::start().await.unwrap();
    for part in Part::ALL {
        system.set(part, "OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
        system.set(part, "OTEL_BSP_SCHEDULE_DELAY", "50");
        system.start(part).await;
    }
    let order = json!({"item": "chicken"});
    let id = system.order(Part::Gateway, &order).await.unwrap();
    system.until_settled().await;

    let services = ["gateway", "app", "pay", "store", "customer", "marketing"];
    let told = collector.until(|told| {
        let trace = of_the_order(told);
        let heard = |name| move |it: &&ToldSpan| is(it, "customer", SpanKind::Consumer, name);
        trace.iter().any(heard("process deliveries"))
            && trace.iter().any(heard("process coupons"))
            && is_whole(&trace, &services)
    });
    let told = timeout(PATIENCE, told).await;
    let told = told.expect("the trace did not become whole");
    let trace = of_the_order(&told);
    let spans: BTreeMap<&str, &ToldSpan> = trace.iter().map(|&span| (&*span.id, span)).collect();
    let ways = |service, kind, name| -> Vec<Vec<&str>> {
        let found = trace.iter().filter(|span| is(span, service, kind, name));
        found.map(|span| way(&spans, span)).collect()
    };
    // Called, and waited for.
    assert_eq!(
        ways("pay", SpanKind::Server, "POST /payments"),
        [["gateway", "app", "pay"]]
    );
    // Told by events.
    assert_eq!(
        ways("store", SpanKind::Consumer, "process orders"),
        [["gateway", "app", "store"]]
    );
    for way in ways("customer", SpanKind::Consumer, "process deliveries") {
        assert_eq!(way, ["gateway", "app", "store", "customer"]);
    }
    assert_eq!(
        ways("customer", SpanKind::Consumer, "process coupons"),
        [["gateway", "app", "store", "marketing", "customer"]]
    );
    // And nothing about the order is told elsewhere.
    let of_order = |span: &&ToldSpan| {
        let conversation = span.attributes.get("messaging.message.conversation_id");
        conversation == Some(&id)
    };
    let traces: BTreeSet<&str> = told.iter().filter(of_order).map(|it| &*it.trace).collect();
    assert_eq!(traces, BTreeSet::from([&*trace[0].trace]));
}
