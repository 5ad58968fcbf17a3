//! One HTTP/2 exchange after another over a connection (RFC 9113).

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Error, Reason as Code};
use holdfast_core::outcome::Reason;
use http::header::CONTENT_LENGTH;

use crate::decoder::Afterwards;
use crate::failure::{self, Failure, Unanswered};
use crate::message::Message;
use crate::progress::{Headers, Progress};
use crate::stream::Stream;

/// Bytes of answers that a server may send ahead: not less than what browsers allow.
const WINDOW: u32 = 1024 * 1024;

/// A connection on which no request is under way. Its protocol work is done by whoever waits for
/// something from it, so it needs no task of its own and closes when it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    protocol: Protocol,
}

/// The protocol's work; `None` once it has ended.
#[derive(Debug)]
struct Protocol(Option<client::Connection<Stream, Bytes>>);

impl Protocol {
    /// Waits for `work` while doing the protocol's. How the protocol ends is not looked at: `work`
    /// learns of it in its own words.
    async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Some(running) = &mut self.0
                && Pin::new(running).poll(context).is_ready()
            {
                self.0 = None;
            }
            work.as_mut().poll(context)
        })
        .await
    }
}

impl Connection {
    /// Begins to speak HTTP/2.
    pub(crate) async fn open(stream: Stream) -> Result<Self, Failure> {
        let mut builder = client::Builder::new();
        builder
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .enable_push(false);
        match builder.handshake(stream).await {
            Ok((sender, protocol)) => Ok(Self {
                sender,
                protocol: Protocol(Some(protocol)),
            }),
            Err(error) => Err(broken(&error, Reason::ResetBeforeHeaders)),
        }
    }

    /// Whether it takes another request, as far as this process has been told.
    pub(crate) async fn is_usable(&mut self) -> bool {
        let ready = poll_fn(|context| self.sender.poll_ready(context));
        self.protocol.drive(ready).await.is_ok() && self.protocol.0.is_some()
    }

    /// Sends a request and reads its answer to the last byte.
    pub(crate) async fn exchange(
        &mut self,
        message: &Message,
        progress: &mut Progress<'_>,
    ) -> Result<Afterwards, Unanswered> {
        let answer = self.send(message, progress.reset()).await?;
        let answer = self.protocol.drive(answer).await;
        let (head, mut body) = answer
            .map_err(|error| unanswered(&error, progress.reset()))?
            .into_parts();
        progress.begin(head.status.as_u16(), Headers::Map(&head.headers));
        let length = head.headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        while let Some(data) = self.protocol.drive(body.data()).await {
            let data = data.map_err(|error| cut_off(&error, length, progress))?;
            progress.read(&data);
            let released = body.flow_control().release_capacity(data.len());
            released.map_err(|error| cut_off(&error, length, progress))?;
        }
        let trailers = poll_fn(|context| body.poll_trailers(context));
        let trailers = self.protocol.drive(trailers).await;
        trailers.map_err(|error| cut_off(&error, length, progress))?;
        Ok(match self.protocol.0 {
            Some(_) => Afterwards::Open,
            None => Afterwards::Closed,
        })
    }

    async fn send(
        &mut self,
        message: &Message,
        reason: Reason,
    ) -> Result<client::ResponseFuture, Unanswered> {
        let unsent = |error: Error| Unanswered::Unsent(broken(&error, reason));
        let ready = poll_fn(|context| self.sender.poll_ready(context));
        self.protocol.drive(ready).await.map_err(unsent)?;
        let (head, body) = message.to_http2();
        let sent = self.sender.send_request(head, body.is_empty());
        let (answer, mut sending) = sent.map_err(unsent)?;
        if !body.is_empty() {
            // Goes out as the server gives room for it.
            sending.send_data(body, true).map_err(unsent)?;
        }
        Ok(answer)
    }
}

/// What it means that there are no headers.
fn unanswered(error: &Error, reason: Reason) -> Unanswered {
    let failure = broken(error, reason);
    // The server says that it has not looked at the request (RFC 9113, section 8.7): it is on its
    // way out and takes no more, as servers are during every rollout.
    let untouched = match error.reason() {
        Some(Code::REFUSED_STREAM) => error.is_reset(),
        Some(Code::NO_ERROR) => error.is_go_away(),
        _ => false,
    };
    if untouched && error.is_remote() {
        Unanswered::Unsent(failure)
    } else {
        Unanswered::Failed(failure)
    }
}

/// What it means that a body broke off which should have had some length.
fn cut_off(error: &Error, length: Option<u64>, progress: &Progress<'_>) -> Unanswered {
    let ended = error.get_io().is_some_and(|error| {
        let kind = error.kind();
        kind == io::ErrorKind::BrokenPipe || kind == io::ErrorKind::UnexpectedEof
    });
    let short = error.is_library() && length.is_some_and(|length| progress.body_bytes < length);
    let reason = if ended || short {
        Reason::ShortBody
    } else {
        progress.reset()
    };
    Unanswered::Failed(broken(error, reason))
}

fn broken(error: &Error, reason: Reason) -> Failure {
    match error.get_io() {
        Some(error) => Failure::of_exchange(error, reason),
        None => Failure::new(reason, &failure::words(error)),
    }
}
