//! Curves drawn as text, with block characters of eight heights.

/// From an empty to a full block.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A curve as `rows` lines of at most `width` columns, the top line first. If there are more values
/// than columns, each column is the mean of several values. The lowest column is one eighth high. A
/// value that is not finite leaves a gap.
pub fn curve(values: &[f64], width: usize, rows: usize) -> Vec<String> {
    let columns = columns(values, width);
    let (low, high) = range(&columns);
    let eighths = rows * 8;
    let heights: Vec<usize> = columns
        .iter()
        .map(|v| height(*v, low, high, eighths))
        .collect();
    (0..rows)
        .rev()
        .map(|row| {
            let cells = heights
                .iter()
                .map(|h| EIGHTHS[h.saturating_sub(row * 8).min(8)]);
            cells.collect()
        })
        .collect()
}

/// The smallest and the largest of the finite values.
pub fn range(values: &[f64]) -> (f64, f64) {
    let numbers = values.iter().copied().filter(|v| v.is_finite());
    numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
        (low.min(v), high.max(v))
    })
}

fn columns(values: &[f64], width: usize) -> Vec<f64> {
    let n = values.len();
    if n <= width {
        return values.to_vec();
    }
    (0..width)
        .map(|c| {
            let share = &values[c * n / width..(c + 1) * n / width];
            let numbers: Vec<f64> = share.iter().copied().filter(|v| v.is_finite()).collect();
            if numbers.is_empty() {
                return f64::NAN;
            }
            #[expect(clippy::cast_precision_loss)]
            let count = numbers.len() as f64;
            numbers.iter().sum::<f64>() / count
        })
        .collect()
}

/// The height of a bar in eighths; 0 for values that are not finite. If all values are equal, the
/// bars have half the full height.
fn height(value: f64, low: f64, high: f64, eighths: usize) -> usize {
    if !value.is_finite() {
        return 0;
    }
    #[expect(clippy::cast_precision_loss)]
    let room = (eighths - 1) as f64;
    let share = if high > low {
        (value - low) / (high - low)
    } else {
        0.5
    };
    // In range, because `share` is between 0 and 1.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let above = (share * room).round() as usize;
    1 + above.min(eighths - 1)
}

/// A number in about four digits.
pub fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    if !(1e-3..1e5).contains(&size) {
        return format!("{value:.2e}");
    }
    // Choose the decimals so that four digits are shown.
    let decimals = match size {
        s if s >= 1000.0 => 0,
        s if s >= 100.0 => 1,
        s if s >= 10.0 => 2,
        s if s >= 1.0 => 3,
        _ => 4,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_rises_by_eighths() {
        let values: Vec<f64> = (0..8).map(f64::from).collect();
        assert_eq!(curve(&values, 20, 1), ["▁▂▃▄▅▆▇█"]);
        let values: Vec<f64> = (0..16).map(f64::from).collect();
        assert_eq!(
            curve(&values, 20, 2),
            ["        ▁▂▃▄▅▆▇█", "▁▂▃▄▅▆▇█████████"]
        );
    }

    #[test]
    fn more_values_than_columns_are_means_and_gaps_stay() {
        let values: Vec<f64> = (0..800).map(f64::from).collect();
        assert_eq!(curve(&values, 8, 1), ["▁▂▃▄▅▆▇█"]);
        assert_eq!(curve(&[1.0, f64::NAN, 2.0], 8, 1), ["▁ █"]);
        assert_eq!(curve(&[f64::NAN], 8, 1), [" "]);
        assert_eq!(curve(&[3.0, 3.0], 8, 1), ["▅▅"]);
        assert_eq!(curve(&[], 8, 1), [""]);
    }

    #[test]
    fn four_digits() {
        let all = [
            0.0,
            0.31214,
            -1.5,
            12.346,
            412.34,
            5123.4,
            0.0005,
            1.23456e7,
            f64::NAN,
        ];
        assert_eq!(
            all.map(short),
            [
                "0", "0.3121", "-1.500", "12.35", "412.3", "5123", "5.00e-4", "1.23e7", "NaN"
            ]
        );
    }
}
