//! What siege says on standard error while it runs, in siege's own words and layout; where siege
//! gives its own name, ours stands.

use std::path::Path;

use holdfast_core::event::{Event, Stamped, StopCause};
use holdfast_core::experiment::Model;
use holdfast_core::plan::LoadPlan;
use holdfast_report::{Report, terminal as pages};

use super::Arguments;
use crate::judgement::colours;
use crate::terminal::show;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voice {
    /// Nothing (`--quiet`).
    Silent,
    /// As siege with `--json-output`: an empty line, and what went wrong.
    Json,
    Plain,
    /// As plain, beside a line for each answer.
    Verbose,
}

/// Speaks as siege does.
#[derive(Debug)]
pub(super) struct Talk {
    voice: Voice,
    /// Whether the load ends at a time of its own.
    is_timed: bool,
    gave_up: bool,
    was_interrupted: bool,
}

impl Talk {
    pub(super) fn new(arguments: &Arguments) -> Self {
        let voice = match arguments {
            Arguments { quiet: true, .. } => Voice::Silent,
            Arguments {
                json_output: true, ..
            } => Voice::Json,
            Arguments { verbose: true, .. } => Voice::Verbose,
            _ => Voice::Plain,
        };
        Self {
            voice,
            is_timed: arguments.time.is_some(),
            gave_up: false,
            was_interrupted: false,
        }
    }

    /// Whether each answer gets a line.
    pub(super) fn is_verbose(&self) -> bool {
        self.voice == Voice::Verbose
    }

    fn is_spoken(&self) -> bool {
        matches!(self.voice, Voice::Plain | Voice::Verbose)
    }

    /// siege's word on `--time` together with `--reps`.
    pub(super) fn conflict(&self, arguments: &Arguments) {
        if let (Some(time), Some(_)) = (arguments.time, arguments.reps)
            && self.voice != Voice::Silent
        {
            show(&format!(
                "[error] CONFIG conflict: selected time and repetition based testing\n\
                 defaulting to time-based testing: {} seconds\n",
                time.as_secs()
            ));
        }
    }

    pub(super) fn banner(&self, load: &LoadPlan) {
        if !self.is_spoken() {
            return;
        }
        let force = match &load.model {
            Model::Users(_) => format!("{} concurrent users", load.model.most_in_flight()),
            Model::Arrivals(arrivals) => {
                format!("{} requests per second", arrivals.stages[0].rate)
            }
        };
        let end = if self.is_verbose() { "\n" } else { "" };
        show(&format!(
            "** HOLDFAST {}\n** Preparing {force} for battle.\nThe server is now under siege...{end}",
            env!("CARGO_PKG_VERSION")
        ));
    }

    /// Takes one event in and says what siege would.
    pub(super) fn take(&mut self, stamped: &Stamped) {
        match &stamped.event {
            Event::Stopped(StopCause::StopCondition(_)) => self.gave_up = true,
            Event::Stopped(StopCause::Interrupted | StopCause::Terminated) => {
                self.was_interrupted = true;
            }
            Event::LoadStopped => {
                let is_lifted = self.was_interrupted || self.is_timed && !self.gave_up;
                if is_lifted && self.is_spoken() {
                    show("\nLifting the server siege...");
                }
            }
            _ => {}
        }
    }

    /// Whether siege would have given up.
    pub(super) fn gave_up(&self) -> bool {
        self.gave_up
    }

    /// siege's block and ours behind it.
    pub(super) fn summary(&self, report: &Report<'_>, arguments: &Arguments) {
        match self.voice {
            Voice::Silent => {}
            Voice::Json => {
                show("\n");
                if report.verdict.outcome.exit_code() != 0 {
                    show(&pages::verdict(report, colours()));
                }
            }
            Voice::Plain | Voice::Verbose => {
                if self.gave_up {
                    let start = if self.is_verbose() { "" } else { "\n" };
                    show(&format!(
                        "{start}siege aborted due to excessive socket failure; you\n\
                         can change the failure threshold with --failures\n"
                    ));
                }
                let format = arguments.siege_format.into();
                show(&format!("\n{}", pages::text(report, format, colours())));
            }
        }
    }

    /// Where something was written.
    pub(super) fn written(&self, what: &str, path: &Path) {
        if self.voice != Voice::Silent {
            show(&format!("{what}: {}\n", path.display()));
        }
    }

    /// Lines that were not printed.
    pub(super) fn dropped(&self, lines: u64) {
        if lines > 0 {
            show(&format!(
                "{lines} lines were not printed: standard output takes them too slowly\n"
            ));
        }
    }
}
