//! Decides which names are joined.

use std::collections::BTreeMap;

use ahash::AHashSet;
use gfm_pipe_api::points::Points;
use gfm_pipe_api::{Context, OpResult};

use super::lists::approximate;
use crate::near::digits;
use crate::near::nearest::{Near, Wanted, nearest};

/// Tolerance when cosines are compared, so that equal vectors are joined at a threshold of one.
const ROUNDING: f64 = 1e-6;

/// The conditions under which two names are near.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Least cosine of two names.
    pub threshold: f64,
    /// Number of nearest names that count.
    pub neighbours: usize,
    /// Whether each must be among the other's nearest.
    pub mutual: bool,
    /// Largest number of names that are all compared with each other.
    pub exact: usize,
}

/// Two names that are near.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// The ids, the lower one first.
    pub ids: [u32; 2],
    /// The cosine of their vectors.
    pub cosine: f64,
}

/// The near pairs, and counts for messages.
#[derive(Debug, Default, PartialEq)]
pub struct Pairs {
    /// The pairs, ordered by ids.
    pub all: Vec<Pair>,
    /// Number of names with the zero vector, which is near nothing.
    pub without_vector: u64,
    /// Number of names that were not compared with all others.
    pub approximate: u64,
}

/// Finds the near pairs among names. `names` are in any order. `vectors` has a row of `dim` numbers
/// for each id.
///
/// # Errors
/// When the stage is cancelled.
pub fn pairs(
    ctx: &Context,
    names: &[(u32, &str)],
    vectors: &[f32],
    dim: usize,
    rules: &Rules,
) -> OpResult<Pairs> {
    let mut out = Pairs::default();
    // Only names with equal digits may be joined, so others are not compared.
    let mut groups: BTreeMap<String, Vec<([u8; 32], u32)>> = BTreeMap::new();
    for (id, name) in names {
        let vector = &vectors[*id as usize * dim..][..dim];
        if vector.iter().all(|x| *x == 0.0) {
            out.without_vector += 1;
            continue;
        }
        let digest = *blake3::hash(name.as_bytes()).as_bytes();
        groups.entry(digits(name)).or_default().push((digest, *id));
    }
    for mut group in groups.into_values().filter(|g| g.len() > 1) {
        // Sorted by digest, which does not depend on the input's order.
        group.sort_unstable();
        let mut points = Points::new(dim);
        for (_, id) in &group {
            let vector = &vectors[*id as usize * dim..][..dim];
            points.extend(vector);
        }
        // The nearest vector to a name is its own.
        let wanted = Wanted {
            most: rules.neighbours + 1,
            at_least: rules.threshold - ROUNDING,
        };
        let mut near = if group.len() > rules.exact {
            out.approximate += group.len() as u64;
            approximate(ctx, &points, wanted)?
        } else {
            nearest(&ctx.cancel, &points, &points, wanted)?
        };
        for (row, near) in (0..).zip(&mut near) {
            near.retain(|(other, _)| *other != row);
            near.truncate(rules.neighbours);
        }
        let joined = joined(&near, rules.mutual).into_iter();
        out.all.extend(joined.map(|([a, b], cosine)| {
            let [a, b] = [a, b].map(|row| group[row as usize].1);
            let ids = [a.min(b), a.max(b)];
            Pair { ids, cosine }
        }));
    }
    out.all.sort_unstable_by_key(|pair| pair.ids);
    Ok(out)
}

/// Pairs of rows where each is among the other's nearest, or only one of them unless `mutual`.
fn joined(near: &[Vec<Near>], mutual: bool) -> Vec<([u32; 2], f64)> {
    let mut seen: AHashSet<[u32; 2]> = AHashSet::new();
    let mut out = Vec::new();
    for (row, near) in (0_u32..).zip(near) {
        for (other, cosine) in near {
            let pair = [row.min(*other), row.max(*other)];
            // Mutual pairs are added at the second sight, others at the first.
            if seen.insert(pair) != mutual {
                out.push((pair, *cosine));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::near::nearest::tests::{clustered, numbers};
    use gfm_pipe_api::local;
    use gfm_pipe_api::points::dot;
    use proptest::prelude::*;

    const RULES: Rules = Rules {
        threshold: 0.8,
        neighbours: 5,
        mutual: true,
        exact: usize::MAX,
    };

    /// The pairs, with names in place of ids.
    fn by_name(names: &[(u32, &str)], dim: usize, vectors: &[f32], rules: &Rules) -> Vec<String> {
        let got = pairs(&local::context(), names, vectors, dim, rules).unwrap();
        let name = |id: u32| names.iter().find(|n| n.0 == id).unwrap().1;
        let show = |p: &Pair| {
            let mut both = p.ids.map(name);
            both.sort_unstable();
            format!("{} = {} {}", both[0], both[1], p.cosine.to_bits())
        };
        let mut out: Vec<String> = got.all.iter().map(show).collect();
        out.sort();
        out
    }

    fn plain(names: &[(u32, &str)], vectors: &[[f32; 2]], rules: &Rules) -> Vec<[u32; 2]> {
        let vectors = vectors.as_flattened();
        let got = pairs(&local::context(), names, vectors, 2, rules).unwrap();
        got.all.iter().map(|p| p.ids).collect()
    }

    #[test]
    fn near_names_with_equal_digits_are_joined() {
        let names = [
            "1990 cup",
            "1994 cup",
            "cup of 1990",
            "cup",
            "the cup",
            "nothing",
        ];
        let names: Vec<(u32, &str)> = (0..).zip(names).collect();
        let vectors = [
            [1.0, 0.0],
            [1.0, 0.01],
            [1.0, 0.02],
            [2.0, 0.1],
            [3.0, 0.1],
            [0.0, 0.0],
        ];
        assert_eq!(plain(&names, &vectors, &RULES), [[0, 2], [3, 4]]);
        let all = pairs(&local::context(), &names, vectors.as_flattened(), 2, &RULES).unwrap();
        assert_eq!((all.without_vector, all.approximate), (1, 0));
        // Names that are left out are not compared.
        assert_eq!(plain(&names[1..], &vectors, &RULES), [[3, 4]]);
    }

    #[test]
    fn equal_vectors_are_joined_at_a_threshold_of_one() {
        let names = [(0, "a"), (1, "b"), (2, "c")];
        let vectors = [[0.3, 0.7], [0.3, 0.7], [0.3, 0.71]];
        let one = Rules {
            threshold: 1.0,
            ..RULES
        };
        assert_eq!(plain(&names, &vectors, &one), [[0, 1]]);
    }

    #[test]
    fn neighbours_must_be_mutual_unless_it_is_turned_off() {
        // By angle: b is nearest to a, and c is nearest to b.
        let at = |angle: f32| [angle.cos(), angle.sin()];
        let vectors = [at(0.0), at(0.3), at(0.5)];
        let names = [(0, "a"), (1, "b"), (2, "c")];
        let one = Rules {
            neighbours: 1,
            ..RULES
        };
        assert_eq!(plain(&names, &vectors, &one), [[1, 2]]);
        let either = Rules {
            mutual: false,
            ..one
        };
        assert_eq!(plain(&names, &vectors, &either), [[0, 1], [1, 2]]);
        assert_eq!(plain(&names, &vectors, &RULES), [[0, 1], [0, 2], [1, 2]]);
        let far = Rules {
            threshold: 0.97,
            ..RULES
        };
        assert_eq!(plain(&names, &vectors, &far), [[1, 2]]);
    }

    /// The obvious version: compares every pair, by the definition.
    fn slow(names: &[(u32, &str)], dim: usize, vectors: &[f32], rules: &Rules) -> Vec<[u32; 2]> {
        let mut units = Points::new(dim);
        for vector in vectors.chunks_exact(dim) {
            units.push(vector.iter().map(|x| f64::from(*x)));
        }
        let nearest = |(id, name): (u32, &str)| -> Vec<u32> {
            let others = names
                .iter()
                .filter(|o| o.0 != id && digits(o.1) == digits(name));
            let cosine = |o: u32| dot(units.row(id as usize), units.row(o as usize));
            let mut near: Vec<(u32, &str, f64)> = others
                .map(|o| (o.0, o.1, cosine(o.0)))
                .filter(|o| o.2 >= rules.threshold - ROUNDING)
                .collect();
            let digest = |name: &str| *blake3::hash(name.as_bytes()).as_bytes();
            near.sort_by(|a, b| b.2.total_cmp(&a.2).then(digest(a.1).cmp(&digest(b.1))));
            near.iter().take(rules.neighbours).map(|o| o.0).collect()
        };
        let near: BTreeMap<u32, Vec<u32>> = names.iter().map(|n| (n.0, nearest(*n))).collect();
        let mut out = Vec::new();
        for a in near.keys() {
            for b in near.keys().filter(|b| *b > a) {
                let says = [near[a].contains(b), near[b].contains(a)];
                if says == [true; 2] || (!rules.mutual && says != [false; 2]) {
                    out.push([*a, *b]);
                }
            }
        }
        out
    }

    /// Names of a few years with clustered vectors, as rows of a flat table.
    fn case(seed: u64, count: usize, centres: usize, dim: usize) -> (Vec<String>, Vec<f32>) {
        let mut number = numbers(seed ^ 7);
        let mut name = |i: usize| match number() {
            x if x < 0.0 => format!("name {}", letters(i)),
            x => format!("name {} {}", letters(i), if x < 0.5 { 1990 } else { 1994 }),
        };
        let names = (0..count).map(&mut name).collect();
        let points = clustered(seed, count, centres, dim);
        (names, points.rows(0, count).to_vec())
    }

    fn letters(mut i: usize) -> String {
        let mut out = String::new();
        while out.is_empty() || i > 0 {
            out.push(char::from(b'a' + (i % 26) as u8));
            i /= 26;
        }
        out
    }

    /// The same names and vectors with other ids, in another order, on other threads.
    fn shuffled(
        seed: u64,
        names: &[String],
        dim: usize,
        vectors: &[f32],
        rules: &Rules,
    ) -> Vec<String> {
        let mut number = numbers(seed);
        let mut order: Vec<(f64, usize)> = (0..names.len()).map(|i| (number(), i)).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut values = Vec::new();
        let mut named: Vec<(u32, &str)> = Vec::new();
        for (id, (_, i)) in (0..).zip(&order) {
            values.extend_from_slice(&vectors[i * dim..][..dim]);
            named.push((id, &names[*i]));
        }
        named.rotate_left(names.len() / 3);
        let threads = 1 + seed as usize % 3;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| by_name(&named, dim, &values, rules))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn pairs_are_those_of_the_definition(
            seed: u64, count in 2_usize..120, centres in 1_usize..30, dim in 2_usize..9,
            neighbours in 1_usize..6, mutual: bool,
        ) {
            let (names, vectors) = case(seed, count, centres, dim);
            let names: Vec<(u32, &str)> = (0..).zip(names.iter().map(String::as_str)).collect();
            let rules = Rules { neighbours, mutual, ..RULES };
            let got = pairs(&local::context(), &names, &vectors, dim, &rules).unwrap();
            let got: Vec<[u32; 2]> = got.all.iter().map(|p| p.ids).collect();
            prop_assert_eq!(got, slow(&names, dim, &vectors, &rules));
        }

        #[test]
        fn pairs_depend_on_the_set_of_names_alone(
            seed: u64, count in 300_usize..900, centres in 1_usize..200, approximate: bool,
        ) {
            let (names, vectors) = case(seed, count, centres, 8);
            let exact = if approximate { 100 } else { usize::MAX };
            let rules = Rules { exact, ..RULES };
            let plain: Vec<(u32, &str)> = (0..).zip(names.iter().map(String::as_str)).collect();
            let want = by_name(&plain, 8, &vectors, &rules);
            for i in 1..4 {
                let got = shuffled(seed.wrapping_add(i), &names, 8, &vectors, &rules);
                prop_assert_eq!(&got, &want);
            }
        }
    }
}
