//! Customers who go on ordering until they are told to stop.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a customer rests whose order was not accepted.
const REST: Duration = Duration::from_millis(10);

/// How often a fickle customer asks for one order: as long as it takes for whoever died to be back, and
/// not so long as a dead process's order keeps its key.
const TRIES: usize = 50;

/// Every how many orders a fickle customer does not want one any more.
const CANCELLED: usize = 5;

/// What became of their orders.
#[derive(Debug, Default)]
pub struct Story {
    /// The ids of those that were accepted.
    pub accepted: Vec<String>,
    /// How many of these an earlier request with their key had placed, whose answer was lost.
    pub accepted_before: u64,
    /// How often another answer came, by status; `None` is no answer.
    pub refused: BTreeMap<Option<u16>, u64>,
}

/// Several customers of one or more entries.
#[derive(Debug)]
pub struct Customers {
    stop: CancellationToken,
    at_work: JoinSet<Story>,
}

impl Customers {
    /// So many at each of these URLs. Each orders as soon as its last order was answered, and rests a
    /// little when it was not accepted.
    pub fn start(client: &Client, urls: &[String], at_each: usize) -> Self {
        Self::at_work(client, urls, at_each, order)
    }

    /// The same, and what was not accepted is asked for again under the same `Idempotency-Key`, which is
    /// the address of the order, too. Every few orders, one is cancelled as soon as it is accepted.
    pub fn start_fickle(client: &Client, urls: &[String], at_each: usize) -> Self {
        Self::at_work(client, urls, at_each, order_and_regret)
    }

    fn at_work<W>(
        client: &Client,
        urls: &[String],
        at_each: usize,
        work: fn(Client, String, CancellationToken) -> W,
    ) -> Self
    where
        W: Future<Output = Story> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let mut at_work = JoinSet::new();
        for url in urls
            .iter()
            .flat_map(|url| std::iter::repeat_n(url, at_each))
        {
            at_work.spawn(work(client.clone(), url.clone(), stop.clone()));
        }
        Self { stop, at_work }
    }

    pub async fn stop(mut self) -> Story {
        self.stop.cancel();
        let mut all = Story::default();
        while let Some(story) = self.at_work.join_next().await {
            let story = story.unwrap();
            all.accepted.extend(story.accepted);
            all.accepted_before += story.accepted_before;
            for (status, count) in story.refused {
                *all.refused.entry(status).or_default() += count;
            }
        }
        all
    }
}

async fn order(client: Client, url: String, stop: CancellationToken) -> Story {
    let mut story = Story::default();
    while !stop.is_cancelled() {
        let order = json!({"item": "chicken", "quantity": story.quantity()});
        story.place(client.post(&url).json(&order)).await;
    }
    story
}

async fn order_and_regret(client: Client, url: String, stop: CancellationToken) -> Story {
    let mut story = Story::default();
    while !stop.is_cancelled() {
        let key = format!("{:032x}", rand::random::<u128>());
        let order = json!({"item": "chicken", "quantity": story.quantity(), "address": key});
        let request = || {
            client
                .post(&url)
                .header("idempotency-key", &key)
                .json(&order)
        };
        for _ in 0..TRIES {
            let Some(id) = story.place(request()).await else {
                continue;
            };
            if story.accepted.len().is_multiple_of(CANCELLED) {
                cancel(client.post(format!("{url}/{id}/cancellation"))).await;
            }
            break;
        }
    }
    story
}

impl Story {
    fn quantity(&self) -> usize {
        1 + self.accepted.len() % 3
    }

    /// Sends an order, notes what becomes of it, and tells its id if it is accepted.
    async fn place(&mut self, request: RequestBuilder) -> Option<String> {
        let status = match request.send().await {
            Ok(response) if [StatusCode::CREATED, StatusCode::OK].contains(&response.status()) => {
                let is_known = response.status() == StatusCode::OK;
                match response.json::<Value>().await {
                    Ok(order) => {
                        let id = order["id"].as_str();
                        let id = id
                            .expect("an accepted order is answered with its id")
                            .to_owned();
                        self.accepted.push(id.clone());
                        self.accepted_before += u64::from(is_known);
                        return Some(id);
                    }
                    Err(_broken_off) => None,
                }
            }
            Ok(response) => Some(response.status().as_u16()),
            Err(_) => None,
        };
        *self.refused.entry(status).or_default() += 1;
        tokio::time::sleep(REST).await;
        None
    }
}

/// Asks for an accepted order not to be brought: the store may be asked, it may be too late, or nobody
/// may be there to ask. But the order is known.
async fn cancel(request: RequestBuilder) {
    let Ok(response) = request.send().await else {
        return;
    };
    let status = response.status();
    let is_understood = [StatusCode::ACCEPTED, StatusCode::CONFLICT].contains(&status);
    assert!(is_understood || status.is_server_error(), "{status}");
}
