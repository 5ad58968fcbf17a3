//! The options of `holdfast siege`: siege's own, then ours.

use std::path::PathBuf;
use std::time::Duration;

use holdfast_core::experiment::Objective;
use holdfast_core::spec::{MOST_IN_FLIGHT, MOST_WORKERS, threshold};

use super::log;
use super::values::{self, Repetitions};
use crate::failure::Failure;
use crate::siege_version::SiegeVersion;

/// What siege has unless told otherwise.
const DEFAULT_USERS: u32 = 25;

const SIEGE: &str = "Options of siege";
const OURS: &str = "Options that siege does not have";

/// Options of `holdfast siege`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The URL as siege writes it: 'http://localhost:8081/orders POST {"item": "chicken"}', or with
    /// a body from a file: '… POST <order.json'
    #[arg(required_unless_present_any = ["file", "self_check"], conflicts_with = "file")]
    pub(super) url: Option<String>,

    /// Users that send at the same time, each waiting for its answer [default: 25]
    #[arg(short, long, value_name = "NUM", help_heading = SIEGE, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_IN_FLIGHT)))]
    pub(super) concurrent: Option<u32>,
    /// End after so many requests of each user, or `once`: after one for each URL
    #[arg(short, long, value_name = "NUM|once", help_heading = SIEGE, value_parser = values::repetitions)]
    pub(super) reps: Option<Repetitions>,
    /// End after this time: seconds (60S), minutes (5M) or hours (1H); decides where --reps is
    /// given as well
    #[arg(short, long, value_name = "NUMm", help_heading = SIEGE, value_parser = values::time)]
    pub(super) time: Option<Duration>,
    /// Pause of each user after each request: random, up to so many seconds
    #[arg(short, long, value_name = "NUM", help_heading = SIEGE, value_parser = values::delay)]
    pub(super) delay: Option<Duration>,
    /// No pause, whatever --delay says
    #[arg(short, long, help_heading = SIEGE)]
    pub(super) benchmark: bool,
    /// Choose among the URLs at random instead of taking them in turn
    #[arg(short, long, help_heading = SIEGE)]
    pub(super) internet: bool,
    /// Read URLs from a file, one a line, with comments (#) and variables (NAME=value, $(NAME))
    #[arg(short, long, value_name = "FILE", help_heading = SIEGE)]
    pub(super) file: Option<PathBuf>,
    /// Add a header to each request; may be given more than once
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", help_heading = SIEGE, value_parser = values::header)]
    pub(super) headers: Vec<(String, String)>,
    /// The User-Agent of each request
    #[arg(short = 'A', long, value_name = "TEXT", help_heading = SIEGE)]
    pub(super) user_agent: Option<String>,
    /// The Content-Type of requests with a body [default: application/x-www-form-urlencoded]
    #[arg(short = 'T', long, value_name = "TEXT", help_heading = SIEGE)]
    pub(super) content_type: Option<String>,
    /// Do not follow redirects
    #[arg(long, help_heading = SIEGE)]
    pub(super) no_follow: bool,
    /// Accepted: pages are never searched for what else they are made of
    #[arg(long, help_heading = SIEGE)]
    no_parser: bool,
    /// Print a line for each answer on standard output
    #[arg(short, long, help_heading = SIEGE)]
    pub(super) verbose: bool,
    /// Print errors only, and with --json-output the result
    #[arg(short, long, help_heading = SIEGE)]
    pub(super) quiet: bool,
    /// Print siege's JSON alone on standard output
    #[arg(short, long, help_heading = SIEGE)]
    pub(super) json_output: bool,
    /// Add a row to siege's log [default file: /var/log/siege.log]
    #[arg(short, long, value_name = "FILE", help_heading = SIEGE, num_args = 0..=1, require_equals = true, default_missing_value = log::DEFAULT_FILE)]
    pub(super) log: Option<PathBuf>,
    /// Add this text to the log before the row
    #[arg(short, long, value_name = "TEXT", help_heading = SIEGE, requires = "log")]
    pub(super) mark: Option<String>,

    /// Begin so many requests per second, whatever the answers (open model), instead of users
    #[arg(long, value_name = "NUM", help_heading = OURS, conflicts_with_all = ["reps", "delay", "benchmark"], value_parser = values::rate)]
    pub(super) rate: Option<f64>,
    /// Spread the requests of --rate as independent customers come
    #[arg(long, help_heading = OURS, requires = "rate")]
    pub(super) poisson: bool,
    /// What must hold, e.g. 'availability>=99.9' or 'p99<=500ms'; may be given more than once
    #[arg(long = "threshold", value_name = "THRESHOLD", help_heading = OURS, value_parser = threshold::parse)]
    pub(super) thresholds: Vec<Objective>,
    /// Leave the whole report in a folder below this one, as `holdfast run` does
    #[arg(long, value_name = "DIR", help_heading = OURS)]
    pub(super) out: Option<PathBuf>,
    /// Keep connections between requests instead of opening one for each
    #[arg(long, help_heading = OURS)]
    pub(super) keep_alive: bool,
    /// Send by HTTP/2
    #[arg(long, help_heading = OURS)]
    pub(super) http2: bool,
    /// Deadline of each request, from its connection to the last byte
    #[arg(long, value_name = "TIME", help_heading = OURS, default_value = "30s", value_parser = values::timeout)]
    pub(super) timeout: Duration,
    /// Give up after so many failed transactions, as siege does; 0: never
    #[arg(long, value_name = "NUM", help_heading = OURS, default_value_t = 1024)]
    pub(super) failures: u64,
    /// Probe at so many requests per second beside the users (see the reports of `holdfast run`)
    #[arg(long, value_name = "NUM", help_heading = OURS, value_parser = values::rate)]
    pub(super) prober: Option<f64>,
    /// Processes that send, each its share
    #[arg(long, value_name = "NUM", help_heading = OURS, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_WORKERS)))]
    pub(super) workers: u32,
    /// Only measure what the load generator of this machine manages
    #[arg(long, help_heading = OURS)]
    pub(super) self_check: bool,
    /// The siege version whose layout the summary block follows
    #[arg(long, value_name = "VERSION", help_heading = OURS, value_enum, default_value = "4.0")]
    pub(super) siege_format: SiegeVersion,

    #[arg(short, long, hide = true)]
    get: bool,
    #[arg(short, long, hide = true)]
    print: bool,
    #[arg(short = 'C', long, hide = true)]
    config: bool,
    #[arg(short = 'R', long, hide = true, value_name = "FILE")]
    rc: Option<PathBuf>,
}

impl Arguments {
    /// Simulated users.
    pub(super) fn users(&self) -> u32 {
        self.concurrent.unwrap_or(DEFAULT_USERS)
    }

    /// Refuses what siege has and Holdfast has not.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let unknown = [
            (self.get, "--get", "use curl -I"),
            (self.print, "--print", "use curl -i"),
            (
                self.config,
                "--config",
                "there is no configuration but the command line",
            ),
            (
                self.rc.is_some(),
                "--rc",
                "no resource file is read: give its settings as options",
            ),
        ];
        if let Some((_, option, hint)) = unknown.into_iter().find(|(given, ..)| *given) {
            let message = format!("holdfast siege does not have siege's {option}");
            return Err(Failure::input(message).hint(hint));
        }
        if self.verbose && self.workers > 1 {
            let message =
                "--verbose prints the answers of one process, and --workers asks for more";
            return Err(Failure::input(message).hint("leave one of them out"));
        }
        Ok(())
    }
}
