//! Holds memory, without having the kernel kill others for it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::arguments::Common;
use crate::error::Error;
use crate::machine_memory::{available, most};
use crate::quantity::bytes;
use crate::session::Session;

/// Taken at a time. More than any allocator keeps for itself when it is freed.
const PIECE: u64 = 64 << 20;

/// How often the machine is looked at while memory is held.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// The kernel, when it has to kill, begins with the process that says this of itself.
const FIRST_TO_BE_KILLED: &str = "1000";

/// Holds memory.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// How much
    #[arg(long, value_parser = bytes, value_name = "BYTES")]
    bytes: u64,
    /// Take more than half of what the machine has available
    #[arg(long)]
    allow_more_than_half: bool,
}

pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let floor = floor(&options, available()?)?;
    let wanted = options.bytes;
    let (held, retreats) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let told = (Arc::clone(&held), Arc::clone(&retreats));
    let evidence = Arc::new(move || {
        json!({
            "wantedBytes": wanted,
            "heldBytes": told.0.load(Ordering::Relaxed),
            "retreats": told.1.load(Ordering::Relaxed),
        })
    });
    let session = Session::begin("memory", options.common, evidence).await?;
    // A system that does not allow it has another order to kill in.
    drop(fs::write("/proc/self/oom_score_adj", FIRST_TO_BE_KILLED));
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    let mut has_begun = false;
    while !session.over.is_cancelled() {
        let so_far = held.load(Ordering::Relaxed);
        let piece = (wanted - so_far).min(PIECE);
        if available()? < floor {
            if let Some(piece) = pieces.pop() {
                held.fetch_sub(length(&piece), Ordering::Relaxed);
                retreats.fetch_add(1, Ordering::Relaxed);
                continue;
            }
        } else if piece > 0 && retreats.load(Ordering::Relaxed) == 0 {
            pieces.push(touched(piece));
            held.fetch_add(piece, Ordering::Relaxed);
            continue;
        }
        if !std::mem::replace(&mut has_begun, true) {
            session.began();
        }
        tokio::select! {
            () = session.over.cancelled() => {}
            () = sleep(BETWEEN_LOOKS) => {}
        }
    }
    drop(pieces);
    held.store(0, Ordering::Relaxed);
    session.ended();
    Ok(())
}

/// What the machine is always to have left. Below that, memory is given back.
fn floor(options: &Options, available: u64) -> Result<u64, Error> {
    let (wanted, most) = (options.bytes, most(available));
    if wanted > available {
        return Err(Error::Arguments(format!(
            "--bytes {wanted}: the machine has only {available} bytes available"
        )));
    }
    if wanted <= most || options.allow_more_than_half {
        // Half of what stays is for the growth of others.
        return Ok((available - wanted) / 2);
    }
    Err(Error::Arguments(format!(
        "--bytes {wanted} is more than half of the {available} bytes that the machine has available; at most {most} bytes, or more with --allow-more-than-half"
    )))
}

/// Memory that is really there: each page has been written to.
fn touched(bytes: u64) -> Vec<u8> {
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    std::hint::black_box(vec![1; length])
}

fn length(piece: &[u8]) -> u64 {
    u64::try_from(piece.len()).unwrap_or(u64::MAX)
}
