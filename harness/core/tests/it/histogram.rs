//! Histograms merge exactly and survive storage.

use std::time::Duration;

use holdfast_core::histogram::Histogram;
use proptest::prelude::*;

fn of(micros: &[u64]) -> Histogram {
    let mut histogram = Histogram::default();
    for value in micros {
        histogram.record(Duration::from_micros(*value));
    }
    histogram
}

fn micros() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![0..2000u64, 0..120_000_000u64], 0..60)
}

proptest! {
    #[test]
    fn merging_is_recording_everything_into_one(a in micros(), b in micros()) {
        let mut merged = of(&a);
        merged.merge(&of(&b));
        let all = of(&[a, b].concat());
        prop_assert_eq!(merged.count(), all.count());
        for percent in [0.0, 50.0, 95.0, 99.0, 100.0] {
            prop_assert_eq!(merged.percentile(percent), all.percentile(percent));
        }
        prop_assert_eq!(merged.mean(), all.mean());
    }

    #[test]
    fn storage_keeps_every_count(values in micros()) {
        let histogram = of(&values);
        let text = serde_json::to_string(&histogram).unwrap();
        let read: Histogram = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&read, &histogram);
        // What was read can take larger values than it held.
        let mut grown = read;
        grown.merge(&of(&[3_600_000_000]));
        prop_assert_eq!(grown.count(), histogram.count() + 1);
    }

    #[test]
    fn percentiles_are_within_a_thousandth(values in micros(), percent in 0.0..=100.0f64) {
        let mut sorted = values.clone();
        sorted.sort_unstable();
        let Some(found) = of(&values).percentile(percent) else {
            prop_assert!(values.is_empty());
            return Ok(());
        };
        let rank = ((percent / 100.0 * sorted.len() as f64).ceil() as usize).max(1);
        let near = |rank: usize| {
            let exact = sorted[rank.clamp(1, sorted.len()) - 1].max(1) as f64;
            (found.as_micros() as f64 - exact).abs() <= exact / 1000.0 + 1.0
        };
        // Rounding of the percentage itself may take the neighbour.
        prop_assert!(near(rank) || near(rank + 1) || near(rank.saturating_sub(1)));
    }
}

#[test]
fn nothing_recorded_is_nothing_measured() {
    let empty = Histogram::default();
    assert_eq!(empty.percentile(50.0), None);
    assert_eq!(empty.mean(), None);
    assert_eq!(empty.max(), None);
    assert_eq!(serde_json::to_string(&empty).unwrap(), "\"\"");
}
