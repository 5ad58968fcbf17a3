//! `holdfast`: puts a system under siege, breaks things on purpose, and says with evidence
//! whether the service held.

mod cluster;
mod commands;
mod confirmation;
mod connection;
mod execution;
mod experiments;
mod failure;
mod images;
mod interrupts;
mod janitor;
mod judgement;
mod manifests;
mod permissions;
mod place;
mod progress;
mod repeated;
mod run_folder;
mod siege_version;
mod site;
mod system;
mod tenancy;
mod terminal;
mod trial;
mod workers;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use commands::Command;

/// Puts a system under siege, breaks things on purpose, and says with evidence whether the
/// service held.
#[derive(Debug, clap::Parser)]
#[command(name = "holdfast", version, about, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
    0  every objective was met, or nothing was asked of a measurement
    1  an objective was not met or an invariant violated
    2  the input cannot be used: an invalid experiment, a missing file, a port in use, a fault
       that cannot be done or may not …
    3  the run says nothing either way, or could not be carried out or recorded
    4  a stop condition or `holdfast halt` ended the run, or did not let it begin
    5  something that was broken could not be put back
  130  interrupted (Ctrl-C), after everything was put back; 143: terminated";

fn main() -> ExitCode {
    // The pod shim enters namespaces, which only a process without threads may do: it must not
    // meet the async runtime.
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments
        .get(1)
        .is_some_and(|word| word == cluster::POD_SHIM)
    {
        return holdfast_cluster::pod_shim::main(&arguments[2..]);
    }
    // The victim stands for a program that knows nothing of this one: it has no other signal
    // handlers and no other threads than its script says.
    if arguments.get(1).is_some_and(|word| word == cluster::VICTIM) {
        let script = arguments[2..].iter();
        let script: Vec<String> = script.map(|word| word.to_string_lossy().into()).collect();
        return holdfast_conformance::victim::main(&script);
    }
    let arguments = Arguments::parse_from(commands::siege::with_habits(arguments));
    match commands::dispatch(arguments.command) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            terminal::say(&failure.to_string());
            ExitCode::from(failure.code)
        }
    }
}
