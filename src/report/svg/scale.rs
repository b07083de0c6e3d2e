//! Maps numbers to pixels, with ticks at round numbers.

/// A linear scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// Maps a range of numbers to a range of pixels, which may run backwards. An empty range of
    /// numbers is widened.
    pub fn new((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        let (low, high) = if low.is_finite() && high.is_finite() {
            (low, high)
        } else {
            (0.0, 1.0)
        };
        let (low, high) = if high > low {
            (low, high)
        } else {
            let room = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
            (low - room, low + room)
        };
        Scale {
            low,
            high,
            from,
            to,
        }
    }

    /// The pixel of a number.
    pub fn at(&self, x: f64) -> f64 {
        self.from + (x - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Round numbers within the range, about `wanted` of them.
    pub fn ticks(&self, wanted: usize) -> Vec<f64> {
        let step = step((self.high - self.low) / wanted.max(1) as f64);
        let first = (self.low / step - 1e-9).ceil();
        let last = (self.high / step + 1e-9).floor();
        let count = (last - first).max(0.0) as usize;
        (0..=count).map(|i| (first + i as f64) * step).collect()
    }
}

/// The smallest number of the form 1, 2 or 5 times a power of ten that is not below `x`.
fn step(x: f64) -> f64 {
    let power = 10f64.powf(x.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|f| f * power >= x * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// A tick's label, just long enough to tell ticks apart.
pub fn label(x: f64) -> String {
    if x == 0.0 {
        return "0".to_owned();
    }
    match x.abs() {
        a if a >= 1e6 => format!("{:.1}M", x / 1e6),
        a if a >= 1e4 => format!("{:.0}k", x / 1e3),
        a if a >= 1.0 && x.fract() == 0.0 => format!("{x:.0}"),
        a if a >= 1e-4 => {
            let text = format!("{x:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => format!("{x:e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(range: (f64, f64)) -> Vec<String> {
        let ticks = Scale::new(range, (0.0, 1.0)).ticks(5);
        ticks.into_iter().map(label).collect()
    }

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(labels((0.0, 1.0)), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(labels((0.93, 0.991)), ["0.94", "0.96", "0.98"]);
        assert_eq!(labels((0.0, 30_000.0)), ["0", "10k", "20k", "30k"]);
        assert_eq!(labels((-1.0, 3.0)), ["-1", "0", "1", "2", "3"]);
        // An empty range, and ranges that are not numbers.
        assert!(!labels((2.0, 2.0)).is_empty());
        assert!(!labels((f64::NAN, 1.0)).is_empty());
    }

    #[test]
    fn ends_of_the_range_are_ends_of_the_pixels() {
        let s = Scale::new((2.0, 4.0), (100.0, 0.0));
        assert_eq!((s.at(2.0), s.at(3.0), s.at(4.0)), (100.0, 50.0, 0.0));
    }
}
