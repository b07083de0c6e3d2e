//! Extracts from all documents of a stage, on all ranks of a run.
//!
//! Rank 0 reads the documents, a limited number at a time, and knows which of them are kept. Of the
//! others it sends a share to each rank, extracts from a share itself, and writes all results in
//! the order of the documents. So the other ranks hold a share at a time, and no table depends on
//! the number of ranks.
//!
//! Every rank keeps what it computes. Rank 0 keeps what the others computed too, because they may
//! keep it on another disk.

use gfm_pipe_api::{Artifact, Collective, Context, ErrorKind, OpError, OpResult};
use rayon::prelude::*;

use super::items::{EXTRACT, ExtractedItems, decode, encode, parts};
use super::writer::Writer;
use super::{Document, Extracted};

/// Extracts from all documents that are not kept, and writes what all of them say. `extractor`
/// identifies everything that a result depends on besides the document. At most `at_once` documents
/// at a time go through `extract` on each rank.
///
/// # Errors
/// When the stage is cancelled, documents cannot be read, `extract` fails on any rank, or writing
/// fails.
pub fn extract(
    ctx: &Context,
    artifact: &Artifact,
    out: &mut Writer,
    extractor: &str,
    at_once: usize,
    extract: impl Fn(&[Document<'_>]) -> OpResult<Vec<Extracted>>,
) -> OpResult<()> {
    let ranks = &*ctx.ranks;
    if ranks.rank() > 0 {
        return help(ctx, extractor, extract);
    }
    let mut items = ExtractedItems::open(ctx, extractor);
    let at_once = at_once * ranks.size();
    out.pass(ctx, artifact, &mut |documents| {
        let mut found = Vec::with_capacity(documents.len());
        for some in documents.chunks(at_once) {
            found.extend(items.extract(some, |missing| divided(ranks, missing, &extract))?);
        }
        Ok(found)
    })?;
    send(ranks, &vec![None; ranks.size()])
}

/// What rank 0 sends another rank: titles and texts, or `None` when there are no more documents.
type Share<'a> = Option<Vec<(&'a str, &'a str)>>;

/// Extracts from documents on all ranks. For rank 0.
fn divided(
    ranks: &dyn Collective,
    documents: &[Document<'_>],
    extract: impl Fn(&[Document<'_>]) -> OpResult<Vec<Extracted>>,
) -> OpResult<Vec<Extracted>> {
    if ranks.size() == 1 {
        return extract(documents);
    }
    let places = places(documents, ranks.size());
    let shares: Vec<Vec<Document<'_>>> = places
        .iter()
        .map(|share| share.iter().map(|i| documents[*i]).collect())
        .collect();
    let texts = shares.iter().map(|share| {
        let texts = share.iter().map(|d| (d.title, d.text));
        Some(texts.collect())
    });
    let texts: Vec<Share<'_>> = texts.collect();
    send(ranks, &texts)?;
    let mine = extract(&shares[0])?;
    let received = ranks.exchange(vec![Vec::new(); ranks.size()])?;
    let theirs = received[1..].par_iter().zip(&shares[1..]);
    let theirs = theirs.map(|(message, share)| results(message, share));
    let theirs = theirs.collect::<OpResult<Vec<_>>>()?;
    let found = std::iter::once(mine).chain(theirs).flatten();
    let mut found: Vec<(usize, Extracted)> = places.into_iter().flatten().zip(found).collect();
    found.sort_unstable_by_key(|(place, _)| *place);
    Ok(found.into_iter().map(|(_, found)| found).collect())
}

/// The places of the documents that each rank gets. Shares have about the same length of text; the
/// first is the shortest, because rank 0 has other work too.
fn places(documents: &[Document<'_>], ranks: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..documents.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(documents[*i].text.len()));
    // The last rank has the longest of each round, and what is left over.
    let first = |rank: usize| ranks - 1 - rank;
    (0..ranks)
        .map(|rank| {
            let share = order.iter().skip(first(rank)).step_by(ranks);
            share.copied().collect()
        })
        .collect()
}

/// Extracts from the documents that rank 0 sends until there are no more. For the other ranks.
fn help(
    ctx: &Context,
    extractor: &str,
    extract: impl Fn(&[Document<'_>]) -> OpResult<Vec<Extracted>>,
) -> OpResult<()> {
    // Rank 0 has decided what to compute: what is kept here is not looked for.
    let kept = ctx.items.clone().anew(true);
    let mut work = kept.open(&EXTRACT, &[extractor]);
    while let Some(texts) = receive(&*ctx.ranks)? {
        let documents: Vec<Document<'_>> = texts
            .iter()
            .map(|(title, text)| Document { id: 0, title, text })
            .collect();
        let found = extract(&documents)?;
        let found = documents.iter().zip(&found);
        let results = found
            .map(|(document, found)| Ok((work.id(&parts(document)), encode(document.text, found)?)))
            .collect::<OpResult<Vec<_>>>()?;
        work.keep(&results);
        // That they could not be kept here is no trouble: rank 0 keeps them as well.
        let mut to = vec![Vec::new(); ctx.ranks.size()];
        for (_, bytes) in results {
            to[0].extend(bytes);
            // JSON has no line break of its own.
            to[0].push(b'\n');
        }
        ctx.ranks.exchange(to)?;
    }
    Ok(())
}

/// Sends each of the other ranks its share. For rank 0.
fn send(ranks: &dyn Collective, shares: &[Share<'_>]) -> OpResult<()> {
    let mut to = vec![Vec::new(); ranks.size()];
    for (to, share) in to.iter_mut().zip(shares).skip(1) {
        *to = serde_json::to_vec(share).map_err(unclear)?;
    }
    ranks.exchange(to).map(|_| ())
}

/// The share that rank 0 sends this rank.
fn receive(ranks: &dyn Collective) -> OpResult<Option<Vec<(String, String)>>> {
    let received = ranks.exchange(vec![Vec::new(); ranks.size()])?;
    serde_json::from_slice(&received[0]).map_err(unclear)
}

fn unclear(e: serde_json::Error) -> OpError {
    OpError::wrap("ranks do not understand each other", e).with_kind(ErrorKind::User)
}

/// Reads what another rank extracted from its share.
fn results(message: &[u8], share: &[Document<'_>]) -> OpResult<Vec<Extracted>> {
    let lines: Vec<&[u8]> = message.split_inclusive(|byte| *byte == b'\n').collect();
    let found = share
        .iter()
        .zip(&lines)
        .map(|(d, line)| decode(d.text, line));
    let found = found.collect::<Option<Vec<_>>>();
    let found = found.filter(|_| lines.len() == share.len());
    found.ok_or_else(|| {
        OpError::new("the results of another rank do not fit its documents")
            .hint("start the same program with the same arguments on every host")
    })
}

#[cfg(all(test, feature = "english"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::extract::patterns;
    use crate::extract::writer::AT_ONCE;
    use crate::{Extract, IngestDocuments};
    use gfm_pipe_api::items::Items;
    use gfm_pipe_api::local::{self, Local};
    use gfm_pipe_api::{OpEntry, ranks};
    use serde_json::{Value, json};

    /// Documents with these numbers, of different length.
    fn documents(dir: &Path, numbers: std::ops::Range<usize>) -> Artifact {
        let corpus: serde_json::Map<String, Value> = numbers
            .map(|i| {
                let mill = format!(
                    "The mill of Lowmere was built by Ada Brandt in {}. ",
                    1500 + i
                );
                (format!("Page {i}"), json!(mill.repeat(i % 4)))
            })
            .collect();
        fs::create_dir_all(dir).unwrap();
        let path = dir.join("corpus.json");
        fs::write(&path, Value::Object(corpus).to_string()).unwrap();
        let given = json!({"path": path, "split": "none"});
        let read = local::run::<IngestDocuments>(&dir.join("d"), &given, [].into()).unwrap();
        read.port("documents").clone()
    }

    fn inputs(documents: &Artifact) -> BTreeMap<String, Vec<Artifact>> {
        [("documents".to_owned(), vec![documents.clone()])].into()
    }

    /// The digests of all tables.
    fn tables(of: &Local) -> Vec<(String, String)> {
        let digest = |(port, artifact): (&String, &Artifact)| (port.clone(), artifact.digest());
        of.outputs.iter().map(digest).collect()
    }

    #[test]
    fn ranks_write_the_tables_of_one_and_share_the_work() {
        let dir = tempfile::tempdir().unwrap();
        // More documents than ranks take at once.
        let all = documents(&dir.path().join("all"), 0..AT_ONCE * 3 + 100);
        let of_first = documents(&dir.path().join("first"), 0..100);
        let of_second = documents(&dir.path().join("second"), 80..150);
        let run = |to: &Path, of: &Artifact| {
            let ran = local::run::<Extract>(to, &json!({}), inputs(of)).unwrap();
            (tables(&ran), ran.items.computed)
        };
        let (want, total) = run(&dir.path().join("one"), &all);
        assert_eq!(total, AT_ONCE as u64 * 3 + 100);
        for size in [1, 2, 3] {
            let to = dir.path().join(format!("{size} ranks"));
            // Some are kept from earlier, by rank 0 or by another rank. Rank 0 decides.
            run(&to, &of_first);
            if size > 1 {
                run(&to.join("rank-1"), &of_second);
            }
            let op = OpEntry::of::<Extract>();
            let got = local::run_on_ranks(size, &op, &to, &json!({}), &inputs(&all)).unwrap();
            assert_eq!(tables(&got[0]), want, "{size} ranks");
            assert_eq!(got[0].items.computed, total - 100, "of all ranks");
            assert_eq!(got[0].items.items.len() as u64, total);
            // Rank 0 keeps all results, and each other rank its own.
            assert_eq!(run(&to, &all), (want.clone(), 0));
            for rank in 1..size {
                let (_, missing) = run(&to.join(format!("rank-{rank}")), &all);
                let kept = total - missing;
                let share = (total - 100) / size as u64;
                assert!((share - 5..share + 75).contains(&kept), "{kept} of {share}");
            }
        }
    }

    /// Documents that a rank extracts from at once, where patterns do it.
    const FEW: usize = 100;

    /// Extracts on a rank by patterns. `before` is called before each share.
    fn run_as(
        rank: ranks::Shared,
        items: &Path,
        of: &Artifact,
        before: impl Fn(&Context) -> OpResult<()>,
    ) -> (OpResult<()>, u64) {
        let mut ctx = local::context();
        ctx.ranks = rank;
        ctx.items = Items::new(items.to_owned(), PathBuf::new(), String::new());
        let mut out = Writer::create(&ctx).unwrap();
        let result = extract(&ctx, of, &mut out, "patterns", FEW, |some| {
            before(&ctx)?;
            let each = some.iter().map(|d| patterns::extract(d.title, d.text));
            Ok(each.collect())
        });
        (result, ctx.items.take_used().computed)
    }

    #[test]
    fn a_rank_that_fails_and_a_user_who_stops_end_all_ranks_and_what_was_found_stays() {
        const RANKS: usize = 3;
        let dir = tempfile::tempdir().unwrap();
        // They are read in two steps.
        let first = AT_ONCE * RANKS;
        let all = documents(dir.path(), 0..first + 50);
        for (who, stops) in [(0, false), (1, false), (2, false), (0, true)] {
            let items = |rank: usize| dir.path().join(format!("{who} {stops} {rank}"));
            let ended: Vec<OpResult<()>> = std::thread::scope(|scope| {
                let start = |rank: ranks::Shared| {
                    let (here, all) = (rank.rank(), &all);
                    scope.spawn(move || {
                        let calls = AtomicUsize::new(0);
                        let before = |ctx: &Context| {
                            let call = calls.fetch_add(1, Ordering::Relaxed);
                            if here == who && stops {
                                ctx.cancel.cancel();
                            } else if here == who && call == 1 {
                                return Err(OpError::resource("no memory"));
                            }
                            Ok(())
                        };
                        run_as(rank, &items(here), all, before).0
                    })
                };
                let started: Vec<_> = ranks::threads(RANKS).into_iter().map(start).collect();
                started.into_iter().map(|s| s.join().unwrap()).collect()
            });
            for (rank, ended) in ended.into_iter().enumerate() {
                let e = ended.unwrap_err();
                if rank != who {
                    assert!(e.to_string().ends_with(" is gone"), "{e}");
                } else if stops {
                    assert!(matches!(e, OpError::Cancelled), "{e}");
                } else {
                    assert_eq!(e.to_string(), "no memory");
                }
            }
            let (result, computed) = run_as(ranks::single(), &items(0), &all, |_| Ok(()));
            result.unwrap();
            // What ranks found together before that is kept.
            let kept = if stops { first } else { FEW * RANKS };
            assert_eq!(computed, (first + 50 - kept) as u64);
        }
    }

    #[test]
    fn results_that_do_not_fit_are_refused() {
        let share = ["One.", "Two."].map(|text| Document {
            id: 0,
            title: "",
            text,
        });
        let whole = "[[[0,4]],[],[]]\n";
        assert_eq!(
            results(whole.repeat(2).as_bytes(), &share).unwrap().len(),
            2
        );
        for message in [
            "",
            whole,
            &whole.repeat(3),
            &format!("{whole}[[[0,5]],[],[]]\n"),
        ] {
            let e = results(message.as_bytes(), &share).unwrap_err();
            assert!(e.to_string().contains("another rank"), "{message:?}: {e}");
        }
    }

    #[cfg(feature = "transformers")]
    #[test]
    fn only_what_takes_long_is_divided() {
        let op = OpEntry::of::<Extract>();
        let divided = |params: Value| op.on_ranks(&op.validate(&params).unwrap()).unwrap();
        assert!(divided(json!({"by": "english"})));
        assert!(divided(json!({"by": "transformer", "model": "m"})));
        assert!(!divided(json!({"by": "patterns"})));
    }
}
