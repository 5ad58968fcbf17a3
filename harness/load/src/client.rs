//! One request from its sending to the last byte of its answer: over a kept connection or a new
//! one, redirects followed, until its deadline at most.

use std::sync::Arc;

use holdfast_core::experiment::Connections;
use holdfast_core::outcome::Hop;
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::decoder::Afterwards;
use crate::dialer::Dialer;
use crate::failure::{Failure, Unanswered};
use crate::link::Link;
use crate::message::Message;
use crate::progress::{Answer, Progress, Step};
use crate::target::Target;

/// Most connections that one sender keeps, each to another origin.
const KEPT_LIMIT: usize = 8;

/// How a request ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: Option<u16>,
    pub(crate) body_bytes: u64,
    pub(crate) failure: Option<Failure>,
    /// The redirects that were followed before this end.
    pub(crate) hops: Vec<Hop>,
    /// The endpoint that was dialled, where it is known.
    pub(crate) endpoint: Option<Arc<str>>,
    /// The answer, when the message asked for it to be kept and it arrived.
    pub(crate) answer: Option<Answer>,
}

/// One sender of requests.
#[derive(Debug)]
pub(crate) struct Client {
    links: Links,
    alarm: Alarm,
}

impl Client {
    pub(crate) fn new(dialer: &Arc<Dialer>, connections: Connections) -> Self {
        Self {
            links: Links {
                dialer: Arc::clone(dialer),
                connections,
                kept: Vec::new(),
            },
            alarm: Alarm::default(),
        }
    }

    /// Sends a request and reads its answer to the last byte, until `deadline` at most.
    pub(crate) async fn perform(&mut self, message: &Message, deadline: Instant) -> Outcome {
        let mut progress = Progress::new(message, self.links.dialer.transport.redirects);
        let hops = Vec::new();
        let attempt = self.links.exchange(message, &mut progress);
        let failure = match self.alarm.until(deadline, attempt).await {
            Some(Ok(())) => progress.judge(),
            Some(Err(failure)) => Some(failure),
            None => Some(progress.timed_out()),
        };
        Outcome {
            status: progress.status,
            body_bytes: progress.body_bytes,
            failure,
            hops,
            endpoint: progress.endpoint,
            answer: progress.answer,
        }
    }
}

/// The connections of one sender.
#[derive(Debug)]
struct Links {
    dialer: Arc<Dialer>,
    connections: Connections,
    kept: Vec<Link>,
}

impl Links {
    /// One exchange, without redirects. Whatever fails or is given up takes its connection along.
    async fn exchange(
        &mut self,
        message: &Message,
        progress: &mut Progress<'_>,
    ) -> Result<(), Failure> {
        if let Some(mut link) = self.take(&message.target) {
            progress.step = Step::Headers;
            progress.endpoint.clone_from(&link.endpoint);
            if link.is_usable().await {
                match link.exchange(message, progress).await {
                    // The server had closed the idle connection.
                    Err(Unanswered::Unsent(_)) => {}
                    Err(Unanswered::Failed(failure)) => return Err(failure),
                    Ok(afterwards) => {
                        self.keep(link, afterwards);
                        return Ok(());
                    }
                }
            }
            progress.endpoint = None;
        }
        let mut link = self.dialer.dial(&message.target, progress).await?;
        let afterwards = link.exchange(message, progress).await?;
        self.keep(link, afterwards);
        Ok(())
    }

    fn take(&mut self, target: &Target) -> Option<Link> {
        let mut kept = self.kept.iter();
        let at = kept.position(|link| link.target.is_same_origin(target))?;
        Some(self.kept.swap_remove(at))
    }

    fn keep(&mut self, link: Link, afterwards: Afterwards) {
        if self.connections == Connections::KeepAlive && afterwards == Afterwards::Open {
            if self.kept.len() == KEPT_LIMIT {
                self.kept.remove(0);
            }
            self.kept.push(link);
        }
    }
}
