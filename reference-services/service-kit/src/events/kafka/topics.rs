//! Topics, made where they are missing, so that all of them are made alike.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::KafkaConfig;
use super::client::{self, Logged};

/// The topics this process knows to be there.
pub(super) struct Topics {
    admin: AdminClient<Logged>,
    partitions: i32,
    replication: i32,
    limit: Duration,
    known: Mutex<BTreeSet<String>>,
}

/// Why a topic is missing.
#[derive(Debug, thiserror::Error)]
pub(super) enum TopicError {
    #[error("topics cannot be made")]
    Cluster(#[source] KafkaError),
    #[error("topic {topic} cannot be made: {code}")]
    Topic {
        topic: String,
        code: RDKafkaErrorCode,
    },
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topics")
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

impl Topics {
    pub(super) fn new(config: &KafkaConfig) -> Result<Self, KafkaError> {
        Ok(Self {
            admin: AdminClient::from_config_and_context(&client::settings(config), Logged)?,
            partitions: config.partitions,
            replication: config.replication,
            limit: config.publish_limit,
            known: Mutex::default(),
        })
    }

    /// Makes those of `topics` that are missing.
    pub(super) async fn ensure(&self, topics: &[&str]) -> Result<(), TopicError> {
        let unknown: Vec<&str> = {
            let known = self.known();
            let unknown = topics.iter().filter(|topic| !known.contains(**topic));
            unknown.copied().collect()
        };
        if unknown.is_empty() {
            return Ok(());
        }
        let missing: Vec<NewTopic<'_>> = unknown
            .iter()
            .map(|topic| {
                let replication = TopicReplication::Fixed(self.replication);
                NewTopic::new(topic, self.partitions, replication)
            })
            .collect();
        let options = AdminOptions::new()
            .request_timeout(Some(self.limit))
            .operation_timeout(Some(self.limit));
        let outcomes = self.admin.create_topics(&missing, &options).await;
        for outcome in outcomes.map_err(TopicError::Cluster)? {
            match outcome {
                Ok(topic) | Err((topic, RDKafkaErrorCode::TopicAlreadyExists)) => {
                    self.known().insert(topic);
                }
                Err((topic, code)) => return Err(TopicError::Topic { topic, code }),
            }
        }
        Ok(())
    }

    /// Asks the cluster again the next time.
    pub(super) fn forget(&self, topics: &[&str]) {
        self.known()
            .retain(|topic| !topics.contains(&topic.as_str()));
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.known.lock().expect("no holder of this lock can panic")
    }
}
