//! When each closed-loop user is active, as the plan's stages say.

use std::ops::Range;
use std::time::Duration;

use holdfast_core::experiment::Stage;

/// When user `index` (from 0) is active, since the start of the load: while the planned number of
/// users is above its index. Over a ramp users come and go at even distances, and who came last
/// goes first. The first of them comes or goes at the begin of the ramp and the last one distance
/// before its end, as in a test plan of Goose.
pub(crate) fn active_spans(stages: &[Stage], index: u32) -> Vec<Range<Duration>> {
    let mut spans: Vec<Range<Duration>> = Vec::new();
    let mut begin = Duration::ZERO;
    let mut before = 0;
    for stage in stages {
        let end = begin + stage.duration;
        if let Some(span) = span_in_stage(stage, before, index, begin, end) {
            match spans.last_mut() {
                Some(last) if last.end == span.start => last.end = span.end,
                _ => spans.push(span),
            }
        }
        begin = end;
        before = stage.users;
    }
    spans
}

fn span_in_stage(
    stage: &Stage,
    before: u32,
    index: u32,
    begin: Duration,
    end: Duration,
) -> Option<Range<Duration>> {
    let (was, is) = (before > index, stage.users > index);
    let coming = || begin + part(stage.ramp, index - before, stage.users - before);
    let going = || begin + part(stage.ramp, before - 1 - index, before - stage.users);
    let span = match (was, is) {
        (false, false) => return None,
        (true, true) => begin..end,
        (false, true) => coming()..end,
        (true, false) => begin..going(),
    };
    (span.start < span.end).then_some(span)
}

fn part(ramp: Duration, of: u32, all: u32) -> Duration {
    ramp.mul_f64(f64::from(of) / f64::from(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(users: u32, ramp: u64, duration: u64) -> Stage {
        Stage {
            users,
            ramp: Duration::from_secs(ramp),
            duration: Duration::from_secs(duration),
        }
    }

    fn seconds(spans: Vec<Range<Duration>>) -> Vec<(f64, f64)> {
        spans
            .into_iter()
            .map(|span| (span.start.as_secs_f64(), span.end.as_secs_f64()))
            .collect()
    }

    #[test]
    fn without_a_ramp_all_start_together() {
        let stages = [stage(3, 0, 60)];
        for index in 0..3 {
            assert_eq!(seconds(active_spans(&stages, index)), [(0.0, 60.0)]);
        }
        assert!(active_spans(&stages, 3).is_empty());
    }

    #[test]
    fn a_ramp_is_linear_up_and_down() {
        let stages = [stage(10, 10, 20), stage(5, 5, 20)];
        assert_eq!(seconds(active_spans(&stages, 0)), [(0.0, 40.0)]);
        assert_eq!(seconds(active_spans(&stages, 4)), [(4.0, 40.0)]);
        assert_eq!(seconds(active_spans(&stages, 5)), [(5.0, 24.0)]);
        assert_eq!(seconds(active_spans(&stages, 9)), [(9.0, 20.0)]);
    }

    /// Goose launches and stops its users at these times: `increase_attack` and `decrease_attack`
    /// act at once and then after each interval, on the user launched last.
    #[test]
    fn a_test_plan_of_goose_is_a_stage_for_each_step() {
        // "4,4s;4,2s;0,4s"
        let steps = [stage(4, 4, 4), stage(4, 0, 2), stage(0, 4, 4)];
        let spans: Vec<_> = (0..4)
            .flat_map(|index| seconds(active_spans(&steps, index)))
            .collect();
        assert_eq!(spans, [(0.0, 9.0), (1.0, 8.0), (2.0, 7.0), (3.0, 6.0)]);
        assert!(active_spans(&steps, 4).is_empty());
    }

    #[test]
    fn a_user_can_leave_and_come_back() {
        let stages = [stage(2, 0, 10), stage(1, 0, 10), stage(2, 4, 10)];
        assert_eq!(seconds(active_spans(&stages, 0)), [(0.0, 30.0)]);
        assert_eq!(
            seconds(active_spans(&stages, 1)),
            [(0.0, 10.0), (20.0, 30.0)]
        );
    }
}
