//! A data set in the layout of GFM-RAG 1.0: names that the files can hold, and the content of the
//! files.

use std::collections::HashSet;
use std::io::Write;

use gfm_pipe_api::{Context, OpError, OpResult, delivery};

use super::WriteParams;
use super::files::{Layout, Report, json, member, members, row};
use super::names::{distinct, fits_line, for_line};
use super::questions::{self, Split};
use crate::layout::{CORPUS, KG, MENTIONS, raw_split};
use crate::lines::MAX_LINE;
use crate::names::entity_names;
use crate::read::{Documents, documents, links, relations, triples};
use crate::tables::ROWS;

/// A file of the data set.
#[derive(Debug, Clone, Copy)]
pub enum File {
    /// The triples, `kg.txt`.
    Kg,
    /// Which entities documents mention.
    Mentions,
    /// Titles and texts of documents.
    Corpus,
    /// Questions of a split, with their entities.
    Split(&'static str, &'static str),
    /// Questions of a split, without entities.
    Raw(&'static str),
}

/// A data set with names as they are written.
pub struct Dataset {
    entities: Vec<String>,
    relations: Vec<String>,
    triples: Vec<[u32; 3]>,
    documents: Option<Documents>,
    splits: Vec<Split>,
}

impl Layout for Dataset {
    type File = File;

    /// Fails also when there is no triple.
    fn read(ctx: &Context, _: &WriteParams, report: Report<'_>) -> OpResult<Dataset> {
        let (entities, relations, triples) = graph(ctx, report)?;
        ctx.check_cancelled()?;
        // kg.txt has only the entities that are in triples.
        let mut known = vec![false; entities.len()];
        for [head, _, tail] in &triples {
            known[*head as usize] = true;
            known[*tail as usize] = true;
        }
        let mut left_out = vec![0u64; entities.len()];
        let mut documents = ctx.input_opt("documents").map(documents).transpose()?;
        if let Some(documents) = &mut documents {
            let number = entities.len() as u32;
            let mut linked = match ctx.input_opt("links") {
                Some(artifact) => links(artifact, documents.titles.len(), number)?,
                None => vec![Vec::new(); documents.titles.len()],
            };
            for entities in &mut linked {
                retain(entities, &known, |e| left_out[e] += 1);
            }
            documents.entities = Some(linked);
            for change in distinct(&mut documents.titles, |_, _| None) {
                let written = &documents.titles[change.row];
                let reason = format!("another document has this title: written as `{written}`");
                report(&row("documents", change.row, &reason, &change.name))?;
            }
        }
        let titles = documents.as_ref().map_or(&[][..], |d| &d.titles);
        let titles: HashSet<&str> = titles.iter().map(String::as_str).collect();
        let taken = |title: &str| titles.contains(title);
        let mut splits = questions::read(ctx, entities.len() as u32, titles.len(), &taken, report)?;
        for split in &mut splits {
            for question in &mut split.questions {
                let row = &mut question.row;
                for list in [&mut row.entities, &mut row.supporting_entities] {
                    retain(list, &known, |e| left_out[e] += 1);
                }
            }
        }
        for (id, lists) in left_out.into_iter().enumerate() {
            if !known[id] {
                let reason = format!(
                    "the entity is in no triple, and kg.txt has no other place for it: left out of {lists} lists of documents and questions"
                );
                report(&row("entities", id, &reason, &entities[id]))?;
            }
        }
        Ok(Dataset {
            entities,
            relations,
            triples,
            documents,
            splits,
        })
    }

    fn files(&self) -> Vec<File> {
        let mut files = vec![File::Kg];
        if self.documents.is_some() {
            files.extend([File::Mentions, File::Corpus]);
        }
        for split in &self.splits {
            files.extend([File::Split(split.name, split.file), File::Raw(split.name)]);
        }
        files
    }

    fn name(&self, file: File) -> String {
        match file {
            File::Kg => KG.to_owned(),
            File::Mentions => MENTIONS.to_owned(),
            File::Corpus => CORPUS.to_owned(),
            File::Split(_, name) => name.to_owned(),
            File::Raw(split) => raw_split(split),
        }
    }

    fn write(&self, ctx: &Context, file: File, out: &mut dyn Write) -> OpResult<()> {
        match file {
            File::Kg => self.kg(ctx, out),
            File::Mentions => members(ctx, out, ["{", "}"], self.mentions()),
            File::Corpus => members(ctx, out, ["{", "}"], self.corpus()),
            File::Split(name, _) => {
                let names = |ids: &[u32]| {
                    let names = ids.iter().map(|id| self.entities[*id as usize].clone());
                    questions::list(names)
                };
                let items = self.questions(name).map(|q| {
                    json(&q.json(vec![
                        ("question_entities", names(&q.row.entities)),
                        ("supporting_entities", names(&q.row.supporting_entities)),
                        ("supporting_facts", q.gold(self.titles())),
                    ]))
                });
                members(ctx, out, ["[", "]"], items)
            }
            File::Raw(name) => {
                let items = self.questions(name);
                let gold = |q: &questions::WrittenQuestion| q.gold(self.titles());
                let items = items.map(|q| json(&q.json(vec![("supporting_facts", gold(q))])));
                members(ctx, out, ["[", "]"], items)
            }
        }
    }
}

impl Dataset {
    fn kg(&self, ctx: &Context, out: &mut dyn Write) -> OpResult<()> {
        for (row, [head, relation, tail]) in self.triples.iter().enumerate() {
            if row % ROWS == 0 {
                ctx.check_cancelled()?;
            }
            let head = &self.entities[*head as usize];
            let relation = &self.relations[*relation as usize];
            let tail = &self.entities[*tail as usize];
            delivery::put(out, format!("{head},{relation},{tail}\n").as_bytes())?;
        }
        Ok(())
    }

    /// Every title with the names of its entities, in the order of document ids.
    fn mentions(&self) -> impl Iterator<Item = OpResult<String>> {
        let documents = self.documents.iter();
        let all = documents.flat_map(|d| d.titles.iter().zip(d.entities.iter().flatten()));
        all.map(|(title, entities)| {
            let names = entities.iter().map(|id| &self.entities[*id as usize]);
            member(title, &names.collect::<Vec<_>>())
        })
    }

    fn corpus(&self) -> impl Iterator<Item = OpResult<String>> {
        let documents = self.documents.iter();
        documents.flat_map(|d| {
            let all = d.titles.iter().zip(&d.texts).zip(&d.in_corpus);
            all.filter(|(_, there)| **there)
                .map(|((title, text), _)| member(title, text))
        })
    }

    fn titles(&self) -> &[String] {
        self.documents.as_ref().map_or(&[], |d| &d.titles)
    }

    fn questions(&self, split: &str) -> impl Iterator<Item = &questions::WrittenQuestion> {
        let splits = self.splits.iter().filter(move |s| s.name == split);
        splits.flat_map(|s| &s.questions)
    }
}

/// Removes entities that the files do not have.
fn retain(entities: &mut Vec<u32>, known: &[bool], mut left_out: impl FnMut(usize)) {
    entities.retain(|id| {
        let id = *id as usize;
        if !known[id] {
            left_out(id);
        }
        known[id]
    });
}

type Graph = (Vec<String>, Vec<String>, Vec<[u32; 3]>);

/// Entities and direct relations as they are written, and the triples.
fn graph(ctx: &Context, report: Report<'_>) -> OpResult<Graph> {
    let names = entity_names(ctx.input("entities")?)?;
    let mut entities: Vec<String> = names.iter().map(str::to_owned).collect();
    drop(names);
    let relations = relations(ctx.input("relations")?)?;
    let direct = relations.into_iter().take_while(|r| r.direct);
    let mut relations: Vec<String> = direct.map(|r| r.name).collect();
    let input = ctx.input("triples")?;
    let mut triples = triples(input, entities.len() as u32, relations.len())?;
    let mut ends = vec![[false; 2]; entities.len()];
    for [head, _, tail] in &triples {
        ends[*head as usize][0] = true;
        ends[*tail as usize][1] = true;
    }
    // A name that is not in a triple is not written.
    let changed = distinct(&mut entities, |id, name| {
        let [head, tail] = ends[id];
        let fits = fits_line(name, head, tail) || !(head || tail);
        (!fits).then(|| for_line(name))
    });
    let of_relations = distinct(&mut relations, |_, name| {
        (!fits_line(name, false, false)).then(|| for_line(name))
    });
    let all = [
        ("entities", &entities, changed),
        ("relations", &relations, of_relations),
    ];
    for (table, names, changed) in all {
        for change in changed {
            let why = if change.numbered {
                "kg.txt cannot hold the name, and without commas and line breaks it would be another one's"
            } else {
                "kg.txt cannot hold commas, line breaks, and blanks at the ends of a line"
            };
            let reason = format!("{why}: written as `{}`", names[change.row]);
            report(&row(table, change.row, &reason, &change.name))?;
        }
    }
    let mut at = 0;
    let mut too_long = Vec::new();
    triples.retain(|[head, relation, tail]| {
        let ends = entities[*head as usize].len() + entities[*tail as usize].len();
        let fits = ends + relations[*relation as usize].len() + 2 <= MAX_LINE;
        if !fits {
            too_long.push((at, *head));
        }
        at += 1;
        fits
    });
    for (at, head) in too_long {
        let reason = format!("the line would have more than the {MAX_LINE} bytes that are read");
        report(&row("triples", at, &reason, &entities[head as usize]))?;
    }
    if triples.is_empty() {
        return Err(OpError::data("the graph has no triple that can be written")
            .artifact(&input.name)
            .hint("a kg.txt without a triple is not read again"));
    }
    Ok((entities, relations, triples))
}
