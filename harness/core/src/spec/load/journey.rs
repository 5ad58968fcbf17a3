//! `requests`, `journeys` and `data`: what a sender does from beginning to end.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Surroundings, many, request};
use crate::experiment::{Data, DataOrder, Journey, Pauses, Request};
use crate::spec::problems::{Fields, Problems};
use crate::spec::tree::{Node, Value};

/// The name of the only journey of a load that lists `requests`.
const ONLY: &str = "requests";

/// What templates of a request can use.
pub(super) struct Known {
    /// Names saved by earlier requests of the journey.
    pub(super) saved: BTreeSet<String>,
    /// Whether the journey has a file of records, readable or not.
    pub(super) has_data: bool,
}

/// Beyond it a weight says nothing that a smaller one could not.
const MOST_WEIGHT: u32 = 1_000_000;

/// One journey of `requests`, or several `journeys`.
pub(super) fn read(
    load: &Fields<'_>,
    surroundings: Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Vec<Journey>> {
    let think_time = match load.get("thinkTime") {
        Some(node) => problems.duration(node, "thinkTime"),
        None => Some(Duration::ZERO),
    };
    let (name, node) = load.exactly_one(&["requests", "journeys"], problems)?;
    if name == "requests" {
        let has_data = load.get("data").is_some();
        let data = data(load.get("data"), surroundings, problems);
        let requests = requests(node, has_data, problems);
        return Some(vec![Journey {
            name: ONLY.to_owned(),
            weight: 1,
            think_time: think_time?,
            pauses: Pauses::Exact,
            data: data?,
            requests: requests?,
        }]);
    }
    if let Some(node) = load.get("data") {
        problems.report(
            &node.at,
            "`data` of the load belongs to `requests`, and this load has journeys",
            "allowed: `data` of a journey",
        );
    }
    let mut names = BTreeSet::new();
    let read = |node: &Node, problems: &mut Problems| {
        let journey = journey(node, think_time.unwrap_or_default(), surroundings, problems)?;
        if !names.insert(journey.name.clone()) {
            problems.report(
                &node.at,
                format!("two journeys are called `{}`", journey.name),
                "allowed: a name of its own for each journey",
            );
        }
        Some(journey)
    };
    let journeys = many(node, "journeys", read, problems);
    think_time?;
    journeys
}

fn journey(
    node: &Node,
    think_time: Duration,
    surroundings: Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Journey> {
    let known = ["name", "weight", "thinkTime", "data", "requests"];
    let fields = problems.fields(node, "journey", &known, &[])?;
    let name = fields
        .required("name", problems)
        .and_then(|node| problems.label(node, "name"));
    let weight = match fields.get("weight") {
        Some(node) => problems.whole(node, "weight", 1..=MOST_WEIGHT),
        None => Some(1),
    };
    let think_time = match fields.get("thinkTime") {
        Some(node) => problems.duration(node, "thinkTime"),
        None => Some(think_time),
    };
    let has_data = fields.get("data").is_some();
    let data = data(fields.get("data"), surroundings, problems);
    let requests = fields
        .required("requests", problems)
        .and_then(|node| requests(node, has_data, problems));
    Some(Journey {
        name: name?,
        weight: weight?,
        think_time: think_time?,
        pauses: Pauses::Exact,
        data: data?,
        requests: requests?,
    })
}

/// The requests in turn, each using only what was saved before it.
fn requests(node: &Node, has_data: bool, problems: &mut Problems) -> Option<Vec<Request>> {
    let mut known = Known {
        saved: BTreeSet::new(),
        has_data,
    };
    let read = |node: &Node, problems: &mut Problems| {
        let request = request::read(node, &known, problems);
        // Also of a request that could not be read: its mistakes are not those of later ones.
        if let Some(Value::Map(saved)) = node.entry("save").map(|node| &node.value) {
            known
                .saved
                .extend(saved.iter().map(|(key, _)| key.text.clone()));
        }
        request
    };
    many(node, "requests", read, problems)
}

fn data(
    node: Option<&Node>,
    surroundings: Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Option<Data>> {
    let Some(node) = node else {
        return Some(None);
    };
    let fields = problems.fields(node, "data", &["file", "order"], &[])?;
    let file = fields.required("file", problems).and_then(|node| {
        let file = surroundings.file(node, "file", problems)?;
        let ending = file.extension().and_then(|ending| ending.to_str());
        if !matches!(ending, Some("csv" | "jsonl")) {
            problems.report(
                &node.at,
                format!("cannot tell what is in {}", file.display()),
                "allowed: a file that ends in .csv (with a header line) or .jsonl (an object a line)",
            );
        }
        Some(file)
    });
    let order = match fields.get("order") {
        Some(node) => {
            let words = [("inTurn", DataOrder::InTurn), ("random", DataOrder::Random)];
            problems.one_of(node, "order", &words, &[])
        }
        None => Some(DataOrder::InTurn),
    };
    Some(Some(Data {
        file: file?,
        order: order?,
    }))
}
