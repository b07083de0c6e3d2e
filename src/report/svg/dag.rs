//! The stages of a pipeline and what they take from each other, in layers from left to right.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Escaped, Svg, text_width};

/// Height of a box, and vertical space between boxes.
const BOX: (f64, f64) = (38.0, 14.0);
/// Horizontal space between layers.
const GAP: f64 = 46.0;
/// Height reserved for a line in a layer that it passes through.
const LANE: f64 = 12.0;
/// Number of times the order within layers is improved.
const SWEEPS: usize = 8;

/// A stage.
#[derive(Debug, Clone)]
pub struct Node {
    /// Name of the stage.
    pub name: String,
    /// The second line in its box.
    pub about: String,
    /// `ran`, `cached`, `failed` or `skipped`.
    pub status: &'static str,
    /// The link that a click on it follows.
    pub link: String,
    /// Indices of the nodes that it takes from.
    pub from: Vec<usize>,
}

/// Draws the graph, which must have no cycles.
pub fn draw(nodes: &[Node]) -> String {
    let layers = layers(nodes);
    let routed = Routed::new(nodes, &layers);
    let order = ordered(&routed);
    let width = |n: &Node| text_width(&n.name).max(text_width(&n.about) * 0.9) + 22.0;
    let height = |i: &usize| match nodes.get(*i) {
        Some(_) => BOX.0 + BOX.1,
        None => LANE,
    };
    let tall = |l: &Vec<usize>| l.iter().map(height).sum::<f64>();
    let tallest = order.iter().map(tall).fold(0.0, f64::max) + BOX.1;
    // Left edge, middle and width of every node; a line passing through a layer has a place there
    // too.
    let mut at = vec![(0.0, 0.0, 0.0); routed.layer.len()];
    let mut x = 4.0;
    for layer in &order {
        let widest = layer.iter().filter_map(|i| nodes.get(*i)).map(width);
        let widest = widest.fold(0.0, f64::max);
        let mut y = (tallest - tall(layer)) / 2.0;
        for i in layer {
            at[*i] = (x, y + height(i) / 2.0, widest);
            y += height(i);
        }
        x += widest + GAP;
    }
    let mut svg = Svg::new((x - GAP + 4.0).max(10.0), tallest.max(10.0));
    for way in &routed.ways {
        let mut path = String::new();
        for pair in way.windows(2) {
            let (from, to) = (at[pair[0]], at[pair[1]]);
            let (x1, y1, x2, y2) = (from.0 + from.2, from.1, to.0, to.1);
            let bend = (x2 - x1) / 2.0;
            let _ = if path.is_empty() {
                write!(path, "M{x1:.1},{y1:.1}")
            } else {
                // Go straight through the layer.
                write!(path, " L{x1:.1},{y1:.1}")
            };
            let (a, b) = (x1 + bend, x2 - bend);
            let _ = write!(path, " C{a:.1},{y1:.1} {b:.1},{y2:.1} {x2:.1},{y2:.1}");
        }
        svg.add(format_args!(r#"<path class="edge" d="{path}"/>"#));
    }
    for (i, n) in nodes.iter().enumerate() {
        let (x, middle, w) = at[i];
        let y = middle - BOX.0 / 2.0;
        svg.add(format_args!(
            r##"<a href="#{}"><rect class="box {}" x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{:.1}" rx="5"/>"##,
            Escaped(&n.link),
            n.status,
            BOX.0
        ));
        svg.text("name", (x + w / 2.0, y + 16.0), "middle", &n.name);
        svg.text("tick", (x + w / 2.0, y + 31.0), "middle", &n.about);
        svg.add(format_args!("</a>"));
    }
    let about = format!(
        "{} stages and what they take from each other; the table below has the same",
        nodes.len()
    );
    svg.finish("dag", &about)
}

/// The nodes, plus an extra one wherever a line passes through a layer, so that no line crosses a
/// box.
struct Routed {
    /// The layer of each node; the pipeline's nodes come first, then the extra ones.
    layer: Vec<usize>,
    /// The nodes that each line goes through, both ends included.
    ways: Vec<Vec<usize>>,
    from: Vec<Vec<usize>>,
    to: Vec<Vec<usize>>,
}

impl Routed {
    fn new(nodes: &[Node], layers: &[usize]) -> Self {
        let mut layer = layers.to_vec();
        let mut ways = Vec::new();
        // Lines that start at the same node share their extra nodes.
        let mut lanes: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for (i, n) in nodes.iter().enumerate() {
            for f in &n.from {
                let mut way = vec![*f];
                for passed in layers[*f] + 1..layers[i] {
                    way.push(*lanes.entry((*f, passed)).or_insert_with(|| {
                        layer.push(passed);
                        layer.len() - 1
                    }));
                }
                way.push(i);
                ways.push(way);
            }
        }
        let (mut from, mut to) = (vec![Vec::new(); layer.len()], vec![Vec::new(); layer.len()]);
        for pair in ways.iter().flat_map(|w| w.windows(2)) {
            to[pair[0]].push(pair[1]);
            from[pair[1]].push(pair[0]);
        }
        Routed {
            layer,
            ways,
            from,
            to,
        }
    }
}

/// The layer of each node: one more than the highest layer of the nodes it takes from.
fn layers(nodes: &[Node]) -> Vec<usize> {
    fn layer(nodes: &[Node], i: usize, known: &mut BTreeMap<usize, usize>, depth: usize) -> usize {
        if let Some(l) = known.get(&i) {
            return *l;
        }
        // A pipeline has no cycles, but a damaged journal must not hang the report.
        if depth > nodes.len() {
            return 0;
        }
        let from = nodes[i].from.iter();
        let l = from
            .map(|f| layer(nodes, *f, known, depth + 1) + 1)
            .max()
            .unwrap_or(0);
        known.insert(i, l);
        l
    }
    let mut known = BTreeMap::new();
    (0..nodes.len())
        .map(|i| layer(nodes, i, &mut known, 0))
        .collect()
}

/// The members of each layer, ordered so that connected nodes are near each other (the barycentre
/// heuristic of Sugiyama, Tagawa and Toda 1981).
fn ordered(routed: &Routed) -> Vec<Vec<usize>> {
    let count = routed.layer.iter().max().map_or(0, |l| l + 1);
    let mut order: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (i, l) in routed.layer.iter().enumerate() {
        order[*l].push(i);
    }
    for sweep in 0..SWEEPS {
        let mut place = vec![0.0; routed.layer.len()];
        for layer in &order {
            let n = layer.len() as f64;
            for (row, i) in layer.iter().enumerate() {
                place[*i] = (row as f64 + 0.5) / n;
            }
        }
        let near = if sweep % 2 == 0 {
            &routed.from
        } else {
            &routed.to
        };
        for layer in &mut order {
            let mean = |i: &usize| match near[*i].len() {
                0 => place[*i],
                n => near[*i].iter().map(|j| place[*j]).sum::<f64>() / n as f64,
            };
            layer.sort_by(|a, b| mean(a).total_cmp(&mean(b)).then(a.cmp(b)));
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, from: &[usize]) -> Node {
        Node {
            name: name.to_owned(),
            about: String::new(),
            status: "ran",
            link: name.to_owned(),
            from: from.to_vec(),
        }
    }

    #[test]
    fn every_edge_leads_to_a_later_layer() {
        let nodes = [
            node("a", &[]),
            node("b", &[0]),
            node("c", &[0, 1]),
            node("d", &[]),
            node("e", &[3, 2]),
        ];
        assert_eq!(layers(&nodes), [0, 1, 2, 0, 3]);
        let routed = Routed::new(&nodes, &layers(&nodes));
        for pair in routed.ways.iter().flat_map(|w| w.windows(2)) {
            assert_eq!(routed.layer[pair[0]] + 1, routed.layer[pair[1]]);
        }
        let text = draw(&nodes);
        assert_eq!(text.matches("class=\"edge\"").count(), 5);
        assert_eq!(text.matches("class=\"box ran\"").count(), 5);
    }

    #[test]
    fn what_cannot_be_drawn_does_not_hang() {
        assert_eq!(layers(&[node("a", &[1]), node("b", &[0])]).len(), 2);
        assert!(draw(&[]).starts_with("<svg"));
    }

    #[test]
    fn connected_stages_lie_side_by_side() {
        // x takes from b, and y from a: in the order of the list, the lines would cross.
        let nodes = [
            node("a", &[]),
            node("b", &[]),
            node("x", &[1]),
            node("y", &[0]),
        ];
        let order = ordered(&Routed::new(&nodes, &layers(&nodes)));
        let crossing = |o: &[Vec<usize>]| {
            let at = |i| o.iter().find_map(|l| l.iter().position(|j| *j == i));
            (at(0) < at(1)) != (at(3) < at(2))
        };
        assert!(!crossing(&order), "{order:?}");
    }
}
