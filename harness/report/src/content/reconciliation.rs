//! Why siege's availability and the strict one differ: the requests that only one of them counts.

use holdfast_core::event::Tick;
use holdfast_core::outcome::Source;

use crate::Report;
use crate::words;

/// The load's requests that the two availabilities count differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Differences {
    /// Ended as expected after the load had stopped; siege drops them.
    drained_expected: u64,
    /// Ended otherwise after the load had stopped; siege drops them.
    drained_unexpected: u64,
    /// Caused by the load generator; siege counts them as failures, the strict one not at all.
    client_side: u64,
    /// Ended as expected while the load ran.
    expected: u64,
    /// Redirects followed while the load ran; transactions of their own to siege.
    redirects: u64,
}

/// One line that leads from siege's availability to the strict one.
pub(crate) fn line(report: &Report<'_>) -> String {
    let siege = &report.summary.siege;
    let users = &report.summary.users;
    let differences = differences(&report.record.ticks);
    let mut parts = Vec::new();
    let drained = differences.drained_expected + differences.drained_unexpected;
    if drained > 0 {
        parts.push(format!(
            "{} in flight at the end, which siege drops ({} as expected, {} not)",
            words::counted(drained, "request", "requests"),
            differences.drained_expected,
            differences.drained_unexpected,
        ));
    }
    if users.cut_off > 0 {
        parts.push(format!(
            "{} cut off when the drain ended, which siege drops",
            words::counted(users.cut_off, "request", "requests"),
        ));
    }
    let answers = |count| words::counted(count, "answer", "answers");
    if differences.redirects > 0 {
        parts.push(format!(
            "{} followed, each a transaction to siege",
            words::counted(differences.redirects, "redirect", "redirects"),
        ));
    }
    let expected = differences.expected;
    let transactions = siege.transactions - differences.redirects;
    if transactions > expected {
        parts.push(format!(
            "{} that siege takes for successes and the experiment does not expect",
            answers(transactions - expected),
        ));
    } else if transactions < expected {
        parts.push(format!(
            "{} that the experiment expects and siege takes for failures",
            answers(expected - transactions),
        ));
    }
    if differences.client_side > 0 {
        parts.push(format!(
            "{} caused by the load generator, which siege takes for the service's",
            words::counted(differences.client_side, "failure", "failures"),
        ));
    }
    let between = if parts.is_empty() {
        "both count the same requests alike".to_owned()
    } else {
        format!("between them: {}", parts.join("; "))
    };
    format!(
        "siege counts {} of {} ({}), strictly it is {} of {} ({}); {between}.",
        siege.transactions,
        siege.transactions + siege.failed,
        words::percent(siege.availability),
        users.expected,
        users.requests,
        words::percent_or_none(users.availability),
    )
}

fn differences(ticks: &[Tick]) -> Differences {
    let mut sum = Differences::default();
    for tick in ticks.iter().filter(|tick| tick.source == Source::Users) {
        let client_side = tick.client_side_total();
        if tick.draining {
            sum.drained_expected += tick.expected;
            sum.drained_unexpected += tick.unexpected_total() - client_side;
        } else {
            sum.expected += tick.expected;
            sum.redirects += tick.siege.redirects;
            sum.client_side += client_side;
        }
    }
    sum
}
