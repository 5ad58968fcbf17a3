//! What a bus of a Kafka cluster says about itself.

use std::sync::atomic::AtomicBool;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::*;

/// Waits until a line of the metrics is `wanted`; the library counts what waits once a second.
async fn until_told(registry: &Registry, wanted: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    let told = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            text.clear();
            encode(&mut text, registry).unwrap();
            if let Some(line) = text.lines().find(|line| wanted(line)) {
                return line.to_owned();
            }
        }
    };
    let told = tokio::time::timeout(PATIENCE, told).await;
    told.unwrap_or_else(|_| panic!("it is not in:\n{text}"))
}

#[tokio::test]
async fn a_bus_counts_what_goes_out_comes_in_and_waits() {
    for rig in Rig::all().await {
        if matches!(rig, Rig::Memory(_)) {
            continue;
        }
        let topic = new_topic();
        let mut registry = Registry::default();
        let bus = rig.measured_client(&mut registry);
        publish(&*bus, &topic, (0..3).map(|it| numbered("7", it))).await;
        let of_topic = |name: &str| format!("{name}{{topic=\"{topic}\"");
        let published = format!("{}}} 3", of_topic("events_published_total"));
        until_told(&registry, |line| line == published).await;

        let is_away = Arc::new(AtomicBool::new(true));
        let database = Arc::clone(&is_away);
        let verdict = move |event: &Event| {
            if database.load(Ordering::Relaxed) {
                return Err(HandleError::retry("the database is away"));
            }
            match number(event) {
                2 => Err(HandleError::Poison("two is too many".to_owned())),
                _ => Ok(()),
            }
        };
        let mut member = Member::start_on(bus, &group(&topic), Box::new(verdict));
        // The first one is an increase.
        let dead_letters = of_topic("events_dead_lettered_total");
        let panics = of_topic("event_handler_panics_total");
        for line in [format!("{dead_letters}}} 0"), format!("{panics}}} 0")] {
            until_told(&registry, |told| told == line).await;
        }
        member.take(2).await;
        let lag = of_topic("consumer_lag");
        let waits = |line: &str| line.starts_with(&lag) && line.ends_with(" 3");
        let partition = until_told(&registry, waits).await;
        let partition = partition.strip_suffix(" 3").unwrap();
        is_away.store(false, Ordering::Relaxed);
        while number(&member.next().await) != 2 {}
        for line in [
            format!(
                "{},type=\"Numbered\"}} 2",
                of_topic("events_consumed_total")
            ),
            format!("{dead_letters}}} 1"),
            format!("{partition} 0"),
        ] {
            until_told(&registry, |told| told == line).await;
        }
        let retries = of_topic("event_retries_total");
        let has_some = |line: &str| line.starts_with(&retries) && !line.ends_with(" 0");
        until_told(&registry, has_some).await;

        member.stop().await;
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(
            !text.contains("consumer_lag{"),
            "what others read is not told:\n{text}"
        );
    }
}
