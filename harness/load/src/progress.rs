//! What is known of a request and its answer so far, and what a complete answer is worth.

use std::borrow::Cow;
use std::sync::Arc;

use holdfast_core::experiment::Redirects;
use holdfast_core::outcome::Reason;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, SET_COOKIE};

use crate::failure::{self, Failure};
use crate::message::{Keep, Message};

/// The header in which a service says why it refused.
const REFUSAL_HEADER: &str = "x-refusal-reason";
/// How much of an unexpected JSON answer is kept to find its problem title, in bytes.
const PROBLEM_LIMIT: usize = 4096;
/// How much of a body is kept for those who ask for the answer, in bytes.
const KEPT_LIMIT: usize = 1024 * 1024;

/// An answer, for those who look at more than its status.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    /// Every header, each value on its own.
    pub(crate) headers: HeaderMap,
    /// The body, up to its first [`KEPT_LIMIT`] bytes.
    pub(crate) body: Vec<u8>,
}

/// How far a request got: what a deadline means depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Resolve,
    Connect,
    /// The TLS handshake.
    Secure,
    Headers,
    Body,
}

/// What is known so far; survives a deadline in the middle.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    message: &'a Message,
    redirects: Redirects,
    pub(crate) step: Step,
    pub(crate) status: Option<u16>,
    pub(crate) body_bytes: u64,
    /// Where the answer redirects to, when that is to be followed.
    pub(crate) location: Option<Vec<u8>>,
    /// The endpoint that was dialled, where it is known.
    pub(crate) endpoint: Option<Arc<str>>,
    pub(crate) answer: Option<Answer>,
    /// The cookies that the answer sets, as it says so.
    pub(crate) set_cookies: Vec<String>,
    refusal: Option<Reason>,
    /// The beginning of an unexpected JSON body.
    problem: Option<Vec<u8>>,
}

/// The headers of an answer, as one protocol or the other has them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Headers<'a> {
    Parsed(&'a [httparse::Header<'a>]),
    Map(&'a HeaderMap),
}

impl Headers<'_> {
    fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        match self {
            Self::Parsed(headers) => headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case(name.as_str()))
                .map(|header| header.value),
            Self::Map(headers) => headers.get(name).map(HeaderValue::as_bytes),
        }
    }

    fn text(&self, name: &HeaderName) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    fn texts(&self, name: &HeaderName) -> Vec<String> {
        let values: Vec<&[u8]> = match self {
            Self::Parsed(headers) => headers
                .iter()
                .filter(|header| header.name.eq_ignore_ascii_case(name.as_str()))
                .map(|header| header.value)
                .collect(),
            Self::Map(headers) => {
                let values = headers.get_all(name).iter();
                values.map(HeaderValue::as_bytes).collect()
            }
        };
        let texts = values.iter().map(|value| String::from_utf8_lossy(value));
        texts.map(Cow::into_owned).collect()
    }

    /// Leaves out what is valid in an answer but no header by the stricter rules of a map.
    fn to_map(self) -> HeaderMap {
        match self {
            Self::Parsed(headers) => {
                let valid = headers.iter().filter_map(|header| {
                    let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
                    Some((name, HeaderValue::from_bytes(header.value).ok()?))
                });
                let mut map = HeaderMap::with_capacity(headers.len());
                for (name, value) in valid {
                    map.append(name, value);
                }
                map
            }
            Self::Map(headers) => headers.clone(),
        }
    }
}

impl<'a> Progress<'a> {
    /// Nothing is known yet of `message`.
    pub(crate) fn new(message: &'a Message, redirects: Redirects) -> Self {
        Self {
            message,
            redirects,
            step: Step::Resolve,
            status: None,
            body_bytes: 0,
            location: None,
            endpoint: None,
            answer: None,
            set_cookies: Vec::new(),
            refusal: None,
            problem: None,
        }
    }

    /// The answer was a redirect; the next one counts.
    pub(crate) fn forget_answer(&mut self) {
        *self = Self::new(self.message, self.redirects);
    }

    /// The headers of an answer are there.
    pub(crate) fn begin(&mut self, status: u16, headers: Headers<'_>) {
        self.step = Step::Body;
        self.status = Some(status);
        if self.redirects == Redirects::Follow && matches!(status, 301 | 302 | 303 | 307 | 308) {
            self.location = headers.get(&LOCATION).map(<[u8]>::to_vec);
        }
        self.set_cookies = headers.texts(&SET_COOKIE);
        if self.message.keep == Keep::Answer {
            self.answer = Some(Answer {
                headers: headers.to_map(),
                body: Vec::new(),
            });
        }
        if self.message.expect.contains(&status) {
            return;
        }
        let refusal = headers.text(&HeaderName::from_static(REFUSAL_HEADER));
        self.refusal = refusal.and_then(Reason::from_refusal_header);
        if headers
            .text(&CONTENT_TYPE)
            .is_some_and(|kind| kind.contains("json"))
        {
            self.problem = Some(Vec::new());
        }
    }

    /// A piece of the body is there.
    pub(crate) fn read(&mut self, data: &[u8]) {
        self.body_bytes += data.len() as u64;
        if let Some(answer) = &mut self.answer {
            keep(&mut answer.body, data, KEPT_LIMIT);
        }
        if let Some(problem) = &mut self.problem {
            keep(problem, data, PROBLEM_LIMIT);
        }
    }

    /// What it means that a connection ended here, or that what came was not HTTP.
    pub(crate) fn reset(&self) -> Reason {
        match self.step {
            Step::Resolve | Step::Connect | Step::Secure | Step::Headers => {
                Reason::ResetBeforeHeaders
            }
            Step::Body => Reason::ResetAfterHeaders,
        }
    }

    /// What it means that the deadline came here.
    pub(crate) fn timed_out(&self) -> Failure {
        let (reason, detail) = match self.step {
            Step::Resolve => (Reason::Dns, "no answer from the resolver in time"),
            Step::Connect => (Reason::ConnectTimeout, "no connection in time"),
            Step::Secure => (Reason::Tls, "the TLS handshake did not end in time"),
            Step::Headers => (Reason::HeaderTimeout, "no response header in time"),
            Step::Body => (Reason::BodyStall, "the body did not end in time"),
        };
        Failure::new(reason, detail)
    }

    /// Judges a complete answer.
    pub(crate) fn judge(&self) -> Option<Failure> {
        let status = self.status?;
        if self.message.expect.contains(&status) {
            return None;
        }
        let reason = self.refusal.unwrap_or_else(|| failure::of_status(status));
        let title = self.problem.as_deref().and_then(problem_title);
        Some(Failure::new(
            reason,
            &title.unwrap_or_else(|| describe(status)),
        ))
    }
}

fn keep(kept: &mut Vec<u8>, data: &[u8], limit: usize) {
    let room = limit - kept.len();
    kept.extend_from_slice(&data[..data.len().min(room)]);
}

/// The `title` of a problem document (RFC 9457).
fn problem_title(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(body.get("title")?.as_str()?.to_owned())
}

fn describe(status: u16) -> String {
    StatusCode::from_u16(status).map_or_else(|_| status.to_string(), |status| status.to_string())
}
