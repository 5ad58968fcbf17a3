//! Scales: from values to pixels, and the ticks a reader expects.

/// A linear mapping of values to pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    from: (f64, f64),
    to: (f64, f64),
}

impl Scale {
    /// Maps `from.0` to `to.0` and `from.1` to `to.1`.
    pub(crate) fn new(from: (f64, f64), to: (f64, f64)) -> Self {
        Self { from, to }
    }

    /// The pixel of a value; values outside are moved to the nearest end.
    pub(crate) fn at(self, value: f64) -> f64 {
        let (low, high) = self.from;
        let part = ((value - low) / (high - low)).clamp(0.0, 1.0);
        self.to.0 + part * (self.to.1 - self.to.0)
    }
}

/// A labelled position on an axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    /// In pixels.
    pub(crate) at: f64,
    /// With unit where the axis has no title that names it.
    pub(crate) label: String,
}

impl Tick {
    /// The position as SVG wants it.
    pub(crate) fn px(&self) -> String {
        px(self.at)
    }

    /// Where the baseline of a label goes that is centred on a height.
    pub(crate) fn baseline(&self) -> String {
        px(self.at + 4.0)
    }
}

/// About `wanted` round values from 0 to at least `max`.
pub(crate) fn round_values(max: f64, wanted: f64) -> Vec<f64> {
    let rough = (max / wanted).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(power * 10.0);
    let count = (max / step - 1e-9).ceil().max(1.0) as u32;
    (0..=count).map(|index| f64::from(index) * step).collect()
}

/// Times in seconds from 0 to `end`, `apart` or a rounder step that gives no more than `most`.
pub(crate) fn round_times(end: f64, most: f64) -> Vec<f64> {
    const STEPS: [f64; 13] = [
        1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0,
    ];
    let step = STEPS.into_iter().find(|step| end / step <= most);
    let step = step.unwrap_or(STEPS[STEPS.len() - 1]);
    let count = (end / step + 1e-9).floor() as u32;
    (0..=count).map(|index| f64::from(index) * step).collect()
}

/// The powers of ten that enclose `low..=high`, as exponents.
pub(crate) fn decades(low: f64, high: f64) -> (i32, i32) {
    let first = low.log10().floor() as i32;
    let last = high.log10().ceil() as i32;
    (first, last.max(first + 1))
}

/// A power of ten of a second, as an axis label.
pub(crate) fn decade_label(exponent: i32) -> String {
    match exponent {
        0.. => format!("{} s", 10_u64.pow(exponent.unsigned_abs())),
        -3..0 => format!("{} ms", 10_u64.pow((exponent + 3).unsigned_abs())),
        _ => format!("{} µs", 10_f64.powi(exponent + 6)),
    }
}

/// A pixel position as SVG wants it: short, without losing what can be seen.
pub(crate) fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(round_values(17.0, 4.0), [0.0, 5.0, 10.0, 15.0, 20.0]);
        assert_eq!(round_values(1.0, 4.0), [0.0, 0.5, 1.0]);
        assert_eq!(
            round_times(62.0, 7.0),
            [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
        );
        assert_eq!(decades(0.012, 5.6), (-2, 1));
        assert_eq!(decades(1.0, 1.0), (0, 1));
        let labels = [-6, -4, -3, -1, 0, 2].map(decade_label);
        assert_eq!(labels, ["1 µs", "100 µs", "1 ms", "100 ms", "1 s", "100 s"]);
    }

    #[test]
    fn values_outside_a_scale_stay_on_the_plot() {
        let scale = Scale::new((0.0, 10.0), (100.0, 0.0));
        assert_eq!(scale.at(5.0), 50.0);
        assert_eq!(scale.at(11.0), 0.0);
    }
}
