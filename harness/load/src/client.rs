//! One request from its sending to the last byte of its answer: over a kept connection or a new
//! one, redirects followed, until its deadline at most.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::experiment::{Connections, Redirects};
use holdfast_core::outcome::{Hop, Reason};
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::cookies::Jar;
use crate::decoder::Afterwards;
use crate::dialer::Dialer;
use crate::failure::{Failure, Unanswered};
use crate::link::Link;
use crate::message::Message;
use crate::progress::{Answer, Progress, Step};
use crate::redirect;
use crate::target::Target;

#[cfg(test)]
pub(crate) mod tests;

/// Most connections that one sender keeps, each to another origin.
const KEPT_LIMIT: usize = 8;

/// The most connections that one sender has open at once, to so many origins.
pub(crate) fn most_connections(connections: Connections, origins: usize) -> u64 {
    match connections {
        Connections::PerRequest => 1,
        Connections::KeepAlive => origins.clamp(1, KEPT_LIMIT) as u64,
    }
}

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
    /// Time that went by since, while this process looked at the answer.
    pub(crate) inspection: Duration,
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
                jar: Jar::default(),
            },
            alarm: Alarm::default(),
        }
    }

    /// Goes on without any cookie.
    pub(crate) fn forget_cookies(&mut self) {
        self.links.jar.forget();
    }

    /// Sends a request and reads its answer to the last byte, until `deadline` at most.
    pub(crate) async fn perform(&mut self, message: &Message, deadline: Instant) -> Outcome {
        let mut progress = Progress::new(message, self.links.dialer.transport.redirects);
        let mut hops = Vec::new();
        let attempt = self.links.attempt(message, &mut progress, &mut hops);
        let (failure, answer) = match self.alarm.until(deadline, attempt).await {
            Some(Ok(())) => (progress.judge(), progress.answer.take()),
            Some(Err(failure)) => (Some(failure), None),
            None => (Some(progress.timed_out()), None),
        };
        Outcome {
            status: progress.status,
            body_bytes: progress.body_bytes,
            failure,
            hops,
            endpoint: progress.endpoint,
            answer,
            inspection: Duration::ZERO,
        }
    }
}

/// The connections of one sender.
#[derive(Debug)]
struct Links {
    dialer: Arc<Dialer>,
    connections: Connections,
    kept: Vec<Link>,
    jar: Jar,
}

impl Links {
    /// One exchange and those that it redirects to.
    async fn attempt(
        &mut self,
        message: &Message,
        progress: &mut Progress<'_>,
        hops: &mut Vec<Hop>,
    ) -> Result<(), Failure> {
        match self.dialer.transport.redirects {
            Redirects::Answer => self.exchange(message, progress).await,
            Redirects::Follow => {
                let begun = Instant::now();
                self.exchange(message, progress).await?;
                if progress.location.is_some() {
                    // Rare, and too large to be part of every request's state.
                    Box::pin(self.follow(message, progress, (hops, begun))).await?;
                }
                Ok(())
            }
        }
    }

    /// Follows redirects until an answer is none. Its account: the hops, and when the first began.
    async fn follow(
        &mut self,
        first: &Message,
        progress: &mut Progress<'_>,
        (hops, mut begun): (&mut Vec<Hop>, Instant),
    ) -> Result<(), Failure> {
        let mut sent = Cow::Borrowed(first);
        while let (Some(status), Some(location)) = (progress.status, progress.location.take()) {
            if hops.len() == redirect::LIMIT {
                let detail = format!("more than {} redirects in a row", redirect::LIMIT);
                return Err(Failure::new(Reason::Redirect, &detail));
            }
            let next = redirect::next(&sent, status, &location, &self.dialer)?;
            let ended = Instant::now();
            hops.push(Hop {
                time: ended - begun,
                status,
                body_bytes: progress.body_bytes,
            });
            begun = ended;
            progress.forget_answer();
            self.exchange(&next, progress).await?;
            sent = Cow::Owned(next);
        }
        Ok(())
    }

    /// One exchange, without redirects, with the cookies that belong to it.
    async fn exchange(
        &mut self,
        message: &Message,
        progress: &mut Progress<'_>,
    ) -> Result<(), Failure> {
        let exchanged = match self.jar.header(message) {
            Some(cookies) => {
                let message = message.with_cookies(&cookies);
                // Only with cookies, and too large to be part of every request's state.
                Box::pin(self.exchange_over_a_link(&message, progress)).await
            }
            None => self.exchange_over_a_link(message, progress).await,
        };
        self.jar.keep(message, &progress.set_cookies);
        exchanged
    }

    /// Whatever fails or is given up takes its connection along.
    async fn exchange_over_a_link(
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
        // Too large to be part of every sender's state: most requests need none of it.
        let dial = Box::pin(self.dialer.dial(&message.target, progress));
        let mut link = dial.await?;
        let afterwards = link.exchange(message, progress).await?;
        self.keep(link, afterwards);
        Ok(())
    }

    fn take(&mut self, target: &Target) -> Option<Link> {
        let mut kept = self.kept.iter();
        let at = kept.position(|link| link.target.is_same_origin(target))?;
        // The others keep their order: the one that was used longest ago goes first.
        Some(self.kept.remove(at))
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
