//! Kill -9 at any moment, under load: nothing that was accepted is lost, nothing happens twice.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use end_to_end::customers::Customers;
use end_to_end::system::{Part, System};

/// How many kills one run has: `HOLDFAST_KILLS` asks for more or fewer.
const KILLS: usize = 30;

const VICTIMS: [Part; 6] = [
    Part::Broker,
    Part::App,
    Part::Pay,
    Part::Store,
    Part::Customer,
    Part::Marketing,
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_done_twice_whoever_is_killed_when() {
    let Some(mut system) = System::running().await else {
        return;
    };
    let kills = std::env::var("HOLDFAST_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let seed = std::env::var("HOLDFAST_SEED")
        .map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    println!("HOLDFAST_SEED={seed} tries the same moments again");
    let mut chance = StdRng::seed_from_u64(seed);
    let customers = Customers::start(&system.client, &system.url(Part::App, "/orders"), 4);
    for number in 0..kills {
        tokio::time::sleep(Duration::from_millis(chance.random_range(0..400))).await;
        let victim = VICTIMS[number % VICTIMS.len()];
        system.kill(victim).await;
        tokio::time::sleep(Duration::from_millis(chance.random_range(0..200))).await;
        system.start(victim).await;
    }
    let story = customers.stop().await;
    println!(
        "{kills} kills: {} orders accepted, others by status: {:?}",
        story.accepted.len(),
        story.refused
    );
    let report = system.until_settled().await;
    println!("settled: {}", report["entries"]);

    let orders = system.read(Part::App, "/orders").await;
    let kept: BTreeSet<&str> = orders.as_array().unwrap().iter().filter_map(id).collect();
    let lost: Vec<&String> = story
        .accepted
        .iter()
        .filter(|id| !kept.contains(id.as_str()))
        .collect();
    assert!(lost.is_empty(), "accepted and lost: {lost:?}");
    assert!(!story.accepted.is_empty());
}

fn id(order: &Value) -> Option<&str> {
    order["id"].as_str()
}
