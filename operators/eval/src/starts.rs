//! The weighted nodes that a question starts from.

/// Nodes with their weights. Each node occurs once.
pub type Starts = Vec<(u32, f64)>;

/// Joins entries of the same node: ascending nodes, weights added in the given order.
pub fn merged(mut starts: Starts) -> Starts {
    // A stable sort, so that weights are added in the given order.
    starts.sort_by_key(|s| s.0);
    starts.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_a_node_are_added_in_order() {
        let big = 1e16;
        let got = merged(vec![(3, big), (1, 0.5), (3, 1.0), (3, -big), (1, 0.25)]);
        assert_eq!(got, [(1, 0.75), (3, big + 1.0 - big)]);
        assert!(merged(Vec::new()).is_empty());
    }
}
