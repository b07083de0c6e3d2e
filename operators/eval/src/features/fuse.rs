//! The operator `fuse`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gfm_pipe_api::files;
use gfm_pipe_api::named::Choice as Named;
use gfm_pipe_api::printable::one_line;
use gfm_pipe_api::random::stream;
use gfm_pipe_api::zip::{zip_problem, zipped};
use gfm_pipe_api::{
    Arity, Connected, Context, Field, InPort, InputFile, OpError, OpResult, Operator, OutPort,
    Problem, Schema, Type, kinds,
};
use rand_chacha::rand_core::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fit::{Example, Weights, fit, loss};
use super::fusion::{Choice, Fusion, Measured, alone, builtin, parse};
use super::of_question::QuestionFeatures;
use super::{BM25, COUNT, DENSE, FEATURES, FeatureKind, PPR, feature_type, place, table};
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
    const ABOUT: &'static str = "fits weights of ranking features to questions with known documents: a ranking without a network, at least as good as the best feature alone on questions left out of the fit";

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
                "at most this many questions, chosen by a hash of `seed` and their ids; null: all. For learning curves",
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
                "yes uses the given weights, or ppr, dense or bm25 alone, where one of them ranks questions left out of the fit clearly better",
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
        for (questions, features) in ctx.inputs("questions").iter().zip(ctx.inputs("features")) {
            let set = QuestionSet::read(questions)?;
            let (features, documents) = table::read(features, &set.texts, &set.name)?;
            let rows = features.into_iter().enumerate();
            let asked = rows.map(|(row, features)| Question {
                id: set.ids[row].clone(),
                hops: set.hops[row],
                gold: set.supporting_documents[row].clone(),
                total: set.gold_titles[row],
                features,
                documents,
                dataset: set.dataset.clone(),
                weight: 1.0,
            });
            all.extend(asked);
        }
        let given = all.len();
        all.retain(|q| !q.gold.is_empty() && p.hops_at_least.is_none_or(|h| q.hops >= Some(h)));
        ctx.info(format!(
            "{} of {given} questions can be fitted to",
            all.len()
        ));
        // The order does not depend on the order of splits, nor which ones are taken on how many.
        all.sort_by_cached_key(|q| hashed(p.seed, &q.id));
        all.truncate(p.questions.unwrap_or(usize::MAX));
        weigh(&mut all);
        let given = match &p.given {
            Some(path) => read_weights(&ctx.base.join(path))?,
            None => *builtin(),
        };
        let (fusion, measured) = choose(&p, &all, &given);
        ctx.info(format!(
            "ranks documents by {}",
            match &*fusion.choice.chosen {
                "fit" => "a fit of all features".to_owned(),
                GIVEN => "the given weights".to_owned(),
                feature => format!("the feature `{feature}` alone"),
            }
        ));
        fusion.write(ctx, "fusion", &given, &measured)
    }
}

/// Reads weights from a file.
fn read_weights(path: &Path) -> OpResult<Weights> {
    let bad = |why: String| {
        OpError::data(format!("{}: {}", one_line(&path.to_string_lossy()), one_line(&why)))
            .hint("write a JSON object with a number for each feature, as in data/models/fusion/weights.json")
    };
    let text = files::read_text(path).map_err(|e| bad(e.to_string()))?;
    let weights = parse(&text).map_err(bad)?;
    if weights.iter().any(|w| !w.is_finite()) {
        return Err(bad("a weight is not a finite number".to_owned()));
    }
    Ok(weights)
}

/// A question to fit weights to.
struct Question {
    id: String,
    hops: Option<u32>,
    gold: Vec<u32>,
    /// Number of gold documents, unknown ones included.
    total: u32,
    features: QuestionFeatures,
    /// Number of documents.
    documents: usize,
    /// Name of the data set.
    dataset: String,
    /// What it counts in means: all data sets together count the same.
    weight: f64,
}

impl Question {
    fn example(&self) -> Option<Example<'_>> {
        let example = Example::new(&self.features, &self.gold, self.documents)?;
        Some(example.weighing(self.weight))
    }

    /// Recall@5 and reciprocal rank with these weights.
    fn measured(&self, weights: &Weights) -> [f64; 2] {
        let scores = self.features.scores(weights, self.documents);
        let gold = crate::metrics::Gold {
            items: &self.gold,
            total: self.total,
        };
        let metrics: [Metric; 2] = [RECALL.at(5), MRR.whole()];
        let values = score(Some(&scores), gold, &metrics);
        [values[0], values[1]]
    }
}

/// Weighs questions so that each data set counts the same, and the mean weight is 1.
fn weigh(questions: &mut [Question]) {
    let mut sizes: BTreeMap<String, f64> = BTreeMap::new();
    for question in &*questions {
        *sizes.entry(question.dataset.clone()).or_default() += 1.0;
    }
    let each = questions.len() as f64 / sizes.len().max(1) as f64;
    for question in questions {
        question.weight = each / sizes.get(&question.dataset).copied().unwrap_or(1.0);
    }
}

/// A number that is the same for a question whatever the others are.
fn hashed(seed: u64, id: &str) -> u64 {
    stream(seed, id).next_u64()
}

/// The name of the weights that come with the program, or that are given in place of them.
const GIVEN: &str = "given";

/// The features that may rank alone: those that are systems of their own.
static ALONE: [&super::FeatureKind; 3] = [&PPR, &DENSE, &BM25];

/// A way to rank questions that were not used for its weights.
struct Way {
    name: String,
    /// The weights for each part of the questions.
    weights: Vec<Weights>,
    /// How they were fitted, if they were.
    fit: Option<Fit>,
    /// Whether the scale of its scores means something.
    scaled: bool,
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
        let examples: Vec<Example<'_>> = questions.filter_map(Question::example).collect();
        fit(&examples, &penalty, &towards)
    }
}

/// Chooses weights: the fit with the least loss on questions left out of it, but the given weights
/// or one of [`ALONE`] if they rank these questions clearly better.
fn choose(p: &Params, questions: &[Question], given: &Weights) -> (Fusion, Vec<Measured>) {
    let part = |i: usize| i % p.parts;
    // Fewer questions than parts leave nothing to compare with.
    if questions.len() < p.parts.max(2) {
        let fusion = Fusion {
            weights: *given,
            ..Fusion::builtin()
        };
        return (fusion, Vec::new());
    }
    let mut ways = Vec::new();
    for towards in &p.towards {
        for penalty in &p.penalties {
            let fit = Fit {
                towards: *towards,
                penalty: *penalty,
            };
            let left_out = |out: usize| {
                let kept = questions.iter().enumerate();
                let kept = kept.filter(|(i, _)| part(*i) != out);
                fit.weights(p, kept.map(|(_, q)| q), given)
            };
            ways.push(Way {
                name: match towards {
                    Towards::Given => format!("fit towards given at {penalty}"),
                    Towards::Zero => format!("fit towards zero at {penalty}"),
                    Towards::Ppr => format!("fit towards ppr at {penalty}"),
                },
                weights: (0..p.parts).map(left_out).collect(),
                fit: Some(fit),
                scaled: true,
            });
        }
    }
    let fits = ways.len();
    ways.push(Way {
        name: GIVEN.to_owned(),
        weights: vec![*given; p.parts],
        fit: None,
        scaled: true,
    });
    ways.extend(FEATURES.iter().map(|feature| Way {
        name: feature.name.to_owned(),
        weights: vec![alone(feature); p.parts],
        fit: None,
        scaled: false,
    }));
    let each = ways.iter().map(|way| way.measure(questions, &part));
    let each: Vec<Vec<OfQuestion>> = each.collect();
    let measured: Vec<Measured> = ways.iter().zip(&each).map(|(w, e)| w.mean(e)).collect();
    let loss_of = |i: &usize| measured[*i].loss.unwrap_or(f64::INFINITY);
    let best_fit = (0..fits).min_by(|a, b| loss_of(a).total_cmp(&loss_of(b)));
    let best_fit = best_fit.unwrap_or(fits);
    let better = (fits..ways.len()).filter(|i| {
        let name = &ways[*i].name;
        let may_be = name == GIVEN || ALONE.iter().any(|feature| feature.name == name);
        p.fallback && may_be && clearly_better(&each[*i], &each[best_fit])
    });
    // Of equal ones the first.
    let best = better
        .rev()
        .max_by(|a, b| measured[*a].recall.total_cmp(&measured[*b].recall));
    let chosen = best.unwrap_or(best_fit);
    let way = &ways[chosen];
    let fusion = Fusion {
        weights: match way.fit {
            Some(fit) => fit.weights(p, questions.iter(), given),
            None => way.weights[0],
        },
        choice: Choice {
            chosen: match way.fit {
                Some(_) => "fit".to_owned(),
                None => way.name.clone(),
            },
            questions: questions.len() as u64,
            penalty: way.fit.map(|fit| fit.penalty),
        },
    };
    (fusion, measured)
}

/// How good a way is for one question.
struct OfQuestion {
    recall: f64,
    mrr: f64,
    loss: f64,
    /// What it counts in means.
    weight: f64,
}

impl Way {
    /// Ranks each question by weights that it was not used for.
    fn measure(
        &self,
        questions: &[Question],
        part: &(dyn Fn(usize) -> usize + Sync),
    ) -> Vec<OfQuestion> {
        let each = questions.par_iter().enumerate().map(|(i, q)| {
            let weights = &self.weights[part(i)];
            let [recall, mrr] = q.measured(weights);
            OfQuestion {
                recall,
                mrr,
                loss: q.example().map_or(0.0, |e| loss(&e, weights)),
                weight: q.weight,
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
            way: self.name.clone(),
            recall: mean(|q| q.recall),
            mrr: mean(|q| q.mrr),
            loss: self.scaled.then(|| mean(|q| q.loss)),
        }
    }
}

/// Whether the mean recall@5 of one way is better than that of another by more than the standard
/// error of the difference. A smaller difference may as well be chance.
fn clearly_better(one: &[OfQuestion], other: &[OfQuestion]) -> bool {
    let differences = one.iter().zip(other).map(|(a, b)| a.recall - b.recall);
    let differences: Vec<f64> = differences.collect();
    let n = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let squares = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>();
    mean > (squares / (n * (n - 1.0).max(1.0))).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A question whose gold document `dense` ranks first and `ppr` ranks low.
    fn question(i: u32) -> Question {
        let mut raw = [const { None }; COUNT];
        let value = |d: u32, shift: u32| f64::from((d * 7 + i * shift) % 10);
        let gold = i % 10;
        let dense = (0..10).map(|d| if d == gold { 20.0 } else { value(d, 3) });
        let ppr = (0..10).map(|d| if d == gold { 3.0 } else { value(d, 5) });
        raw[place(&DENSE)] = Some(dense.collect());
        raw[place(&PPR)] = Some(ppr.collect());
        Question {
            id: format!("q{i}"),
            hops: None,
            gold: vec![gold],
            total: 1,
            features: QuestionFeatures::standardised(raw, 10),
            documents: 10,
            dataset: "toy".to_owned(),
            weight: 1.0,
        }
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
        let (fusion, measured) = choose(&params(&[0.01, 10.0]), &questions, builtin());
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
        let (fusion, _) = choose(&p, &questions, &alone(&PPR));
        assert_eq!(fusion.choice.chosen, "dense");
        assert_eq!(fusion.weights, alone(&DENSE));
    }

    #[test]
    fn every_data_set_counts_the_same() {
        let mut questions: Vec<Question> = (0..4).map(question).collect();
        questions[0].dataset = "other".to_owned();
        weigh(&mut questions);
        let weights: Vec<f64> = questions.iter().map(|q| q.weight).collect();
        let third = 2.0 / 3.0;
        assert_eq!(weights, [2.0, third, third, third]);
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
    fn without_questions_the_given_weights_are_used() {
        let (fusion, measured) = choose(&params(&[0.1]), &[], builtin());
        assert_eq!(fusion, Fusion::builtin());
        assert!(measured.is_empty());
    }
}
