//! The operator `fuse`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gfm_pipe_api::files;
use gfm_pipe_api::named::Choice as Named;
use gfm_pipe_api::printable::one_line;
use gfm_pipe_api::random::stream;
use gfm_pipe_api::zip::{zip_problem, zipped};
use gfm_pipe_api::{
    Arity, Artifact, Connected, Context, Field, InPort, InputFile, OpError, OpResult, Operator,
    OutPort, Problem, Schema, Type, kinds,
};
use rand_chacha::rand_core::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fit::{Example, Weights, alone, fit, loss};
use super::fusion::{Choice, Fusion, GIVEN, Measured, builtin, parse};
use super::of_question::{GoldRows, QuestionFeatures, sum};
use super::{
    BM25, COUNT, DENSE, FEATURES, FeatureKind, PPR, feature_type, needs_start, place, table,
};
use crate::metrics::{MRR, Metric, RECALL, score};
use crate::questions::QuestionSet;

/// The operator.
pub struct Fuse;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    hops_at_least: Option<u32>,
    questions: Option<usize>,
    given: Option<PathBuf>,
    towards: Vec<Towards>,
    parts: usize,
    penalties: Vec<f64>,
    keep: Vec<Named<FeatureKind>>,
    fallback: bool,
    seed: u64,
}

/// The weights that a fit is drawn towards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Towards {
    Given,
    Zero,
    Ppr,
}

impl Operator for Fuse {
    type Params = Params;
    const NAME: &'static str = "fuse";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "fits weights of ranking features to questions with known documents: a ranking without a network, with a fallback to ppr, dense or bm25 alone where one of them is clearly better";

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new(
                "hops_at_least",
                Type::int(1).or_null(),
                Value::Null,
                "only questions of at least this many hops; questions with an unknown number of hops are left out",
            )
            .at_most(f64::from(u32::MAX), "hops are counted with 32 bits"),
            Field::new(
                "questions",
                Type::int(0).or_null(),
                Value::Null,
                "at most this many questions, chosen by a hash of `seed`, data set and id; copies of a question count once. null: all. For learning curves",
            )
            .at_most(1e9, "a table has fewer rows"),
            Field::new(
                "given",
                Type::Path.or_null(),
                Value::Null,
                "a file with the weights that are used without questions: a JSON object with a number for each feature; null: those that come with the program",
            ),
            Field::new(
                "towards",
                Type::list(Type::one_of(&["given", "zero", "ppr"])),
                json!(["given", "zero"]),
                "weights to choose from that a fit is drawn towards: given, those that are used without questions; zero; or ppr, the ranking of ppr alone",
            ),
            Field::new(
                "parts",
                Type::int(2),
                5,
                "parts of the questions, each of which is ranked by weights that were fitted to the others; penalty and fallback are chosen by the results",
            )
            .at_most(1000.0, "each part is a fit for each penalty"),
            Field::new(
                "penalties",
                Type::list(Type::Float {
                    min: 1e-6,
                    max: 1e6,
                }),
                json!([0.01, 0.03, 0.1, 0.3, 1.0]),
                "penalties to choose from: how strongly the fit is drawn",
            ),
            Field::new(
                "keep",
                Type::List {
                    item: Box::new(feature_type()),
                    min: 0,
                },
                json!([]),
                "features whose weights stay as they are given. For questions that were made from the documents: they repeat their words, so that bm25, start, ppr_word and ppr_document look better than they are",
            ),
            Field::new(
                "fallback",
                Type::Bool,
                true,
                "yes uses the given weights, or ppr, dense or bm25 alone, where one of them ranks questions left out of the fit clearly better. A feature in `keep` never ranks alone",
            ),
            Field::new("seed", Type::int(0), 1024, "divides the questions")
                .at_most(i64::MAX as f64, "it has 63 bits"),
        ])
    }

    fn inputs() -> Vec<InPort> {
        vec![
            InPort::of(
                "questions",
                &[&kinds::QUESTIONS],
                Arity::Any,
                "questions with known documents, of all splits but the test split; without any, the weights that come with the program are used",
            ),
            InPort::of(
                "features",
                &[&kinds::FEATURES],
                Arity::Any,
                "their features, in the same order",
            ),
        ]
    }

    fn outputs() -> Vec<OutPort> {
        vec![OutPort {
            name: "fusion",
            kind: &kinds::FUSION,
            about: "the weights, and how they were chosen",
        }]
    }

    fn files(params: &Params, _: &Path) -> Vec<InputFile> {
        let given = params.given.iter();
        given.map(|path| InputFile::new(path, true)).collect()
    }

    fn check_inputs(_: &Params, inputs: &Connected) -> Vec<Problem> {
        zip_problem(inputs, &["questions", "features"], &[])
            .into_iter()
            .collect()
    }

    fn run(p: Params, ctx: &Context) -> OpResult<()> {
        zipped(ctx, &["questions", "features"], &[])?;
        let mut all = Vec::new();
        let mut given = 0;
        for (questions, features) in ctx.inputs("questions").iter().zip(ctx.inputs("features")) {
            let set = QuestionSet::read(questions)?;
            given += set.len();
            all.extend(read_questions(&p, set, features)?);
        }
        let fitting = all.len();
        let all = ordered(&p, all);
        ctx.info(match all.len() {
            n if n == fitting => format!("{n} of {given} questions can be fitted to"),
            n => format!("{fitting} of {given} questions can be fitted to; {n} are used"),
        });
        let different = all.last().map_or(0, |q| q.place + 1);
        let connected = !ctx.inputs("questions").is_empty();
        if connected && p.questions != Some(0) && different < p.parts {
            ctx.warn(format!(
                "{different} questions are too few to fit to: the given weights are used. At least {} are needed, one for each of `parts`",
                p.parts
            ));
        }
        let given = match &p.given {
            Some(path) => read_weights(&ctx.base.join(path))?,
            None => *builtin(),
        };
        let (fusion, measured) = choose(&p, &all, &given, &|| ctx.check_cancelled())?;
        ctx.info(format!(
            "ranks documents by {}",
            match &*fusion.choice.chosen {
                FIT => "a fit of all features".to_owned(),
                GIVEN => "the given weights".to_owned(),
                feature => format!("the feature `{feature}` alone"),
            }
        ));
        fusion.write(ctx, "fusion", &given, &measured)
    }
}

/// The questions of a set that weights can be fitted to.
fn read_questions(p: &Params, set: QuestionSet, features: &Artifact) -> OpResult<Vec<Question>> {
    let of = table::read(features, &set.texts, &set.name)?;
    let mut out = Vec::new();
    for (row, features) in of.questions.into_iter().enumerate() {
        let gold = &set.supporting_documents[row];
        if gold.iter().any(|d| *d as usize >= of.documents) {
            return Err(OpError::new(format!(
                "the features of questions `{}` are those of other documents",
                set.name
            ))
            .artifact(format!("{}.questions", set.name))
            .row(row as u64)
            .hint("connect `features` of a `rank-features` stage with the same documents"));
        }
        if gold.is_empty() || p.hops_at_least.is_some_and(|h| set.hops[row] < Some(h)) {
            continue;
        }
        out.push(Question {
            id: set.ids[row].clone(),
            gold: features.rows(gold),
            total: set.gold_titles[row],
            features,
            documents: of.whole,
            dataset: set.dataset.clone(),
            weight: 1.0,
            place: 0,
        });
    }
    Ok(out)
}

/// Questions in an order that does not depend on that of splits, so that the same ones are in each
/// part and are taken for a smaller number. Copies of a question have the same place.
fn ordered(p: &Params, mut all: Vec<Question>) -> Vec<Question> {
    all.sort_by_cached_key(|q| {
        let hash = stream(p.seed, &format!("{} {}", q.dataset, q.id)).next_u64();
        (hash, q.dataset.clone(), q.id.clone())
    });
    let same = |a: &Question, b: &Question| (&a.dataset, &a.id) == (&b.dataset, &b.id);
    for (place, copies) in all.chunk_by_mut(same).enumerate() {
        copies.iter_mut().for_each(|q| q.place = place);
    }
    all.retain(|q| p.questions.is_none_or(|most| q.place < most));
    weigh(&mut all);
    all
}

/// Reads weights from a file.
fn read_weights(path: &Path) -> OpResult<Weights> {
    let bad = |why: String| {
        let path = path.to_string_lossy();
        OpError::data(format!("{}: {}", one_line(&path), one_line(&why))).hint(
            "write a JSON object with a number for each feature (docs/metrics.md lists them), or what `gfm-pipe show STAGE.fusion --json` prints of a `fuse` stage",
        )
    };
    let text = files::read_text(path).map_err(|e| bad(e.to_string()))?;
    parse(&text).map_err(bad)
}

/// A question to fit weights to.
struct Question {
    id: String,
    /// Its gold documents.
    gold: GoldRows,
    /// Number of gold documents, unknown ones included.
    total: u32,
    features: QuestionFeatures,
    /// Number of documents, of which pieces count once.
    documents: usize,
    /// Name of the data set.
    dataset: String,
    /// What it counts in means: all data sets together count the same.
    weight: f64,
    /// Its place among different questions.
    place: usize,
}

impl Question {
    fn example(&self) -> Option<Example<'_>> {
        let example = Example::new(&self.features, &self.gold, self.documents)?;
        Some(example.weighing(self.weight))
    }

    /// Recall@5 and reciprocal rank of the ranking by these weights. Of documents that are not kept
    /// one by one, gold ones count as the last.
    fn measured(&self, weights: &Weights) -> [f64; 2] {
        let weights = &self.features.ranking(weights);
        let known = self.features.documents.len();
        let mut scores: Vec<f64> = (0..known)
            .map(|row| sum(weights, self.features.row(row)))
            .collect();
        let others = self.gold.others.max(self.documents.saturating_sub(known));
        scores.resize(known + others, sum(weights, &self.features.others));
        let items = self.gold.known.iter().map(|row| *row as u32);
        let last = scores.len() - self.gold.others..scores.len();
        let items = items.chain(last.map(|i| i as u32));
        let gold = crate::metrics::Gold {
            items: &items.collect::<Vec<u32>>(),
            total: self.total,
        };
        let metrics: [Metric; 2] = [RECALL.at(5), MRR.whole()];
        let values = score(Some(&scores), gold, &metrics);
        [values[0], values[1]]
    }
}

/// Weighs questions so that each data set counts the same, and so does each question of it, however
/// many copies there are. Copies stand next to each other.
fn weigh(questions: &mut [Question]) {
    let mut sizes: BTreeMap<String, f64> = BTreeMap::new();
    for copies in questions.chunk_by(|a, b| a.place == b.place) {
        *sizes.entry(copies[0].dataset.clone()).or_default() += 1.0;
    }
    for copies in questions.chunk_by_mut(|a, b| a.place == b.place) {
        let size = sizes.get(&copies[0].dataset).copied().unwrap_or(1.0);
        let weight = 1.0 / (size * copies.len() as f64);
        copies.iter_mut().for_each(|q| q.weight = weight);
    }
}

/// The name of a fit.
const FIT: &str = "fit";

/// The features that may rank alone: those that are systems of their own.
static ALONE: [&FeatureKind; 3] = [&PPR, &DENSE, &BM25];

/// A way to rank questions that were not used for its weights.
struct Way {
    kind: WayKind,
    /// The weights for each part of the questions.
    weights: Vec<Weights>,
}

/// What the weights of a way are.
#[derive(Clone, Copy)]
enum WayKind {
    Fit(Fit),
    /// The weights that are used without questions.
    Given,
    /// A feature alone.
    Alone(&'static FeatureKind),
}

/// How weights are fitted.
#[derive(Debug, Clone, Copy)]
struct Fit {
    towards: Towards,
    penalty: f64,
}

/// The penalty of weights that stay as they are given.
const FIXED: f64 = 1e9;

impl Fit {
    /// Fits weights to questions.
    fn weights<'q>(
        self,
        p: &Params,
        questions: impl Iterator<Item = &'q Question>,
        given: &Weights,
    ) -> Weights {
        let mut penalty = [self.penalty; COUNT];
        let mut towards = match self.towards {
            Towards::Given => *given,
            Towards::Zero => [0.0; COUNT],
            Towards::Ppr => alone(&PPR),
        };
        for feature in &p.keep {
            let place = place(feature.0);
            (penalty[place], towards[place]) = (FIXED, given[place]);
        }
        // Without a graph nothing is known of walks. With one, weights are for the questions that
        // start in it.
        let (start, nowhere): (Vec<&Question>, Vec<&Question>) =
            questions.partition(|q| !q.features.start_nowhere());
        let mut used = start;
        if used.is_empty() {
            for (weight, feature) in towards.iter_mut().zip(FEATURES) {
                if needs_start(feature) {
                    *weight = 0.0;
                }
            }
            used = nowhere;
        }
        let examples = used.iter().filter_map(|q| q.example());
        fit(&examples.collect::<Vec<_>>(), &penalty, &towards)
    }
}

/// Chooses weights: the fit with the least loss on questions left out of it, but the given weights
/// or one of [`ALONE`] if they rank these questions clearly better.
fn choose(
    p: &Params,
    questions: &[Question],
    given: &Weights,
    check: &dyn Fn() -> OpResult<()>,
) -> OpResult<(Fusion, Vec<Measured>)> {
    // Fewer questions than parts leave nothing to compare with.
    if questions.last().is_none_or(|q| q.place + 1 < p.parts) {
        let fusion = Fusion {
            weights: *given,
            ..Fusion::builtin()
        };
        return Ok((fusion, Vec::new()));
    }
    let mut ways = Vec::new();
    for towards in &p.towards {
        for penalty in &p.penalties {
            let fit = Fit {
                towards: *towards,
                penalty: *penalty,
            };
            let left_out = |out: usize| {
                check()?;
                let kept = questions.iter().filter(|q| q.place % p.parts != out);
                Ok(fit.weights(p, kept, given))
            };
            ways.push(Way {
                kind: WayKind::Fit(fit),
                weights: (0..p.parts).map(left_out).collect::<OpResult<_>>()?,
            });
        }
    }
    let fits = ways.len();
    let fixed = |kind, weights| Way {
        kind,
        weights: vec![weights; p.parts],
    };
    ways.push(fixed(WayKind::Given, *given));
    let features = FEATURES.iter();
    ways.extend(features.map(|feature| fixed(WayKind::Alone(feature), alone(feature))));
    let mut each: Vec<Vec<OfQuestion>> = Vec::with_capacity(ways.len());
    for way in &ways {
        check()?;
        each.push(way.measure(p, questions));
    }
    let measured: Vec<Measured> = ways.iter().zip(&each).map(|(w, e)| w.mean(e)).collect();
    let loss_of = |i: &usize| measured[*i].loss.unwrap_or(f64::INFINITY);
    let best_fit = (0..fits).min_by(|a, b| loss_of(a).total_cmp(&loss_of(b)));
    let best_fit = best_fit.unwrap_or(fits);
    let better = (fits..ways.len()).filter(|i| {
        p.fallback
            && ways[*i].kind.may_replace(p, questions)
            && clearly_better(&each[*i], &each[best_fit])
    });
    // Of equal ones the first.
    let best = better
        .rev()
        .max_by(|a, b| measured[*a].recall.total_cmp(&measured[*b].recall));
    let way = &ways[best.unwrap_or(best_fit)];
    let fit = match way.kind {
        WayKind::Fit(fit) => Some(fit),
        WayKind::Given | WayKind::Alone(_) => None,
    };
    let fusion = Fusion {
        weights: match fit {
            Some(fit) => fit.weights(p, questions.iter(), given),
            None => way.weights[0],
        },
        choice: Choice {
            chosen: match way.kind {
                WayKind::Fit(_) => FIT.to_owned(),
                WayKind::Given => GIVEN.to_owned(),
                WayKind::Alone(feature) => feature.name.to_owned(),
            },
            questions: questions.len() as u64,
            penalty: fit.map(|fit| fit.penalty),
        },
    };
    Ok((fusion, measured))
}

impl WayKind {
    /// Whether it may rank in place of the best fit.
    fn may_replace(self, p: &Params, questions: &[Question]) -> bool {
        match self {
            WayKind::Fit(_) => false,
            WayKind::Given => true,
            WayKind::Alone(feature) => {
                let same = |other: &FeatureKind| other.name == feature.name;
                let known = || questions.iter().any(|q| q.features.is_known(feature));
                ALONE.iter().any(|f| same(f)) && !p.keep.iter().any(|k| same(k.0)) && known()
            }
        }
    }

    /// Its name in the table `ways`.
    fn name(self) -> String {
        match self {
            WayKind::Fit(fit) => {
                let towards = match fit.towards {
                    Towards::Given => GIVEN,
                    Towards::Zero => "zero",
                    Towards::Ppr => PPR.name,
                };
                format!("{FIT} towards {towards} at {}", fit.penalty)
            }
            WayKind::Given => GIVEN.to_owned(),
            WayKind::Alone(feature) => feature.name.to_owned(),
        }
    }
}

/// How good a way is for one question.
struct OfQuestion {
    recall: f64,
    mrr: f64,
    loss: f64,
    /// What it counts in means.
    weight: f64,
    /// [`Question::place`].
    place: usize,
}

impl Way {
    /// Ranks each question by weights that it was not used for.
    fn measure(&self, p: &Params, questions: &[Question]) -> Vec<OfQuestion> {
        let each = questions.par_iter().map(|q| {
            let weights = &self.weights[q.place % p.parts];
            let [recall, mrr] = q.measured(weights);
            OfQuestion {
                recall,
                mrr,
                loss: q
                    .example()
                    .map_or(0.0, |e| loss(&e, &q.features.ranking(weights))),
                weight: q.weight,
                place: q.place,
            }
        });
        each.collect()
    }

    fn mean(&self, each: &[OfQuestion]) -> Measured {
        let total: f64 = each.iter().map(|q| q.weight).sum();
        let mean = |value: fn(&OfQuestion) -> f64| {
            each.iter().map(|q| q.weight * value(q)).sum::<f64>() / total
        };
        Measured {
            way: self.kind.name(),
            recall: mean(|q| q.recall),
            mrr: mean(|q| q.mrr),
            // The scale of a feature alone means nothing.
            loss: match self.kind {
                WayKind::Fit(_) | WayKind::Given => Some(mean(|q| q.loss)),
                WayKind::Alone(_) => None,
            },
        }
    }
}

/// Whether the weighted mean recall@5 of one way is better than that of another by more than the
/// standard error of the difference. A smaller difference may as well be chance. Copies of a
/// question are one observation.
fn clearly_better(one: &[OfQuestion], other: &[OfQuestion]) -> bool {
    let total: f64 = one.iter().map(|q| q.weight).sum();
    let pairs: Vec<(&OfQuestion, &OfQuestion)> = one.iter().zip(other).collect();
    let questions = pairs.chunk_by(|a, b| a.0.place == b.0.place);
    // The weight of each question and its share of the mean.
    let shares: Vec<(f64, f64)> = questions
        .map(|copies| {
            let weight = copies.iter().map(|(a, _)| a.weight / total).sum();
            let share = copies
                .iter()
                .map(|(a, b)| a.weight / total * (a.recall - b.recall));
            (weight, share.sum())
        })
        .collect();
    let mean: f64 = shares.iter().map(|(_, share)| share).sum();
    let squares = shares.iter().map(|(w, share)| (share - w * mean).powi(2));
    // The variance of a weighted mean; with equal weights it is s² / n.
    let n = shares.len() as f64;
    let variance = squares.sum::<f64>() * n / (n - 1.0).max(1.0);
    // With one differing question both are the same number, but for rounding.
    mean > variance.sqrt() * (1.0 + 1e-9)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::features::rely_on_walks;

    /// A question whose gold document `dense` ranks first and `ppr` ranks low.
    fn question(i: u32) -> Question {
        let mut raw = [const { None }; COUNT];
        let value = |d: u32, shift: u32| f64::from((d * 7 + i * shift) % 10);
        let gold = i % 10;
        let dense = (0..10).map(|d| if d == gold { 20.0 } else { value(d, 3) });
        let ppr = (0..10).map(|d| if d == gold { 3.0 } else { value(d, 5) });
        raw[place(&DENSE)] = Some(dense.collect());
        raw[place(&PPR)] = Some(ppr.collect());
        let features = QuestionFeatures::standardised(raw, 10);
        Question {
            id: format!("q{i}"),
            gold: features.rows(&[gold]),
            total: 1,
            features,
            documents: 10,
            dataset: "toy".to_owned(),
            weight: 1.0,
            place: i as usize,
        }
    }

    fn chosen(p: &Params, questions: &[Question], given: &Weights) -> (Fusion, Vec<Measured>) {
        choose(p, questions, given, &|| Ok(())).unwrap()
    }

    fn params(penalties: &[f64]) -> Params {
        Params {
            hops_at_least: None,
            questions: None,
            given: None,
            towards: vec![Towards::Given, Towards::Zero],
            parts: 5,
            penalties: penalties.to_vec(),
            keep: Vec::new(),
            fallback: true,
            seed: 1,
        }
    }

    #[test]
    fn a_fit_is_chosen_where_it_is_best() {
        let questions: Vec<Question> = (0..20).map(question).collect();
        let (fusion, measured) = chosen(&params(&[0.01, 10.0]), &questions, builtin());
        assert_eq!(fusion.choice.chosen, "fit");
        assert_eq!(fusion.choice.penalty, Some(0.01));
        assert_eq!(fusion.choice.questions, 20);
        assert_eq!(measured.len(), 4 + 1 + COUNT);
        assert!(measured[0].mrr > 0.99, "{:?}", measured[0]);
    }

    #[test]
    fn a_feature_ranks_alone_where_the_fit_is_worse() {
        let questions: Vec<Question> = (0..20).map(question).collect();
        // So strong a penalty leaves the weights where they were.
        let mut p = params(&[1e6]);
        p.towards = vec![Towards::Given];
        let (fusion, _) = chosen(&p, &questions, &alone(&PPR));
        assert_eq!(fusion.choice.chosen, "dense");
        assert_eq!(fusion.weights, alone(&DENSE));
    }

    #[test]
    fn every_data_set_counts_the_same() {
        let mut questions: Vec<Question> = (0..4).map(question).collect();
        questions[0].dataset = "other".to_owned();
        weigh(&mut questions);
        let weights: Vec<f64> = questions.iter().map(|q| q.weight).collect();
        let third = 1.0 / 3.0;
        assert_eq!(weights, [1.0, third, third, third]);
        // A copy changes nothing for the others.
        let mut copied: Vec<Question> = [0, 1, 1, 2, 3].map(question).into();
        copied[0].dataset = "other".to_owned();
        weigh(&mut copied);
        let weights: Vec<f64> = copied.iter().map(|q| q.weight).collect();
        assert_eq!(weights, [1.0, third / 2.0, third / 2.0, third, third]);
    }

    #[test]
    fn weights_that_are_kept_stay_as_given() {
        let questions: Vec<Question> = (0..20).map(question).collect();
        let mut p = params(&[0.01]);
        p.keep = vec![Named(&DENSE)];
        let given = alone(&PPR);
        let fit = Fit {
            towards: Towards::Zero,
            penalty: 0.01,
        };
        let weights = fit.weights(&p, questions.iter(), &given);
        assert!(weights[place(&DENSE)].abs() < 1e-6, "{weights:?}");
        assert!(weights[place(&PPR)] < 0.0, "{weights:?}");
    }

    #[test]
    fn a_kept_feature_never_ranks_alone() {
        let questions: Vec<Question> = (0..20).map(question).collect();
        let mut p = params(&[1e6]);
        p.towards = vec![Towards::Given];
        p.keep = vec![Named(&DENSE)];
        let (fusion, _) = chosen(&p, &questions, &alone(&PPR));
        assert_ne!(fusion.choice.chosen, "dense");
        // Nor does one that is not connected.
        p.keep = vec![Named(&PPR)];
        let words = |i: u32| {
            let mut raw = [const { None }; COUNT];
            raw[place(&BM25)] = Some((0..10).map(|d| f64::from((d * 7 + i) % 10)).collect());
            let features = QuestionFeatures::standardised(raw, 10);
            let gold = features.rows(&[i % 10]);
            Question {
                features,
                gold,
                ..question(i)
            }
        };
        let words: Vec<Question> = (0..20).map(words).collect();
        let (fusion, _) = chosen(&p, &words, &alone(&PPR));
        assert_ne!(fusion.choice.chosen, "dense");
        p.keep = Vec::new();
        p.fallback = false;
        let (fusion, _) = chosen(&p, &questions, &alone(&PPR));
        assert_eq!(fusion.choice.chosen, "fit");
    }

    #[test]
    fn copies_of_a_question_are_in_the_same_part_and_count_once() {
        let copies = || (0..6).flat_map(|i| [question(i), question(i)]);
        let mut p = params(&[0.1]);
        let questions = ordered(&p, copies().collect());
        for pair in questions.chunks(2) {
            assert_eq!((&pair[0].id, pair[0].place), (&pair[1].id, pair[1].place));
        }
        assert_eq!(questions[11].place, 5);
        let reversed = copies().collect::<Vec<_>>().into_iter().rev();
        let ids = |of: &[Question]| of.iter().map(|q| q.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&ordered(&p, reversed.collect())), ids(&questions));
        p.questions = Some(2);
        assert_eq!(ids(&ordered(&p, copies().collect())), ids(&questions[..4]));
        // Two different questions are too few for five parts.
        let (fusion, measured) = chosen(&p, &questions[..4], builtin());
        assert_eq!((fusion, measured), (Fusion::builtin(), Vec::new()));
    }

    #[test]
    fn documents_are_ranked_without_later_pieces() {
        // The last ten of twenty documents are later pieces, and the gold one is below the mean.
        let mut values: Vec<f64> = (0..10).map(f64::from).collect();
        values.resize(20, f64::NAN);
        let mut raw = [const { None }; COUNT];
        raw[place(&PPR)] = Some(values);
        for (kept, want) in [(10, 1.0 / 7.0), (2, 1.0 / 10.0)] {
            let features = QuestionFeatures::standardised(raw.clone(), kept);
            let q = Question {
                gold: features.rows(&[3]),
                features,
                ..question(0)
            };
            assert_eq!(q.measured(&alone(&PPR)), [0.0, want]);
            let (n, others) = (q.features.documents.len(), 10 - kept);
            assert_eq!(n, kept);
            let same = loss(&q.example().unwrap(), &[0.0; COUNT]);
            assert!((same - ((n + others) as f64).ln()).abs() < 1e-9);
        }
    }

    /// One question for each recall, with this weight; equal places are copies.
    fn of_questions(all: &[(usize, f64, f64)]) -> Vec<OfQuestion> {
        let of = |(place, recall, weight): &(usize, f64, f64)| OfQuestion {
            recall: *recall,
            mrr: 0.0,
            loss: 0.0,
            weight: *weight,
            place: *place,
        };
        all.iter().map(of).collect()
    }

    #[test]
    fn a_difference_is_clear_if_it_is_above_its_weighted_standard_error() {
        let none = |n: usize, weight: &dyn Fn(usize) -> f64| {
            of_questions(&(0..n).map(|i| (i, 0.0, weight(i))).collect::<Vec<_>>())
        };
        let better = |recalls: &[f64], weight: &dyn Fn(usize) -> f64| {
            let one: Vec<_> = (0..)
                .zip(recalls)
                .map(|(i, r)| (i, *r, weight(i)))
                .collect();
            clearly_better(&of_questions(&one), &none(recalls.len(), weight))
        };
        // Mean .2, standard error .27; then .5 and .29.
        assert!(!better(&[1.0, -0.2, 0.0, 0.0], &|_| 1.0));
        assert!(better(&[1.0, 1.0, 0.0, 0.0], &|_| 1.0));
        // One question is never enough, whatever rounding says.
        for n in 2..200 {
            let mut one = vec![0.0; n];
            one[0] = 0.25;
            assert!(!better(&one, &|_| 1.0 / n as f64), "{n}");
        }
        // Mean .31, standard error .19: with equal weights these would be .33 and .47.
        let heavy = |i: usize| if i == 0 { 7.0 } else { 1.0 };
        assert!(better(&[0.3, 1.0, 1.0, -1.0], &heavy));
        assert!(!better(&[0.3, 1.0, 1.0, -1.0], &|_| 1.0));
    }

    #[test]
    fn copies_of_questions_do_not_make_a_difference_clear() {
        let once = [(0, 1.0, 1.0), (1, -0.2, 1.0), (2, 0.0, 1.0), (3, 0.0, 1.0)];
        let twice: Vec<_> = once.iter().flat_map(|q| [*q, *q]).collect();
        for all in [&once[..], &twice] {
            let none: Vec<_> = all.iter().map(|(place, _, w)| (*place, 0.0, *w)).collect();
            assert!(!clearly_better(&of_questions(all), &of_questions(&none)));
        }
    }

    #[test]
    fn without_a_graph_weights_rely_on_no_walk() {
        let without = |i: u32| {
            let mut raw = [const { None }; COUNT];
            let dense = (0..10).map(|d| f64::from((d * 7 + i * 3) % 10));
            raw[place(&DENSE)] = Some(dense.collect());
            let words = (0..10).map(|d| f64::from(d == i % 10));
            raw[place(&BM25)] = Some(words.collect());
            let features = QuestionFeatures::standardised(raw, 10);
            Question {
                gold: features.rows(&[i % 10]),
                features,
                ..question(i)
            }
        };
        let questions: Vec<Question> = (0..20).map(without).collect();
        let (fusion, measured) = chosen(&params(&[0.1]), &questions, builtin());
        assert_eq!(fusion.choice.chosen, "fit");
        assert!(!rely_on_walks(&fusion.weights));
        assert!(fusion.weights[place(&BM25)] > 0.0);
        // The given weights rely on walks, so they rank as `dense` does.
        let of = |way: &str| measured.iter().find(|m| m.way == way).unwrap();
        assert_eq!(of("given").mrr, of("dense").mrr);
        let scores = Fusion::builtin().scores(&questions[0].features, 10, None);
        assert_eq!(scores, questions[0].features.feature(place(&DENSE), 10));
        // Where some questions start in a graph, the weights are for them.
        let mixed: Vec<Question> = (0..20)
            .map(|i| if i < 15 { question(i) } else { without(i) })
            .collect();
        let (fusion, _) = chosen(&params(&[0.1]), &mixed, builtin());
        let alone: Vec<&Question> = mixed.iter().take(15).collect();
        let fit = Fit {
            towards: Towards::Given,
            penalty: 0.1,
        };
        let only = fit.weights(&params(&[0.1]), alone.into_iter(), builtin());
        let all = fit.weights(&params(&[0.1]), mixed.iter(), builtin());
        assert_eq!(only, all);
        assert_eq!(fusion.choice.questions, 20);
    }

    #[test]
    fn without_questions_the_given_weights_are_used() {
        let (fusion, measured) = chosen(&params(&[0.1]), &[], builtin());
        assert_eq!(fusion, Fusion::builtin());
        assert!(measured.is_empty());
    }
}
