//! One HTTP/1.1 exchange after another over a connection: in the usual case one system call to
//! send and one to receive, and no memory.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use holdfast_core::outcome::Reason;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use crate::decoder::{Afterwards, Decoded, Decoder, Truncated};
use crate::failure::{Failure, Unanswered};
use crate::message::Message;
use crate::progress::Progress;
use crate::stream::Stream;

/// Bytes read at once. More than an answer usually has: a read that does not fill its buffer tells
/// that nothing more is there, which otherwise takes another system call.
const READ_SIZE: usize = 32 * 1024;

/// A connection on which no request is under way. Whoever gives up an exchange must drop it.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    decoder: Decoder,
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            decoder: Decoder::new(),
        }
    }

    /// Whether the server has neither closed it nor said something that nobody asked for, as far
    /// as this process has been told: it costs no system call.
    pub(crate) async fn is_usable(&mut self) -> bool {
        poll_fn(|context| Poll::Ready(self.stream.poll_quiet(context))).await
    }

    /// Sends a request and reads its answer to the last byte.
    pub(crate) async fn exchange(
        &mut self,
        message: &Message,
        progress: &mut Progress<'_>,
    ) -> Result<Afterwards, Unanswered> {
        self.decoder.begin(message.kind());
        let mut sending = Sending::new(message.wire());
        poll_fn(|context| self.poll_exchange(&mut sending, progress, context)).await
    }

    fn poll_exchange(
        &mut self,
        sending: &mut Sending<'_>,
        progress: &mut Progress<'_>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Afterwards, Unanswered>> {
        if let Err(error) = sending.advance(&mut self.stream, context)
            && !sending.has_begun
        {
            let failure = Failure::of_exchange(&error, progress.reset());
            return Poll::Ready(Err(Unanswered::Unsent(failure)));
        }
        // A server that stops listening in the middle of a request may have said why.
        let answered = ready!(self.poll_receive(progress, context));
        Poll::Ready(match answered {
            Ok(_) if sending.state != SendingState::Done => Ok(Afterwards::Closed),
            Ok(afterwards) => Ok(afterwards),
            Err(failure) => Err(Unanswered::Failed(failure)),
        })
    }

    fn poll_receive(
        &mut self,
        progress: &mut Progress<'_>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Afterwards, Failure>> {
        loop {
            let mut space = [const { MaybeUninit::uninit() }; READ_SIZE];
            let mut buffer = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => {
                    return Poll::Ready(self.end(progress).map(|()| Afterwards::Closed));
                }
                Ok(()) => {}
                Err(error) => return Poll::Ready(Err(self.broken(&error, progress))),
            }
            match self.decoder.decode(buffer.filled(), progress) {
                Ok(Decoded::Partly) => {}
                Ok(Decoded::Whole(afterwards)) => return Poll::Ready(Ok(afterwards)),
                Err(malformed) => {
                    let failure = Failure::new(progress.reset(), &malformed.to_string());
                    return Poll::Ready(Err(failure));
                }
            }
        }
    }

    /// What an orderly end of the connection makes of the answer.
    fn end(&self, progress: &Progress<'_>) -> Result<(), Failure> {
        self.decoder.end().map_err(|truncated| match truncated {
            Truncated::Head => Failure::new(
                Reason::ResetBeforeHeaders,
                "the connection ended before the response header was complete",
            ),
            Truncated::Body => Failure::new(
                Reason::ShortBody,
                &format!(
                    "the connection ended after {} bytes of the body",
                    progress.body_bytes
                ),
            ),
        })
    }

    /// What a broken connection makes of the answer.
    fn broken(&self, error: &io::Error, progress: &Progress<'_>) -> Failure {
        // TLS has an ending of its own, without which anybody may have cut the connection off.
        if error.kind() == io::ErrorKind::UnexpectedEof {
            let unended = || Failure::new(Reason::ShortBody, &error.to_string());
            return self.end(progress).err().unwrap_or_else(unended);
        }
        Failure::of_exchange(error, progress.reset())
    }
}

/// A request on its way out.
struct Sending<'a> {
    unsent: &'a [u8],
    has_begun: bool,
    state: SendingState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SendingState {
    Writing,
    Flushing,
    Done,
    Failed,
}

impl<'a> Sending<'a> {
    fn new(request: &'a [u8]) -> Self {
        Self {
            unsent: request,
            has_begun: false,
            state: SendingState::Writing,
        }
    }

    /// Sends what can be sent now. An error is told once.
    fn advance(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> io::Result<()> {
        while self.state == SendingState::Writing {
            match Pin::new(&mut *stream).poll_write(context, self.unsent) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return self.fail(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    self.has_begun = true;
                    self.unsent = &self.unsent[written..];
                    if self.unsent.is_empty() {
                        self.state = SendingState::Flushing;
                    }
                }
                Poll::Ready(Err(error)) => return self.fail(error),
            }
        }
        if self.state == SendingState::Flushing {
            match Pin::new(stream).poll_flush(context) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.state = SendingState::Done,
                Poll::Ready(Err(error)) => return self.fail(error),
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: io::Error) -> io::Result<()> {
        self.state = SendingState::Failed;
        Err(error)
    }
}
