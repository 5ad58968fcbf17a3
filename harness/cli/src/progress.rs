//! The live display of a run on standard error: a few lines that are redrawn where a person
//! watches, a line every ten seconds otherwise. It consumes events and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_core::event::{Event, Observation, Stamped, Tick};
use holdfast_core::experiment::Phase;
use holdfast_core::invariant::Checked;
use holdfast_core::outcome::{Reason, Source};
use holdfast_core::plan::Plan;
use indicatif::{ProgressBar, ProgressStyle};

use crate::terminal;

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verbosity {
    Normal,
    /// Errors only.
    Quiet,
}

/// One step of the preparation, shown until it is dropped.
#[derive(Debug)]
pub(crate) struct Step(Option<ProgressBar>);

impl Step {
    pub(crate) fn begin(verbosity: Verbosity, text: &str) -> Self {
        if verbosity == Verbosity::Quiet {
            return Self(None);
        }
        if !terminal::is_watched() {
            terminal::say(text);
            return Self(None);
        }
        let spinner = ProgressBar::new_spinner().with_message(text.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(120));
        Self(Some(spinner))
    }

    pub(crate) fn update(&self, text: String) {
        if let Some(spinner) = &self.0 {
            spinner.set_message(text);
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(spinner) = &self.0 {
            spinner.finish_and_clear();
        }
    }
}

/// Lines between two prints where nobody watches.
const PLAIN_EVERY: u32 = 10;

/// The display of a running load.
#[derive(Debug)]
pub(crate) struct Progress {
    verbosity: Verbosity,
    bar: Option<ProgressBar>,
    length: Duration,
    phase: Option<Phase>,
    expected: u64,
    ended: u64,
    last_second: Option<Tick>,
    failures: BTreeMap<Reason, u64>,
    breakers: BTreeMap<(String, String), String>,
    endpoints: BTreeMap<String, (u32, u32)>,
    draining: bool,
}

impl Progress {
    pub(crate) fn new(plan: &Plan, verbosity: Verbosity) -> Self {
        let bar = (verbosity == Verbosity::Normal && terminal::is_watched()).then(|| {
            let style = ProgressStyle::with_template("{bar:30} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(plan.load.duration.as_secs().max(1)).with_style(style)
        });
        Self {
            verbosity,
            bar,
            length: plan.load.duration,
            phase: None,
            expected: 0,
            ended: 0,
            last_second: None,
            failures: BTreeMap::new(),
            breakers: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            draining: false,
        }
    }

    /// Takes one event in and redraws where it changes what is shown.
    pub(crate) fn take(&mut self, stamped: &Stamped) {
        match &stamped.event {
            Event::Tick(tick) => self.tick(tick),
            Event::PhaseStarted(phase) => {
                self.phase = Some(*phase);
                self.redraw();
            }
            Event::Observed(observation) => self.observed(observation),
            Event::UndoRecorded { fault, undo } => {
                self.log(stamped, &format!("{fault}: undo: {undo}"))
            }
            Event::FaultInjected { fault, evidence } => {
                self.log(stamped, &format!("{fault}: injected: {evidence}"));
            }
            Event::FaultRecovered { fault, evidence } => {
                self.log(stamped, &format!("{fault}: reverted: {evidence}"));
            }
            Event::FaultFailed {
                fault,
                action,
                error,
            } => {
                self.log(stamped, &format!("{fault}: {action:?} failed: {error}"));
            }
            Event::InvariantsChecked(checked) => {
                self.log(
                    stamped,
                    &format!("invariant {}: {}", checked.name, answer(checked)),
                );
            }
            Event::Stopped(cause) => self.log(stamped, &format!("stopping: {cause:?}")),
            Event::LoadStopped => {
                self.draining = true;
                self.redraw();
            }
            Event::RunFinished { .. } => {
                if let Some(bar) = &self.bar {
                    bar.finish_and_clear();
                }
            }
            Event::RunStarted(_)
            | Event::LoadStarted
            | Event::RequestFailed(_)
            | Event::LoadFinished(_) => {}
        }
    }

    fn tick(&mut self, tick: &Tick) {
        if tick.source != Source::Users {
            return;
        }
        self.expected += tick.expected;
        self.ended += tick.expected + tick.unexpected_total();
        for (reason, count) in &tick.unexpected {
            *self.failures.entry(*reason).or_default() += count;
        }
        self.last_second = Some(tick.clone());
        if let Some(bar) = &self.bar {
            bar.set_position(u64::from(tick.second) + 1);
            self.redraw();
        } else if self.verbosity == Verbosity::Normal
            && (tick.second + 1).is_multiple_of(PLAIN_EVERY)
        {
            terminal::say(&self.headline());
        }
    }

    fn observed(&mut self, observation: &Observation) {
        match observation {
            Observation::Breaker {
                pod,
                breaker,
                state,
            } => {
                self.breakers
                    .insert((pod.clone(), breaker.clone()), state.clone());
            }
            Observation::Endpoints {
                service,
                ready,
                total,
            } => {
                self.endpoints.insert(service.clone(), (*ready, *total));
            }
        }
        self.redraw();
    }

    fn log(&self, stamped: &Stamped, text: &str) {
        let line = format!("{:>7.2} s  {text}", stamped.at.as_secs_f64());
        match &self.bar {
            Some(bar) => bar.println(line),
            None if self.verbosity == Verbosity::Normal => terminal::say(&line),
            None => {}
        }
    }

    fn redraw(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!(
                "{}\n{}\n{}",
                self.headline(),
                self.failures(),
                self.state()
            ));
        }
    }

    fn headline(&self) -> String {
        let elapsed = self.last_second.as_ref().map_or(0, |tick| tick.second + 1);
        let phase = match (self.draining, self.phase) {
            (true, _) => "draining".to_owned(),
            (false, Some(phase)) => format!("{phase:?}").to_lowercase(),
            (false, None) => "starting".to_owned(),
        };
        let rate = self
            .last_second
            .as_ref()
            .map_or(0, |tick| tick.expected + tick.unexpected_total());
        let in_flight = self.last_second.as_ref().map_or(0, |tick| tick.in_flight);
        let availability = if self.ended == 0 {
            "–".to_owned()
        } else {
            format!("{:.2} %", self.expected as f64 / self.ended as f64 * 100.0)
        };
        format!(
            "{elapsed:>3}/{} s  {phase}  {rate}/s  availability so far {availability}  in flight {in_flight}",
            self.length.as_secs()
        )
    }

    fn failures(&self) -> String {
        if self.failures.is_empty() {
            return "  no failure so far".to_owned();
        }
        let mut failures: Vec<_> = self.failures.iter().collect();
        failures.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let words = failures
            .iter()
            .map(|(reason, count)| format!("{} {count}", reason.label()));
        format!("  {}", words.collect::<Vec<_>>().join(" · "))
    }

    fn state(&self) -> String {
        let breakers = self
            .breakers
            .iter()
            .map(|((_, name), state)| format!("breaker {name} {state}"));
        let endpoints = self
            .endpoints
            .iter()
            .map(|(service, (ready, total))| format!("{service} {ready}/{total} ready"));
        format!(
            "  {}",
            breakers.chain(endpoints).collect::<Vec<_>>().join(" · ")
        )
    }
}

/// What became of an invariant, in few words.
fn answer(checked: &Checked) -> String {
    match (&checked.error, checked.violations.len()) {
        (Some(error), _) => format!("could not be asked: {error}"),
        (None, 0) if checked.settled => "holds".to_owned(),
        (None, 0) => "not settled in time".to_owned(),
        (None, count) => format!("{count} violated"),
    }
}
