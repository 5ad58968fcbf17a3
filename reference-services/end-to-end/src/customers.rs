//! Customers who go on ordering until they are told to stop.

use std::collections::BTreeMap;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What became of their orders.
#[derive(Debug, Default)]
pub struct Story {
    /// The ids of those that were accepted.
    pub accepted: Vec<String>,
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
    /// little when it was not.
    pub fn start(client: &Client, urls: &[String], at_each: usize) -> Self {
        let stop = CancellationToken::new();
        let mut at_work = JoinSet::new();
        for url in urls
            .iter()
            .flat_map(|url| std::iter::repeat_n(url, at_each))
        {
            at_work.spawn(go_on(client.clone(), url.clone(), stop.clone()));
        }
        Self { stop, at_work }
    }

    pub async fn stop(mut self) -> Story {
        self.stop.cancel();
        let mut all = Story::default();
        while let Some(story) = self.at_work.join_next().await {
            let story = story.unwrap();
            all.accepted.extend(story.accepted);
            for (status, count) in story.refused {
                *all.refused.entry(status).or_default() += count;
            }
        }
        all
    }
}

async fn go_on(client: Client, url: String, stop: CancellationToken) -> Story {
    let mut story = Story::default();
    while !stop.is_cancelled() {
        let order = json!({"item": "chicken", "quantity": 1 + story.accepted.len() % 3});
        let status = match client.post(&url).json(&order).send().await {
            Ok(response) if response.status() == StatusCode::CREATED => {
                match response.json::<Value>().await {
                    Ok(order) => {
                        story
                            .accepted
                            .push(order["id"].as_str().unwrap().to_owned());
                        continue;
                    }
                    Err(_broken_off) => None,
                }
            }
            Ok(response) => Some(response.status().as_u16()),
            Err(_) => None,
        };
        *story.refused.entry(status).or_default() += 1;
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    story
}
