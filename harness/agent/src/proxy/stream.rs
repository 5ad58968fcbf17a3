//! A TCP connection that can be slowed down, and that can end with a reset.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;

/// How often a slow connection passes something on.
const STEPS_PER_SECOND: u64 = 20;
/// The most that it passes on at a time.
const LONGEST_STEP: usize = 16 * 1024;

/// The wish that a connection ends with a reset. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Reset(CancellationToken);

impl Reset {
    pub(super) fn request(&self) {
        self.0.cancel();
    }

    pub(super) fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    pub(super) async fn requested(&self) {
        self.0.cancelled().await;
    }
}

/// One end of a connection. Dropped after a reset was requested, it sends RST instead of FIN.
#[derive(Debug)]
pub(super) struct Stream {
    stream: TcpStream,
    reset: Reset,
    reading: Pace,
    writing: Pace,
}

impl Stream {
    /// As fast as it goes.
    pub(super) fn new(stream: TcpStream, reset: Reset) -> Self {
        Self::slowed(stream, reset, None, CancellationToken::new())
    }

    /// With at most `bandwidth` bytes a second in each direction, until that is over.
    pub(super) fn slowed(
        stream: TcpStream,
        reset: Reset,
        bandwidth: Option<u64>,
        over: CancellationToken,
    ) -> Self {
        // A connection that keeps its delay is still a connection.
        drop(stream.set_nodelay(true));
        Self {
            stream,
            reset,
            reading: Pace::new(bandwidth, over.clone()),
            writing: Pace::new(bandwidth, over),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.reset.is_requested() {
            // It fails for a connection that has ended, and then there is nothing to reset.
            drop(self.stream.set_zero_linger());
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(step) = ready!(this.reading.poll_step(context)) else {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        };
        let mut piece = vec![0; step.min(buffer.remaining())];
        let mut piece = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut this.stream).poll_read(context, &mut piece))?;
        buffer.put_slice(piece.filled());
        this.reading.passed(piece.filled().len());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let step = ready!(this.writing.poll_step(context)).unwrap_or(usize::MAX);
        let piece = &bytes[..bytes.len().min(step)];
        let written = ready!(Pin::new(&mut this.stream).poll_write(context, piece))?;
        this.writing.passed(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A FIN before the reset would look like an orderly end.
        if self.reset.is_requested() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// How fast bytes pass in one direction.
#[derive(Debug)]
struct Pace {
    bandwidth: Option<u64>,
    over: CancellationToken,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    fn new(bandwidth: Option<u64>, over: CancellationToken) -> Self {
        Self {
            bandwidth,
            over,
            pause: None,
        }
    }

    /// Waits until something may pass again; tells how much. `None`: as much as there is.
    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Option<usize>> {
        let Some(bandwidth) = self.bandwidth else {
            return Poll::Ready(None);
        };
        if self.over.is_cancelled() {
            self.bandwidth = None;
            return Poll::Ready(None);
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let step = usize::try_from(bandwidth / STEPS_PER_SECOND).unwrap_or(LONGEST_STEP);
        Poll::Ready(Some(step.clamp(1, LONGEST_STEP)))
    }

    fn passed(&mut self, bytes: usize) {
        if let (Some(bandwidth), Ok(bytes)) = (self.bandwidth, u32::try_from(bytes))
            && bytes > 0
        {
            #[expect(clippy::as_conversions, reason = "a rate need not be exact")]
            let seconds = f64::from(bytes) / bandwidth as f64;
            self.pause = Some(Box::pin(sleep(Duration::from_secs_f64(seconds))));
        }
    }
}
