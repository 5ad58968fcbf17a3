//! Who ran what, where, and how to do it again.

use holdfast_core::experiment::{Model, Pauses, Profile};
use holdfast_core::plan::LoadPlan;
use holdfast_core::record::Record;

use crate::words;

/// What a reader must know of a run that is not the usual one.
pub(crate) fn profile_line(record: &Record) -> Option<&'static str> {
    match record.run.profile {
        Profile::Full => None,
        Profile::Quick => Some(
            "Quick profile: the same mechanisms, smaller and shorter than the experiment asks for.",
        ),
    }
}

/// The place of the run, as names and values; what is not known is left out.
pub(crate) fn environment_rows(record: &Record) -> Vec<(&'static str, String)> {
    let environment = &record.run.environment;
    let load = &record.run.plan.load;
    let mut rows = vec![
        ("run", record.run.run_id.clone()),
        ("started", record.run.started_at.clone()),
        ("experiment file", record.run.source_file.clone()),
        ("load", load_line(load)),
        (
            "prober",
            load.prober.map_or_else(|| "none".to_owned(), words::rate),
        ),
        ("target", environment.target_url.clone()),
        (
            "cluster",
            format!("{} {}", environment.cluster, environment.cluster_version),
        ),
        ("namespace", environment.namespace.clone()),
        (
            "generator",
            format!(
                "{}, {}",
                environment.platform,
                words::counted(environment.processors as u64, "processor", "processors"),
            ),
        ),
        ("holdfast", environment.holdfast.clone()),
    ];
    let emulations = environment.emulations.iter();
    rows.extend(emulations.map(|line| ("emulation", line.clone())));
    for row in &mut rows {
        row.1 = words::one_line(&row.1);
    }
    rows.retain(|(_, value)| !value.is_empty());
    rows
}

fn load_line(load: &LoadPlan) -> String {
    let amount = match &load.model {
        Model::Users(_) => {
            let users = u64::from(load.model.most_in_flight());
            format!("up to {}", words::counted(users, "user", "users"))
        }
        Model::Arrivals(arrivals) => {
            let rates = arrivals.stages.iter().map(|stage| stage.rate);
            format!("journeys, up to {}", words::rate(rates.fold(0.0, f64::max)))
        }
    };
    let extent = match load.requests_per_user {
        Some(count) => format!("with {} each", words::counted(count, "request", "requests")),
        None => format!("for {}", words::seconds(load.duration.as_secs_f64())),
    };
    let think_times = load.journeys.iter().flat_map(|journey| {
        let requests = journey.requests.iter();
        requests.map(|request| {
            let think_time = request.think_time.unwrap_or(journey.think_time);
            (think_time, journey.pauses)
        })
    });
    let longest = think_times.max_by_key(|(think_time, _)| *think_time);
    let (think_time, pauses) = longest.unwrap_or_default();
    let up_to = match pauses {
        Pauses::Exact => "",
        Pauses::UpTo => "up to ",
    };
    format!(
        "{amount} {extent}, think time {up_to}{}, deadline {}",
        words::seconds(think_time.as_secs_f64()),
        words::seconds(load.timeout.as_secs_f64()),
    )
}

/// The command that repeats the run, quoted for a POSIX shell.
pub(crate) fn command_line(record: &Record) -> String {
    if !record.run.command.is_empty() {
        let words = record.run.command.iter().map(|word| quoted(word));
        return format!("holdfast {}", words.collect::<Vec<_>>().join(" "));
    }
    let mut line = format!("holdfast run {}", quoted(&record.run.source_file));
    if record.run.profile == Profile::Quick {
        line.push_str(" --quick");
    }
    for (name, value) in &record.run.params {
        line.push_str(" --set ");
        line.push_str(&quoted(&format!("{name}={value}")));
    }
    line
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("users=20"), "users=20");
        assert_eq!(quoted("title=it's late"), r"'title=it'\''s late'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("a;rm -rf"), "'a;rm -rf'");
    }
}
