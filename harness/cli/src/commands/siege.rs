//! `holdfast siege`: siege's options and siege's output, without an experiment file; our own figures
//! behind them. `harness/docs/siege.md` says what is the same and what is not.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use holdfast_core::event::{Event, RunStarted, Stamped};
use holdfast_core::experiment::Profile;
use holdfast_core::outcome::Source;
use holdfast_core::record::Record;
use holdfast_core::siege::Tally;
use holdfast_engine::{Drivers, NoConditions, NoFaults, NoHttp, NoObserver};
use holdfast_load::{Ended, Listener};
use holdfast_report::Colours;

use crate::execution::{self, Identity, Stop};
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::judgement::Judgement;
use crate::progress::Verbosity;
use crate::run_folder::RunFolder;
use crate::terminal;

mod lines;
mod log;
mod options;
mod patience;
mod plan;
mod self_check;
mod talk;
mod url_file;
mod values;
mod visit;

pub(crate) use options::Arguments;

use lines::Lines;
use log::Log;
use patience::Patience;
use talk::Talk;
use visit::Visit;

/// Carries the siege out; returns the exit code.
pub(crate) async fn siege(arguments: Arguments) -> Result<u8, Failure> {
    let interrupts = Interrupts::listen()?;
    arguments.check()?;
    if arguments.self_check {
        return self_check::self_check(&interrupts).await;
    }
    let visits = visits(&arguments)?;
    let identity = Identity::new();
    let plan = plan::plan(&arguments, &visits, identity.seed)?;
    let mut log = arguments.log.as_deref().map(Log::open).transpose()?;
    let mut folder = match &arguments.out {
        Some(out) => Some(RunFolder::create(out, "siege", &identity.run_id)?),
        None => None,
    };
    let mut talk = Talk::new(&arguments);
    talk.conflict(&arguments);

    let started = RunStarted {
        run_id: identity.run_id,
        started_at: identity.started_at,
        source_file: String::new(),
        profile: Profile::Full,
        params: BTreeMap::new(),
        command: std::env::args_os()
            .skip(1)
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
        environment: execution::environment(&visits[0].origin),
        plan,
    };
    let carried_out = carry_out(started, &arguments, &mut folder, &mut talk, &interrupts).await;
    let judgement = match carried_out {
        Ok(record) => Judgement::of(record),
        Err(failure) => {
            if let Some(folder) = folder {
                folder.discard();
            }
            return Err(failure);
        }
    };
    tell(&judgement, &talk, &arguments);
    // Each is written even if the other cannot be.
    let logged = match &mut log {
        Some(log) => judgement.unless_graver(write_log(log, &judgement, &talk, &arguments)),
        None => Ok(None),
    };
    let kept = match folder {
        Some(folder) => judgement.keep(folder, arguments.siege_format.into()),
        None => Ok(None),
    };
    if let Some(path) = kept? {
        talk.written("report", &path.join("report.html"));
    }
    logged?;
    Ok(judgement.code())
}

/// siege's `-lFILE` as the parser here wants it, `-l=FILE`: a value that can be left out must not
/// take the next word.
pub(crate) fn with_habits(mut words: Vec<OsString>) -> Vec<OsString> {
    if words.get(1).is_some_and(|command| command == "siege") {
        for word in &mut words[2..] {
            let text = word.to_str().unwrap_or_default();
            if let Some(file) = text.strip_prefix("-l").filter(|it| !it.is_empty())
                && !file.starts_with('=')
            {
                *word = format!("-l={file}").into();
            }
        }
    }
    words
}

/// What is put under siege; never empty.
fn visits(arguments: &Arguments) -> Result<Vec<Visit>, Failure> {
    match (&arguments.file, &arguments.url) {
        (Some(file), _) => url_file::read(file),
        (None, Some(url)) => Ok(vec![Visit::parse(url)?]),
        (None, None) => Err(Failure::input("there is no URL to put under siege")),
    }
}

/// Sends the load, says what siege says meanwhile, and gives up when siege would.
async fn carry_out(
    started: RunStarted,
    arguments: &Arguments,
    folder: &mut Option<RunFolder>,
    talk: &mut Talk,
    interrupts: &Interrupts,
) -> Result<Record, Failure> {
    let stop = Stop::new();
    let patience = Arc::new(Patience::new(arguments.failures, stop.sender.clone()));
    let (lines, writer) = talk
        .is_verbose()
        .then(|| Lines::start(started.environment.target_url.clone(), answer_colours()))
        .unzip();
    // Who sends in other processes is heard once a second only.
    let hears_each = arguments.workers == 1;
    let listener = hears_each.then(|| listener(Arc::clone(&patience), lines));
    let url = started.environment.target_url.as_str();
    let load = execution::load_driver(&started.plan.load, url, None, listener, Verbosity::Quiet);
    let drivers = Drivers {
        load: interrupts.unless(load).await?,
        faults: Arc::new(NoFaults),
        observer: Arc::new(NoObserver),
        http: Arc::new(NoHttp),
        conditions: Arc::new(NoConditions),
    };
    talk.banner(&started.plan.load);
    let mut sink = |stamped: &Stamped| {
        if let Some(folder) = folder {
            folder.append(stamped);
        }
        if let Event::Tick(tick) = &stamped.event
            && tick.source == Source::Users
            && !tick.draining
            && !hears_each
        {
            patience.wear(tick.siege.failed);
        }
        talk.take(stamped);
    };
    let record = execution::carry_out(started, &drivers, stop, interrupts, &mut sink).await;
    if let Some(writer) = writer {
        talk.dropped(writer.finish());
    }
    Ok(record)
}

/// Hears of each answer: what siege counts as failed wears its patience, and it may have a line.
fn listener(patience: Arc<Patience>, lines: Option<Lines>) -> Listener {
    Listener::new(move |ended: &Ended<'_>| {
        if ended.sample.failure.is_some() {
            let mut tally = Tally::default();
            tally.count(ended.sample);
            patience.wear(tally.failed);
        }
        if let Some(lines) = &lines {
            lines.take(ended);
        }
    })
}

/// Colours of the lines on standard output.
fn answer_colours() -> Colours {
    if terminal::result_wants_colour() {
        Colours::Always
    } else {
        Colours::Never
    }
}

/// The result where siege has it: JSON on standard output, text for people on standard error.
fn tell(judgement: &Judgement, talk: &Talk, arguments: &Arguments) {
    let report = judgement.report();
    talk.summary(&report, arguments);
    if arguments.json_output {
        let json = holdfast_report::siege::json(&report.summary.siege);
        terminal::result(json.trim_end());
    }
}

fn write_log(
    log: &mut Log,
    judgement: &Judgement,
    talk: &Talk,
    arguments: &Arguments,
) -> Result<(), Failure> {
    if let Some(mark) = &arguments.mark {
        log.mark(mark)?;
    }
    if talk.gave_up() {
        log.mark("siege aborted due to excessive socket failure.")?;
    }
    log.row(&judgement.report().summary.siege)?;
    talk.written("LOG FILE", log.path());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_file_may_follow_its_option_at_once() {
        let words = |text: &str| -> Vec<OsString> { text.split(' ').map(OsString::from).collect() };
        for (written, understood) in [
            ("holdfast siege -lmy.log h", "holdfast siege -l=my.log h"),
            ("holdfast siege -l=my.log h", "holdfast siege -l=my.log h"),
            ("holdfast siege -l h", "holdfast siege -l h"),
            ("holdfast siege --log=a h", "holdfast siege --log=a h"),
            ("holdfast run -lx", "holdfast run -lx"),
        ] {
            assert_eq!(with_habits(words(written)), words(understood));
        }
    }
}
