//! Journeys written in Rust: the transactions of Goose scenarios send through a [`Session`] of
//! ours, so that their requests are measured, counted and explained as those of a plan are.
//!
//! ```no_run
//! use goose::goose::{GooseUser, Scenario, Transaction, TransactionResult};
//! use goose::{scenario, transaction};
//! use holdfast_load::scenario::session;
//! use holdfast_load::{Options, driver};
//!
//! async fn order(_user: &mut GooseUser) -> TransactionResult {
//!     let order = serde_json::json!({"item": "chicken"});
//!     let answer = session().post("/orders").json(&order).expect(201).send().await?;
//!     if let Some(place) = answer.header("location") {
//!         session().get(place).named("GET /orders/{id}").send().await?;
//!     }
//!     Ok(())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let scenario = scenario!("orders").register_transaction(transaction!(order));
//! let load = driver("http://127.0.0.1:8081", Options::default())?.with_scenarios(vec![scenario]);
//! # drop(load);
//! # Ok(())
//! # }
//! ```
//!
//! The plan says how many users there are and when (its stages), Goose which transaction of which
//! scenario is next and how long a user waits between two. A transaction counts as a journey of its
//! name. The plan's own journeys are what the prober sends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use goose::goose::TransactionError;
use holdfast_core::outcome::{Reason, Source};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::failure::{Failure, words};
use crate::message::{Keep, Message, RequestError};
use crate::progress;
use crate::users::Battery;

mod cast;

pub(crate) use cast::Cast;
use cast::Seat;

/// The usual words for "done": OK, Created, Accepted, No Content.
const DEFAULT_EXPECT: [u16; 4] = [200, 201, 202, 204];

tokio::task_local! {
    static SESSION: Session;
}

/// The user in whose transaction this is called.
///
/// # Panics
/// Outside a transaction of a scenario that [`HttpLoad`](crate::HttpLoad) runs, or in a task of its
/// own that one has spawned.
#[must_use]
pub fn session() -> Session {
    SESSION
        .try_with(Clone::clone)
        .expect("`session` is called in a transaction that a holdfast load runs")
}

/// One user of a load: its connection, its cookies and its account. Requests of one user are sent
/// one after the other.
#[derive(Clone)]
pub struct Session(Arc<Seat>);

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Session")
            .field(&self.0.number)
            .finish()
    }
}

/// Why a request was not sent, or its answer not understood.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The load has ended, or the plan has this user pause or go.
    #[error("the user's time is over")]
    Over,
    /// It is no valid HTTP.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Its body cannot be written as JSON.
    #[error("the body cannot be written as JSON")]
    Body(#[source] serde_json::Error),
    /// Its answer cannot be read as the JSON that was asked for.
    #[error("the answer is not the JSON that is wanted")]
    Answer(#[source] serde_json::Error),
}

/// For `?` in transactions: Goose ends the transaction, and nothing else.
impl From<SessionError> for Box<TransactionError> {
    fn from(error: SessionError) -> Self {
        Self::new(TransactionError::Custom(words(&error)))
    }
}

impl Session {
    /// The user's number among all of the load, from 0.
    #[must_use]
    pub fn user(&self) -> u32 {
        self.0.number
    }

    /// A request to an absolute path, percent-encoded, below the load's target. The path and a
    /// header may say anything that is valid HTTP; see [`SessionError::Request`].
    pub fn request(&self, method: &str, path: &str) -> Request {
        Request {
            session: self.clone(),
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Ok(None),
            expect: Vec::new(),
            label: None,
            timeout: None,
            check: None,
        }
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    /// `POST`.
    pub fn post(&self, path: &str) -> Request {
        self.request("POST", path)
    }

    /// `PUT`.
    pub fn put(&self, path: &str) -> Request {
        self.request("PUT", path)
    }

    /// `PATCH`.
    pub fn patch(&self, path: &str) -> Request {
        self.request("PATCH", path)
    }

    /// `DELETE`.
    pub fn delete(&self, path: &str) -> Request {
        self.request("DELETE", path)
    }

    /// `HEAD`.
    pub fn head(&self, path: &str) -> Request {
        self.request("HEAD", path)
    }
}

type AnswerCheck = Box<dyn FnOnce(&Answer) -> Result<(), String> + Send>;

/// A request that is being put together. Nothing is sent before [`Request::send`].
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    session: Session,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Result<Option<String>, serde_json::Error>,
    expect: Vec<u16>,
    label: Option<String>,
    timeout: Option<Duration>,
    check: Option<AnswerCheck>,
}

impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.method, self.path)
    }
}

impl Request {
    /// Sets a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers
            .retain(|(given, _)| !given.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a body of text.
    pub fn body(mut self, text: &str) -> Self {
        self.body = Ok(Some(text.to_owned()));
        self
    }

    /// Sets a body of JSON and its `content-type`.
    pub fn json(mut self, value: &impl Serialize) -> Self {
        self.body = serde_json::to_string(value).map(Some);
        self.header("content-type", "application/json")
    }

    /// Counts this status as success, and no other that is not named so too. Without it 200, 201,
    /// 202 and 204 are.
    pub fn expect(mut self, status: u16) -> Self {
        self.expect.push(status);
        self
    }

    /// The name in reports, in place of method and path.
    pub fn named(mut self, name: &str) -> Self {
        self.label = Some(name.to_owned());
        self
    }

    /// A deadline of its own, from connect to the last byte, in place of the plan's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// What else must hold of an expected answer. In words what is wrong, when it does not: the
    /// request then counts as failed ([`Reason::Check`]).
    pub fn check(
        mut self,
        check: impl FnOnce(&Answer) -> Result<(), String> + Send + 'static,
    ) -> Self {
        self.check = Some(Box::new(check));
        self
    }

    /// Sends it, waits for the end of its answer, and counts how it ended. A request that failed is
    /// an [`Answer`] too.
    ///
    /// # Errors
    /// It was not sent.
    pub async fn send(mut self) -> Result<Answer, SessionError> {
        let message = self.message()?;
        let seat = &self.session.0;
        let mut actor = seat.actor.lock().await;
        let sent = actor.send(&seat.recorder).ok_or(SessionError::Over)?;
        let deadline = sent.at + self.timeout.unwrap_or(seat.battery.timeout);
        let mut outcome = actor.client.perform(&message, deadline).await;
        let mut answer = Answer {
            status: outcome.status,
            kept: outcome.answer.take(),
            failure: None,
        };
        if let (None, Some(check)) = (&outcome.failure, self.check.take()) {
            let begun = Instant::now();
            if let Err(words) = check(&answer) {
                outcome.failure = Some(Failure::new(Reason::Check, &words));
            }
            outcome.inspection = begun.elapsed();
        }
        answer.failure = outcome.failure.as_ref().map(|failure| failure.reason);
        actor.has_failed |= answer.failure.is_some();
        let label = self.label.take();
        let label = label.unwrap_or_else(|| format!("{} {}", self.method, self.path));
        seat.recorder.end(Source::Users, &label, sent, outcome);
        Ok(answer)
    }

    fn message(&mut self) -> Result<Message, SessionError> {
        let body = std::mem::replace(&mut self.body, Ok(None)).map_err(SessionError::Body)?;
        let Battery { target, dialer, .. } = &*self.session.0.battery;
        let mut message = Message::new(Arc::clone(target), dialer.transport.connections);
        message.keep = Keep::Answer;
        message.expect = match self.expect.as_slice() {
            [] => DEFAULT_EXPECT.to_vec(),
            given => given.to_vec(),
        };
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_str()));
        message.write(&self.method, &self.path, headers, body.as_deref())?;
        Ok(message)
    }
}

/// How a request ended.
#[derive(Debug)]
pub struct Answer {
    status: Option<u16>,
    kept: Option<progress::Answer>,
    failure: Option<Reason>,
}

impl Answer {
    /// The status code, when headers arrived.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// Why the request failed; `None` when it did not.
    #[must_use]
    pub fn failure(&self) -> Option<Reason> {
        self.failure
    }

    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.kept.as_ref()?.headers.get(name)?.to_str().ok()
    }

    /// The body, as far as it is kept: its first MiB.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.kept.as_ref().map_or(&[], |kept| &kept.body)
    }

    /// The body read as JSON.
    ///
    /// # Errors
    /// It is not JSON of that shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, SessionError> {
        serde_json::from_slice(self.body()).map_err(SessionError::Answer)
    }
}
