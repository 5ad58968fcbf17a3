//! One request and its answer: connect, send, read the whole body, and say how it ended.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use holdfast_core::experiment::{Connections, Transport};
use holdfast_core::outcome::{Hop, Reason};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::failure::{self, Failure};
use crate::message::Message;
use crate::target::Target;

/// The header in which a service says why it refused.
const REFUSAL_HEADER: &str = "x-refusal-reason";
/// How much of an unexpected JSON answer is kept to find its problem title, in bytes.
const PROBLEM_LIMIT: usize = 4096;

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
    /// The whole answer, when the message asked for it to be kept and it arrived.
    pub(crate) answer: Option<Answer>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// One sender of requests; holds at most one connection.
#[derive(Debug)]
pub(crate) struct Client {
    transport: Transport,
    kept: Option<Connection>,
}

impl Client {
    pub(crate) fn new(transport: Transport) -> Self {
        Self {
            transport,
            kept: None,
        }
    }

    /// Sends a request and reads its answer to the last byte, until `deadline` at most.
    pub(crate) async fn perform(&mut self, message: &Message, deadline: Instant) -> Outcome {
        let mut progress = Progress::default();
        let answered = timeout_at(deadline, self.attempt(message, &mut progress)).await;
        let failure = match answered {
            Ok(Ok(())) => progress.judge(&message.expect),
            Ok(Err(failure)) => Some(failure),
            Err(_elapsed) => Some(progress.step.timed_out()),
        };
        Outcome {
            status: progress.status.map(|status| status.as_u16()),
            body_bytes: progress.body_bytes,
            failure,
            hops: Vec::new(),
            endpoint: None,
            answer: None,
        }
    }

    /// Takes the kept connection out, and puts it back only after a complete answer: whatever
    /// fails or is cancelled in between closes it.
    async fn attempt(&mut self, message: &Message, progress: &mut Progress) -> Result<(), Failure> {
        let (mut connection, response) = self.send(message, progress).await?;
        progress.answer(&response, &message.expect);
        connection.read_body(response.into_body(), progress).await?;
        if self.transport.connections == Connections::KeepAlive {
            self.kept = Some(connection);
        }
        Ok(())
    }

    async fn send(
        &mut self,
        message: &Message,
        progress: &mut Progress,
    ) -> Result<(Connection, Response<Incoming>), Failure> {
        let target = &message.target;
        let mut message = message.request.clone();
        if let Some(mut connection) = self.kept.take() {
            progress.step = Step::Headers;
            if connection.is_usable().await {
                match connection.send(message).await {
                    Ok(response) => return Ok((connection, response)),
                    // Not a byte of it was written: the server had closed the idle connection.
                    Err(NotAnswered {
                        unsent: Some(unsent),
                        ..
                    }) => message = *unsent,
                    Err(NotAnswered { failure, .. }) => return Err(failure),
                }
            }
        }
        let mut connection = Connection::open(target, progress).await?;
        match connection.send(message).await {
            Ok(response) => Ok((connection, response)),
            Err(NotAnswered { failure, .. }) => Err(failure),
        }
    }
}

/// How far a request got: what a deadline means depends on it.
#[derive(Clone, Copy, Debug, Default)]
enum Step {
    #[default]
    Resolve,
    Connect,
    Headers,
    Body,
}

impl Step {
    fn timed_out(self) -> Failure {
        match self {
            Self::Resolve => Failure::new(Reason::Dns, "no answer from the resolver in time"),
            Self::Connect => Failure::new(Reason::ConnectTimeout, "no connection in time"),
            Self::Headers => Failure::new(Reason::HeaderTimeout, "no response header in time"),
            Self::Body => Failure::new(Reason::BodyStall, "the body did not end in time"),
        }
    }
}

/// What is known of an answer so far; survives a deadline in the middle.
#[derive(Debug, Default)]
struct Progress {
    step: Step,
    status: Option<StatusCode>,
    refusal: Option<Reason>,
    body_bytes: u64,
    /// The beginning of an unexpected JSON body.
    problem: Option<Vec<u8>>,
}

impl Progress {
    fn answer(&mut self, response: &Response<Incoming>, expect: &[u16]) {
        self.step = Step::Body;
        self.status = Some(response.status());
        if expect.contains(&response.status().as_u16()) {
            return;
        }
        let header = |name: &str| text(response.headers(), name);
        self.refusal = header(REFUSAL_HEADER).and_then(Reason::from_refusal_header);
        if header(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.contains("json")) {
            self.problem = Some(Vec::new());
        }
    }

    fn read(&mut self, data: &[u8]) {
        self.body_bytes += data.len() as u64;
        if let Some(problem) = &mut self.problem {
            let room = PROBLEM_LIMIT - problem.len();
            problem.extend_from_slice(&data[..data.len().min(room)]);
        }
    }

    /// Judges a complete answer.
    fn judge(&self, expect: &[u16]) -> Option<Failure> {
        let status = self.status?;
        if expect.contains(&status.as_u16()) {
            return None;
        }
        let reason = self
            .refusal
            .unwrap_or_else(|| failure::of_status(status.as_u16()));
        let title = self.problem.as_deref().and_then(problem_title);
        Some(Failure::new(
            reason,
            &title.unwrap_or_else(|| status.to_string()),
        ))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The `title` of a problem document (RFC 9457).
fn problem_title(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(body.get("title")?.as_str()?.to_owned())
}

type Exchange = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

/// An open connection. Its protocol work is done by whoever waits for something from it, so it
/// needs no task of its own and closes when it is dropped.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once the protocol has ended.
    exchange: Option<Exchange>,
}

/// A request without an answer.
struct NotAnswered {
    failure: Failure,
    /// The request, when nothing of it was written.
    unsent: Option<Box<Request<Full<Bytes>>>>,
}

impl Connection {
    async fn open(target: &Target, progress: &mut Progress) -> Result<Self, Failure> {
        progress.step = Step::Resolve;
        let addresses = target
            .resolve()
            .await
            .map_err(|error| Failure::of_resolution(&error))?;
        progress.step = Step::Connect;
        let stream = target
            .connect(&addresses)
            .await
            .map_err(|error| Failure::of_connect(&error))?;
        stream
            .set_nodelay(true)
            .map_err(|error| Failure::of_connect(&error))?;
        progress.step = Step::Headers;
        let (sender, exchange) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::of_headers(&error))?;
        Ok(Self {
            sender,
            exchange: Some(exchange),
        })
    }

    /// Whether an idle connection still takes a request.
    async fn is_usable(&mut self) -> bool {
        let ready = self.sender.ready();
        drive(&mut self.exchange, ready).await.is_ok()
    }

    async fn send(
        &mut self,
        message: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, NotAnswered> {
        let answer = self.sender.try_send_request(message);
        drive(&mut self.exchange, answer)
            .await
            .map_err(|mut error| NotAnswered {
                failure: Failure::of_headers(error.error()),
                unsent: error.take_message().map(Box::new),
            })
    }

    async fn read_body(
        &mut self,
        mut body: Incoming,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        while let Some(frame) = drive(&mut self.exchange, body.frame()).await {
            let frame = frame.map_err(|error| Failure::of_body(&error))?;
            if let Some(data) = frame.data_ref() {
                progress.read(data);
            }
        }
        Ok(())
    }
}

/// Waits for `work` while doing the connection's protocol work in the same task. How the
/// protocol ends is not looked at: `work` learns of it in its own words.
async fn drive<T>(exchange: &mut Option<Exchange>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        if let Some(running) = exchange
            && Pin::new(running).poll(context).is_ready()
        {
            *exchange = None;
        }
        work.as_mut().poll(context)
    })
    .await
}
