//! The program in the pods of the checks: its behaviour is scripted by its arguments, its evidence
//! is its log. It needs nothing from whoever watches it, so it works wherever pods run.
//!
//! Its only role besides being a victim is the prober (`probe`, see [`Probe`]), which opens
//! connections from within the cluster and counts what becomes of them.
//!
//! Each line of the log begins with the seconds since the program's start:
//!
//! ```text
//! 0.000 start 1 c17-a81f2-app
//! 3.001 listen 10.1.2.3:8080
//! 3.410 get /ready 200
//! 9.002 sigterm
//! 9.102 alive
//! 9.150 exit 0
//! ```

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Instant;

mod arguments;
mod burn;
mod probe;
mod serve;
mod windows;

use arguments::Role;
pub use arguments::{HELP, OnTerm, Probe, Serve};
pub(crate) use probe::Counts;
pub use windows::Windows;

/// Where it listens, unless told otherwise.
pub const PORT: u16 = 8080;

static START: OnceLock<Instant> = OnceLock::new();

/// Plays the role that `arguments` (without the program's name) describe, to its end.
pub fn main(arguments: &[String]) -> ExitCode {
    START.get_or_init(Instant::now);
    let role = match arguments::parse(arguments) {
        Ok(role) => role,
        Err(mistake) => {
            say(&format!("mistake {mistake}"));
            // Nobody reads: nobody to tell.
            drop(writeln!(std::io::stderr(), "error: {mistake}\n\n{HELP}"));
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(async {
            match role {
                Role::Serve(script) => serve::serve(script).await,
                Role::Probe(script) => probe::probe(script).await,
            }
        }),
        Err(error) => {
            say(&format!("mistake {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Since the program's start.
fn uptime() -> std::time::Duration {
    START.get_or_init(Instant::now).elapsed()
}

/// One line of the log, at once.
fn say(words: &str) {
    let line = format!("{:.3} {words}\n", uptime().as_secs_f64());
    // Nobody may be reading any longer.
    drop(std::io::stdout().write_all(line.as_bytes()));
}

/// The pod's name, or the machine's.
fn own_name() -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| "unnamed".to_owned())
}
