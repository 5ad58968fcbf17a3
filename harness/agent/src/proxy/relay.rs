//! One connection whose bytes are passed on as they are, though perhaps later.

use std::io;
use std::sync::atomic::AtomicU64;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Shared;
use super::counts::{Counts, increment};
use super::faults::Faults;
use super::stream::{Reset, Stream};

/// The most bytes that are read at a time.
const PIECE: usize = 16 * 1024;
/// How many pieces may be on their way in a direction: who sends more has to wait.
const PIECES: usize = 64;

/// Joins a client to its upstream until both directions have ended. A side that breaks off makes the
/// other one see a reset, never a clean end.
pub(super) async fn relay(client: Stream, upstream: Stream, reset: &Reset, shared: &Shared) {
    let (mut client_in, mut client_out) = split(client);
    let (mut upstream_in, mut upstream_out) = split(upstream);
    let lag = Lag {
        faults: &shared.faults,
        counts: &shared.counts,
        pieces: AtomicU64::new(0),
    };
    let ended = tokio::try_join!(
        pump(&mut client_in, &mut upstream_out, None),
        pump(&mut upstream_in, &mut client_out, Some(&lag)),
    );
    // Before the connections are dropped, which is when they end.
    if ended.is_err() {
        reset.request();
    }
}

/// What delays the pieces of one connection.
struct Lag<'a> {
    faults: &'a Faults,
    counts: &'a Counts,
    pieces: AtomicU64,
}

impl Lag<'_> {
    /// When a piece that comes now may go on.
    fn due(&self) -> Instant {
        let delay = self.faults.delay(increment(&self.pieces));
        self.counts.delayed(delay);
        Instant::now() + delay
    }
}

/// Passes on everything from `from` to `to`, then the end. Bytes keep their order.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    lag: Option<&Lag<'_>>,
) -> io::Result<()> {
    let (sender, mut receiver) = mpsc::channel(PIECES);
    let take = async move {
        loop {
            let mut piece = BytesMut::with_capacity(PIECE);
            if from.read_buf(&mut piece).await? == 0 {
                return Ok(());
            }
            let due = lag.map(Lag::due);
            if sender.send((due, piece.freeze())).await.is_err() {
                return Ok(());
            }
        }
    };
    let give = async {
        while let Some((due, piece)) = receiver.recv().await {
            if let (Some(lag), Some(due)) = (lag, due) {
                lag.faults.wait_until(due).await;
            }
            to.write_all(&piece).await?;
        }
        match to.shutdown().await {
            // The other side has already ended both directions.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            ended => ended,
        }
    };
    tokio::try_join!(take, give).map(|_| ())
}
