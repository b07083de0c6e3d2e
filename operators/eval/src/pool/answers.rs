//! Reads the ranks of many evaluations: by system the answers to each question, one per training.

use std::collections::BTreeSet;

use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};

use super::questions::Questions;
use super::stages::{Names, Stage, set_of, shown};
use crate::metrics::Answer;
use crate::shown::label;
use crate::tables::Target;

/// A system with a ranker, for one target, as all evaluations together know it.
pub struct System {
    /// Its name in the tables.
    pub name: String,
    /// Its ranker.
    pub ranker: String,
    /// What it ranks.
    pub target: Target,
    /// By question: the artifacts that answer it, by place and ascending, and the answers. Empty
    /// where it does not ask for the target.
    pub stages: Vec<Vec<usize>>,
    /// The answers, in the same order.
    pub answers: Vec<Vec<Answer>>,
    /// The first stage that has it, and whether its name is from `names`.
    first: (String, bool),
}

impl System {
    /// A system whose answers are from no stage, at most one per question.
    pub fn new(name: &str, ranker: &str, target: Target, answers: Vec<Vec<Answer>>) -> Self {
        System {
            name: name.to_owned(),
            ranker: ranker.to_owned(),
            target,
            stages: answers.iter().map(|of| vec![0; of.len()]).collect(),
            answers,
            first: (String::new(), false),
        }
    }

    /// System and ranker, as tables show them.
    pub fn label(&self) -> String {
        label(&self.name, &self.ranker)
    }

    /// The number of gold items of a question; `None` where it does not ask for the target.
    fn gold(&self, question: usize) -> Option<usize> {
        self.answers[question].first().map(|answer| answer.total)
    }
}

/// The answers of all systems.
pub struct Answers<'a> {
    questions: &'a Questions,
    artifacts: &'a [Artifact],
    /// In the order in which they occur.
    pub systems: Vec<System>,
}

impl<'a> Answers<'a> {
    /// Reads the port `ranks`.
    ///
    /// # Errors
    /// When ranks are of other questions, or systems cannot be told apart.
    pub fn read(
        artifacts: &'a [Artifact],
        questions: &'a Questions,
        names: &Names,
        sets: &[String],
    ) -> OpResult<Self> {
        let mut out = Answers {
            questions,
            artifacts,
            systems: Vec::new(),
        };
        for place in 0..artifacts.len() {
            let artifact = &artifacts[place];
            let twice = artifacts[..place].iter().any(|a| a.name == artifact.name);
            if twice {
                return Err(OpError::new("it is connected twice")
                    .artifact(&artifact.name)
                    .hint("connect each evaluation once"));
            }
            out.add(place, names, sets)
                .map_err(|e| e.artifact(&artifact.name))?;
        }
        out.check_documents()?;
        Ok(out)
    }

    fn add(&mut self, place: usize, names: &Names, sets: &[String]) -> OpResult<()> {
        let artifact = &self.artifacts[place];
        let stage = Stage::of(&artifact.name);
        let set = set_of(&stage, sets).map_err(OpError::new)?;
        let t = artifact.read("ranks")?;
        let text = |name| columns::text(&t, name);
        let (question, systems) = (text("question")?, text("system")?);
        let (ranker, target) = (text("ranker")?, text("target")?);
        let (asked, gold) = (columns::bools(&t, "asked")?, columns::u32s(&t, "gold")?);
        let known: BTreeSet<&str> = systems.iter().flatten().collect();
        unknown_names(names, &stage, &known)?;
        for (i, ranks) in columns::list_u32(&t, "ranks")?.into_iter().enumerate() {
            let id = question.value(i);
            let q = self.questions.place(set, id).ok_or_else(|| {
                OpError::new(format!("the question {id:?} is not among `questions`"))
                    .hint("connect the questions of every evaluation")
            })?;
            let target = Target::called(target.value(i));
            let answer = Answer::of_ranks(asked.value(i), &ranks, gold.value(i));
            let total = answer.total;
            let documents = || Answer::perfect(self.questions.all.document_gold(q)).total;
            if target == Target::Document && total != documents() {
                return Err(OpError::new(format!(
                    "the question {id:?} has another number of gold documents in `questions`"
                ))
                .hint("connect the questions that were evaluated; name data sets under `sets`"));
            }
            let (name, named) = shown(names, &stage, systems.value(i)).map_err(OpError::new)?;
            let s = self.system((name, ranker.value(i), target), (&stage, named))?;
            let system = &mut self.systems[s];
            let (stages, answers) = (&mut system.stages[q], &mut system.answers[q]);
            if stages.last() == Some(&place) {
                return Err(OpError::new(format!("two systems are called `{name}`"))
                    .hint("give each a name of its own under `names`"));
            }
            if answers.first().is_some_and(|other| other.total != total) {
                return Err(OpError::new(format!(
                    "the question {id:?} has another number of gold items in `{}`",
                    self.artifacts[stages[0]].name
                ))
                .hint("pool evaluations of the same data: repeats differ in their training only"));
            }
            stages.push(place);
            answers.push(answer);
        }
        Ok(())
    }

    /// The place of a system in the list. Two stages with other names have the same system only
    /// where `names` says so: they could be two models.
    fn system(
        &mut self,
        (name, ranker, target): (&str, &str, Target),
        (stage, named): (&Stage<'_>, bool),
    ) -> OpResult<usize> {
        let same = |s: &System| s.name == name && s.ranker == ranker && s.target == target;
        if let Some(s) = self.systems.iter().position(same) {
            let (first, first_named) = &self.systems[s].first;
            if first == stage.base || (named && *first_named) {
                return Ok(s);
            }
            return Err(OpError::new(format!(
                "`{first}` has a system `{name}` too, and only repeats of one stage (`foreach`, `matrix`) are taken for the same system"
            ))
            .hint(format!(
                "if they differ, name one, as in names: {{{}: {{{name}: NAME}}}}; if they are the same, name both alike; a system without training can be left out of one (`baselines`)",
                stage.base
            )));
        }
        let none = vec![Vec::new(); self.questions.all.len()];
        self.systems.push(System {
            first: (stage.base.to_owned(), named),
            ..System::new(name, ranker, target, none)
        });
        Ok(self.systems.len() - 1)
    }

    /// The questions that were evaluated: those whose documents some system ranked.
    pub fn asked(&self) -> Vec<usize> {
        let documents = || self.systems.iter().filter(|s| s.target == Target::Document);
        let asked = |q: &usize| documents().any(|s| !s.answers[*q].is_empty());
        (0..self.questions.all.len()).filter(asked).collect()
    }

    /// Checks that all systems ranked documents for the same questions.
    fn check_documents(&self) -> OpResult<()> {
        let documents = || self.systems.iter().filter(|s| s.target == Target::Document);
        for q in self.asked() {
            let Some(lacks) = documents().find(|s| s.answers[q].is_empty()) else {
                continue;
            };
            let Some(has) = documents().find(|s| !s.answers[q].is_empty()) else {
                continue;
            };
            let from = &self.artifacts[has.stages[q][0]].name;
            return Err(OpError::new(format!(
                "`{}` has no answer to the question {:?}, which `{}` was asked",
                lacks.label(),
                self.questions.all.ids[q],
                has.label()
            ))
            .artifact(from)
            .hint(format!(
                "systems are compared on the same questions: connect all stages of `{}`, and evaluate the same questions everywhere",
                lacks.first.0
            )));
        }
        Ok(())
    }

    /// Leaves out systems that rank nodes for other questions, or with other gold items, than the
    /// first system with that target: only some evaluations may know the types of nodes.
    pub fn leave_out_other_nodes(&mut self, ctx: &Context) {
        let mut left_out = BTreeSet::new();
        for (s, system) in self.systems.iter().enumerate() {
            let first = self.systems.iter().find(|f| f.target == system.target);
            let n = self.questions.all.len();
            let differs = |f: &System| (0..n).any(|q| f.gold(q) != system.gold(q));
            if first.is_some_and(differs) {
                ctx.warn(format!(
                    "`{}` was evaluated on another choice of nodes for the target {}: it is left out there. Connect `nodes` in all evaluations, or in none",
                    system.label(),
                    system.target.name()
                ));
                left_out.insert(s);
            }
        }
        let mut place = 0..;
        self.systems
            .retain(|_| place.next().is_none_or(|s| !left_out.contains(&s)));
    }

    /// Says how many answers each question has, where they are several: stages that were meant to
    /// be different systems would show here.
    pub fn report(&self, ctx: &Context) {
        for system in self.systems.iter().filter(|s| s.target == Target::Document) {
            let repeats = system.stages.iter().map(Vec::len).filter(|n| *n > 0);
            let (Some(least), Some(most)) = (repeats.clone().min(), repeats.max()) else {
                continue;
            };
            if most > 1 {
                let times = if least == most {
                    most.to_string()
                } else {
                    format!("{least} to {most}")
                };
                ctx.info(format!(
                    "{}: each question counts with the mean of {times} answers",
                    system.label()
                ));
            }
        }
    }
}

/// An error where `names` has systems that a stage does not have.
fn unknown_names(names: &Names, stage: &Stage<'_>, known: &BTreeSet<&str>) -> OpResult<()> {
    let patterns = names.iter().filter(|(pattern, _)| stage.fits(pattern));
    for (pattern, systems) in patterns {
        if let Some(system) = systems.keys().find(|s| !known.contains(s.as_str())) {
            let known: Vec<&str> = known.iter().copied().collect();
            return Err(OpError::new(format!(
                "no system is called `{system}`, which `names` has under `{pattern}`"
            ))
            .hint(format!("there are: {}", known.join(", "))));
        }
    }
    Ok(())
}
