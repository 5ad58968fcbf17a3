//! When each closed-loop user is active, as the plan's stages say.

use std::ops::Range;
use std::time::Duration;

use holdfast_core::experiment::Stage;

/// When user `index` (from 0) is active, since the start of the load: while the planned number of
/// users is above its index. Over a ramp that number changes linearly from the previous stage's
/// (zero before the first), so users come and go at even distances, the last come first.
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
    let crossing = || {
        let share =
            (f64::from(index) - f64::from(before)) / (f64::from(stage.users) - f64::from(before));
        begin + stage.ramp.mul_f64(share)
    };
    let span = match (was, is) {
        (false, false) => return None,
        (true, true) => begin..end,
        (false, true) => crossing()..end,
        (true, false) => begin..crossing(),
    };
    (span.start < span.end).then_some(span)
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
        assert_eq!(seconds(active_spans(&stages, 5)), [(5.0, 25.0)]);
        assert_eq!(seconds(active_spans(&stages, 9)), [(9.0, 21.0)]);
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
