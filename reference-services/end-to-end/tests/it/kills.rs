//! Kill -9 at any moment, under load: nothing that was accepted is lost, nothing happens twice.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use test_servers::{Kind, Server};
use tokio::task::{block_in_place, spawn_blocking};

use end_to_end::customers::{Customers, Story};
use end_to_end::system::{Part, System};

const PARTS: [Part; 7] = [
    Part::Gateway,
    Part::Broker,
    Part::App,
    Part::Pay,
    Part::Store,
    Part::Customer,
    Part::Marketing,
];

/// What dies.
#[derive(Clone, Copy)]
enum Victim {
    Part(Part),
    /// The server of one or more databases.
    Server(usize),
}

/// What runs.
struct Setting {
    system: System,
    servers: Vec<Server>,
}

impl Setting {
    async fn kill(&mut self, victim: Victim) {
        match victim {
            Victim::Part(part) => self.system.kill(part).await,
            Victim::Server(number) => block_in_place(|| self.servers[number].kill()),
        }
    }

    async fn revive(&mut self, victim: Victim) {
        match victim {
            Victim::Part(part) => self.system.start(part).await,
            Victim::Server(number) => block_in_place(|| self.servers[number].start_again()),
        }
    }

    /// Starts everything and kills one of all after the other at random moments while customers order,
    /// ask again and cancel, `kills` times or as often as `HOLDFAST_KILLS` asks for.
    #[expect(
        clippy::print_stdout,
        reason = "whoever runs it is to know what happened, and to be able to try it again"
    )]
    async fn survives(mut self, kills: usize) {
        let kills = std::env::var("HOLDFAST_KILLS").map_or(kills, |text| text.parse().unwrap());
        let seed = std::env::var("HOLDFAST_SEED")
            .map_or_else(|_| rand::random(), |text| text.parse().unwrap());
        println!("HOLDFAST_SEED={seed} tries the same moments again");
        let mut chance = StdRng::seed_from_u64(seed);
        // Time enough to change one's mind.
        self.system.set(Part::Store, "STORE_START_TIME", "300ms");
        for part in Part::ALL {
            self.system.start(part).await;
        }
        let servers = (0..self.servers.len()).map(Victim::Server);
        let victims: Vec<Victim> = PARTS.map(Victim::Part).into_iter().chain(servers).collect();
        let entries = [Part::App, Part::Gateway].map(|part| self.system.url(part, "/orders"));
        let customers = Customers::start_fickle(&self.system.client, &entries, 2);
        for number in 0..kills {
            tokio::time::sleep(Duration::from_millis(chance.random_range(0..400))).await;
            let victim = victims[number % victims.len()];
            self.kill(victim).await;
            tokio::time::sleep(Duration::from_millis(chance.random_range(0..200))).await;
            self.revive(victim).await;
        }
        let story = customers.stop().await;
        println!(
            "{kills} kills: {} orders accepted, {} of them before they were asked for again; other \
             answers by status: {:?}",
            story.accepted.len(),
            story.accepted_before,
            story.refused
        );
        let report = self.system.until_settled().await;
        println!("settled: {}", report["entries"]);

        let orders = self.system.read(Part::App, "/orders").await;
        assert_kept(orders.as_array().unwrap(), &story);
    }
}

/// All that was accepted is there, once whatever it was asked for how often, and some are cancelled.
#[expect(clippy::print_stdout, reason = "as above")]
fn assert_kept(orders: &[Value], story: &Story) {
    let ids: BTreeSet<&str> = orders.iter().filter_map(|it| it["id"].as_str()).collect();
    let accepted: BTreeSet<&str> = story.accepted.iter().map(String::as_str).collect();
    let lost: Vec<&&str> = accepted.difference(&ids).collect();
    assert!(lost.is_empty(), "accepted and lost: {lost:?}");
    assert!(!accepted.is_empty());

    assert_eq!(accepted.len(), story.accepted.len(), "one order, two keys");
    // The address of an order is its key.
    let keys: BTreeSet<&str> = orders
        .iter()
        .filter_map(|it| it["address"].as_str())
        .collect();
    assert_eq!(keys.len(), orders.len(), "one key, two orders");

    let cancelled = orders.iter().filter(|it| it["status"] == "cancelled");
    let cancelled = cancelled.count();
    println!("{cancelled} orders are cancelled");
    assert!(cancelled > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_done_twice_whoever_is_killed_when() {
    let Some(system) = System::new().await else {
        return;
    };
    let servers = Vec::new();
    Setting { system, servers }.survives(30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_when_the_servers_of_the_databases_are_killed_too() {
    let Some(mut system) = System::new().await else {
        return;
    };
    let mut servers = Vec::new();
    for kind in [Kind::Postgres, Kind::MariaDb] {
        let server = spawn_blocking(move || Server::start(kind)).await.unwrap();
        let Some(server) = server else {
            return;
        };
        servers.push(server);
    }
    for (part, server) in [(Part::App, 0), (Part::Pay, 0), (Part::Store, 1)] {
        let database = block_in_place(|| servers[server].new_database());
        system.set(part, "DATABASE_URL", &database);
    }
    Setting { system, servers }.survives(24).await;
}
