//! `--self-check`: what the load generator of this machine manages.

use holdfast_core::experiment::{Connections, Transport};
use holdfast_core::words;

use crate::failure::{Failure, chain};
use crate::interrupts::Interrupts;
use crate::terminal;

/// Measures it, with and without kept connections, and prints what came out.
pub(super) async fn self_check(interrupts: &Interrupts) -> Result<u8, Failure> {
    terminal::result(
        "What one process of this load generator manages against a server of its own on this \
         machine\nthat does nothing:\n",
    );
    for (name, connections) in [
        ("a new connection each", Connections::PerRequest),
        ("kept connections", Connections::KeepAlive),
    ] {
        let transport = Transport {
            connections,
            ..Transport::default()
        };
        let measuring = async {
            let measured = holdfast_load::calibrate(&transport).await;
            measured.map_err(|error| Failure::carrying_out(chain(&error)))
        };
        let measured = interrupts.unless(measuring).await?;
        terminal::result(&format!(
            "  {name:<21}  {:>7.0} requests/s, {:.1} µs of processor time each, p50 {}, p99 {}",
            measured.requests_per_second,
            measured.cpu_seconds_per_request * 1e6,
            words::seconds(measured.p50),
            words::seconds(measured.p99),
        ));
    }
    Ok(0)
}
