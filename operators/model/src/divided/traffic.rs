//! Counts what ranks send each other, and describes it to the user.

use crate::model::partition::Traffic;

/// What this rank sent in training steps and in scored batches.
#[derive(Debug, Default)]
pub(super) struct TrafficTotals {
    pub steps: TrafficTotal,
    pub batches: TrafficTotal,
}

/// What this rank sent, summed over steps or batches.
#[derive(Debug, Clone, Default)]
pub(super) struct TrafficTotal {
    /// Number of steps or batches.
    pub count: u64,
    pub traffic: Traffic,
}

impl TrafficTotal {
    pub fn add(&mut self, traffic: &Traffic) {
        self.count += 1;
        self.traffic.add(traffic);
    }
}

/// Describes the mean traffic of a step or batch. `traffic` is the total of all ranks over `count`
/// of them, and `what` is the name of one.
pub(super) fn describe(traffic: &Traffic, count: u64, what: &str) -> String {
    let mean = |bytes: u64| with_unit(bytes as f64 / count as f64);
    let layers = traffic.layers.iter().enumerate();
    // All ranks know the states before the first layer.
    let layers = layers.skip(1).map(|(i, layer)| match layer.backward {
        0 => format!("layer {} {}", i + 1, mean(layer.forward)),
        backward => {
            let (forward, backward) = (mean(layer.forward), mean(backward));
            format!("layer {} {forward} forward and {backward} backward", i + 1)
        }
    });
    let others = [
        ("scores", traffic.scores),
        ("which states matter", traffic.reach),
    ];
    let others = others.iter().filter(|(_, bytes)| *bytes > 0);
    let others = others.map(|(name, bytes)| format!("{name} {}", mean(*bytes)));
    let parts: Vec<String> = layers.chain(others).collect();
    format!(
        "for each {what} the ranks sent each other {} on average: {}",
        mean(traffic.total()),
        parts.join(", ")
    )
}

/// A number of bytes in a binary unit that keeps it below 1024.
fn with_unit(bytes: f64) -> String {
    let mut amount = bytes;
    let mut shown = None;
    for unit in ["KiB", "MiB", "GiB", "TiB"] {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        shown = Some(unit);
    }
    match shown {
        None => format!("{amount:.0} bytes"),
        Some(unit) => format!("{amount:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::partition::LayerTraffic;

    #[test]
    fn bytes_have_a_binary_unit() {
        let all = [0.0, 1023.0, 1024.0, 1_572_864.0, 5e15].map(with_unit);
        assert_eq!(
            all,
            ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 MiB", "4547.5 TiB"]
        );
    }

    #[test]
    fn traffic_is_described_as_a_mean_and_per_layer() {
        let layer = |forward, backward| LayerTraffic { forward, backward };
        let mut traffic = Traffic {
            layers: vec![layer(0, 0), layer(4096, 2048)],
            reach: 0,
            scores: 20,
        };
        assert_eq!(
            describe(&traffic, 2, "step"),
            "for each step the ranks sent each other 3.0 KiB on average: layer 2 2.0 KiB forward and 1.0 KiB backward, scores 10 bytes"
        );
        traffic.layers[1].backward = 0;
        assert!(describe(&traffic, 2, "batch").contains("layer 2 2.0 KiB, scores"));
    }
}
