//! Embeds all texts of a stage with a transformer: each distinct text is an item, which is computed
//! once, in batches of similar lengths.
//!
//! Parameters are in `embed`, the network is in `transformer`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use gfm_pipe_api::items::{Id, ItemFunction, Work};
use gfm_pipe_api::memory::Demand;
use gfm_pipe_api::ranks::{bytes, numbers_of};
use gfm_pipe_api::{Collective, Context, OpError, OpResult};
use rayon::prelude::*;

use crate::embed::{About, NUMBERS, Sink};
use crate::error::EncoderError;
use crate::model::{explained, load};
use crate::settings::Settings;
use crate::transformer::compute::{BatchLimits, Compute};
use crate::transformer::{Prompt, Tokenised, Transformer};

/// Rows that are written at once.
const ROWS: usize = 16_384;
/// Batches whose vectors are kept together.
const WAVE: usize = 16;

/// From a text to its vector. [`NUMBERS`] is its version, which is in stages' keys as well.
const EMBED: ItemFunction = ItemFunction {
    name: "embed",
    version: NUMBERS,
};

/// Options of the pipeline for embedding texts.
pub(crate) struct EmbedOptions<'a> {
    pub(crate) settings: &'a Settings,
    /// The text that is put before each text. `None` leaves the choice to the model.
    pub(crate) instruct: Option<&'a str>,
    /// Most texts in a batch on the CPU.
    pub(crate) batch: usize,
}

/// Embeds texts with the model of a folder, and writes the vectors.
///
/// # Errors
/// When this build cannot run the model, the tokenizer refuses a text, or the user stops.
pub(crate) fn embed(
    ctx: &Context,
    texts: &[String],
    name: &str,
    folder: &Path,
    options: &EmbedOptions<'_>,
) -> OpResult<About> {
    let (encoder, digest) = load("encoder", name, folder, || {
        let compute = Compute::of(&ctx.device)?;
        Transformer::load_on(folder, options.settings, compute)
    })?;
    if let Some(note) = encoder.note() {
        ctx.info(format!("{name}: {note}"));
    }
    let prompt = encoder
        .prompt(options.instruct)
        .map_err(|e| explained(format!("failed to load the encoder {name}"), e))?;
    let dim = encoder.dim();
    let mut work = open(ctx, &digest, options.settings, &prompt);
    let job = Job {
        encoder: &encoder,
        prompt: &prompt,
        batch: options.batch,
        ctx,
    };
    let distinct = Distinct::new(texts);
    let vectors = job.run(&distinct, &mut work)?;
    let mut sink = Sink::new(ctx, dim)?;
    for rows in distinct.of_row.chunks(ROWS) {
        let mut values = Vec::with_capacity(rows.len() * dim);
        for i in rows {
            values.extend_from_slice(&vectors[*i as usize * dim..][..dim]);
        }
        sink.write(values)?;
    }
    sink.finish()?;
    Ok(About {
        name: name.to_owned(),
        digest,
        dim,
        zero_rows: 0,
    })
}

/// Vectors of a few texts, row-major, which are not kept. The encoder is on the CPU.
///
/// # Errors
/// When the tokenizer refuses a text, or the network fails.
pub(crate) fn encode_each(
    encoder: &Transformer,
    prompt: &Prompt,
    texts: &[String],
) -> OpResult<Vec<f32>> {
    let failed = |e| explained("failed to encode a text".to_owned(), e);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tokens = encoder.tokenise(prompt, &texts).map_err(failed)?;
    let vectors = tokens
        .par_iter()
        .map(|one| encoder.encode(&[one], prompt).map_err(failed));
    Ok(vectors.collect::<OpResult<Vec<_>>>()?.concat())
}

/// Opens the vectors of an encoder, given the digest of its files.
fn open<'a>(ctx: &'a Context, digest: &str, settings: &Settings, prompt: &Prompt) -> Work<'a> {
    let settings = format!("{settings:?}");
    ctx.items.open(&EMBED, &[digest, &settings, prompt.text()])
}

/// The bytes in which a vector is kept.
fn to_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Reads the bytes of a vector into `out`; false where they are none of this length.
fn from_bytes(bytes: &[u8], out: &mut [f32]) -> bool {
    let (numbers, rest) = bytes.as_chunks();
    if numbers.len() != out.len() || !rest.is_empty() {
        return false;
    }
    for (to, number) in out.iter_mut().zip(numbers) {
        *to = f32::from_le_bytes(*number);
    }
    out.iter().all(|x| x.is_finite())
}

/// The distinct texts.
struct Distinct<'a> {
    texts: Vec<&'a str>,
    /// For every row, the index of its text.
    of_row: Vec<u32>,
}

impl<'a> Distinct<'a> {
    fn new(rows: &'a [String]) -> Self {
        let mut places: HashMap<&str, u32> = HashMap::new();
        let mut texts = Vec::new();
        let of_row = rows.iter().map(|text| {
            *places.entry(text).or_insert_with(|| {
                texts.push(text.as_str());
                texts.len() as u32 - 1
            })
        });
        Distinct {
            of_row: of_row.collect(),
            texts,
        }
    }
}

/// Which texts are known, according to rank 0.
fn agreed(ranks: &dyn Collective, known: Vec<bool>) -> OpResult<Vec<bool>> {
    if ranks.size() == 1 {
        return Ok(known);
    }
    let known = known.into_iter().map(u8::from).collect();
    let known = ranks.broadcast(0, known)?;
    Ok(known.into_iter().map(|k| k == 1).collect())
}

/// Sends the vectors that other ranks computed to rank 0, which learns whose they are.
fn to_first(
    ranks: &dyn Collective,
    computed: &[u64],
    dim: usize,
    out: &mut [f32],
) -> OpResult<Vec<u64>> {
    let mut to = vec![Vec::new(); ranks.size()];
    if ranks.rank() > 0 {
        let mut mine = bytes(computed);
        for i in computed {
            mine.extend(bytes(&out[*i as usize * dim..][..dim]));
        }
        to[0] = mine;
    }
    let mut received = Vec::new();
    for theirs in ranks.exchange(to)? {
        let count = theirs.len() / (size_of::<u64>() + dim * size_of::<f32>());
        let (places, vectors) = theirs.split_at(count * size_of::<u64>());
        let places = numbers_of::<u64>(places, count)?;
        let vectors = numbers_of::<f32>(vectors, count * dim)?;
        for (i, vector) in places.iter().zip(vectors.chunks_exact(dim)) {
            out[*i as usize * dim..][..dim].copy_from_slice(vector);
        }
        received.extend(places);
    }
    Ok(received)
}

/// Turns texts into vectors, first those that are kept from earlier runs.
struct Job<'a> {
    encoder: &'a Transformer,
    prompt: &'a Prompt,
    batch: usize,
    ctx: &'a Context,
}

impl Job<'_> {
    fn run(&self, distinct: &Distinct<'_>, work: &mut Work<'_>) -> OpResult<Vec<f32>> {
        let dim = self.encoder.dim();
        Demand::new()
            .and("vectors", &[distinct.texts.len(), dim, size_of::<f32>()])
            .check("`truncate_dim` or the number of texts")?;
        let mut out = vec![0.0_f32; distinct.texts.len() * dim];
        let ids: Vec<Id> = distinct.texts.iter().map(|t| work.id(&[t])).collect();
        let mut known = vec![false; ids.len()];
        work.read(&ids, |i, bytes| {
            known[i] = from_bytes(bytes, &mut out[i * dim..][..dim]);
        });
        // Other ranks may see fewer kept vectors, so rank 0 decides what is missing.
        known = agreed(&*self.ctx.ranks, known)?;
        let missing: Vec<usize> = (0..ids.len()).filter(|i| !known[*i]).collect();
        let texts: Vec<&str> = missing.iter().map(|i| distinct.texts[*i]).collect();
        let tokens = self
            .encoder
            .tokenise(self.prompt, &texts)
            .map_err(|e| self.refused(e, distinct, &missing))?;
        // Batches are ordered by length, so taking every n-th batch divides the work evenly.
        let (rank, size) = (self.ctx.ranks.rank(), self.ctx.ranks.size());
        let compute = self.encoder.compute();
        let batches = batches(&tokens, &compute.batch_limits(self.batch)).into_iter();
        let batches: Vec<Vec<usize>> = batches.skip(rank).step_by(size).collect();
        let of_batches = batches.iter().flatten();
        let total: u64 = of_batches.map(|t| tokens[*t].tokens() as u64).sum();
        let mut computed_here: Vec<u64> = Vec::new();
        let done = AtomicU64::new(0);
        for wave in batches.chunks(WAVE) {
            let computed = compute.each(wave, |batch| self.batch(batch, &tokens, &done, total));
            let mut stopped = None;
            let mut new = Vec::new();
            for (batch, vectors) in wave.iter().zip(computed) {
                let vectors = match vectors {
                    Ok(vectors) => vectors,
                    Err(e) => {
                        stopped.get_or_insert(e);
                        continue;
                    }
                };
                for (t, vector) in batch.iter().zip(vectors.chunks_exact(dim)) {
                    let i = missing[*t];
                    out[i * dim..][..dim].copy_from_slice(vector);
                    new.push((ids[i], to_bytes(vector)));
                    computed_here.push(i as u64);
                }
            }
            self.keep(work, &new);
            if let Some(stopped) = stopped {
                return Err(stopped);
            }
        }
        if size > 1 {
            let received = to_first(&*self.ctx.ranks, &computed_here, dim, &mut out)?;
            // Other ranks may keep theirs on another disk.
            let bytes = |i: usize| to_bytes(&out[i * dim..][..dim]);
            let new = received.iter().map(|i| *i as usize);
            let new: Vec<_> = new.map(|i| (ids[i], bytes(i))).collect();
            self.keep(work, &new);
        }
        work.computed(missing.len());
        for (text, id) in distinct.texts.iter().zip(&ids) {
            work.used(text, *id);
        }
        Ok(out)
    }

    fn batch(
        &self,
        batch: &[usize],
        tokens: &[Tokenised],
        done: &AtomicU64,
        total: u64,
    ) -> OpResult<Vec<f32>> {
        self.ctx.check_cancelled()?;
        let of: Vec<&Tokenised> = batch.iter().map(|t| &tokens[*t]).collect();
        let vectors = self
            .encoder
            .encode(&of, self.prompt)
            .map_err(|e| explained("failed to encode texts".to_owned(), e))?;
        if vectors.iter().any(|x| !x.is_finite()) {
            return Err(
                OpError::data("the encoder gave a vector that is not finite")
                    .hint("its weights are damaged, or too coarse (`torch_dtype`)"),
            );
        }
        let n: u64 = of.iter().map(|t| t.tokens() as u64).sum();
        let now = done.fetch_add(n, Ordering::Relaxed) + n;
        self.ctx.progress(now, total, "tokens", "");
        Ok(vectors)
    }

    /// The error for a refused text, with its row in the input.
    fn refused(&self, e: EncoderError, distinct: &Distinct<'_>, missing: &[usize]) -> OpError {
        let EncoderError::Tokenise { row, reason } = e else {
            return explained("failed to encode a text".to_owned(), e);
        };
        let text = missing.get(row).map(|i| *i as u32);
        let row = distinct.of_row.iter().position(|t| Some(*t) == text);
        let e = OpError::data(format!("the text cannot be tokenised: {reason}"));
        match (row, self.ctx.input_opt("texts")) {
            (Some(row), Some(input)) => e.artifact(&input.name).row(row as u64),
            _ => e,
        }
    }

    /// Keeps new vectors. A failure only costs time later, so it does not fail the stage.
    fn keep(&self, work: &mut Work<'_>, new: &[(Id, Vec<u8>)]) {
        work.keep(new);
        if let Some(trouble) = work.trouble() {
            self.ctx.warn(trouble.to_string());
        }
    }
}

/// Divides texts into batches of nearly equal length, the longest first, so that a run's last
/// batches are its shortest.
pub fn batches(tokens: &[Tokenised], limits: &BatchLimits) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..tokens.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(tokens[*i].tokens()));
    let mut out: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for i in order {
        match out.last_mut() {
            Some(batch) if batch.len() < room => batch.push(i),
            _ => {
                out.push(vec![i]);
                // The first text of a batch is its longest.
                let longest = tokens[i].tokens();
                let by_tokens = limits.tokens / longest;
                let by_pairs = limits.pairs / longest.saturating_mul(longest);
                room = limits.texts.min(by_tokens).min(by_pairs);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;
    use std::path::PathBuf;
    use std::sync::Arc;

    use gfm_pipe_api::items::Items;
    use gfm_pipe_api::{Cancel, Level, Reporter, local, ranks};

    /// Counts finished tokens, and stops a stage after its first batch.
    struct Watch {
        stop: Option<Cancel>,
        tokens: AtomicU64,
    }

    impl Reporter for Watch {
        fn progress(&self, done: u64, _: u64, _: &str, _: &str) {
            self.tokens.fetch_max(done, Ordering::Relaxed);
            if let Some(stop) = &self.stop {
                stop.cancel();
            }
        }
        fn message(&self, _: Level, _: &str) {}
        fn resumed_at(&self, _: u64) {}
    }

    fn run(
        items: &Path,
        texts: &[&str],
        batch: usize,
        stop: bool,
    ) -> (OpResult<Vec<Vec<f32>>>, u64, u64) {
        run_as(ranks::single(), items, texts, batch, stop)
    }

    fn run_as(
        rank: ranks::Shared,
        items: &Path,
        texts: &[&str],
        batch: usize,
        stop: bool,
    ) -> (OpResult<Vec<Vec<f32>>>, u64, u64) {
        run_on(Compute::cpu(), rank, items, texts, batch, stop)
    }

    fn run_on(
        compute: Compute,
        rank: ranks::Shared,
        items: &Path,
        texts: &[&str],
        batch: usize,
        stop: bool,
    ) -> (OpResult<Vec<Vec<f32>>>, u64, u64) {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/fixtures/encoders/bert");
        let settings = Settings::default();
        let encoder = Transformer::load_on(&folder, &settings, compute).unwrap();
        let prompt = encoder.prompt(None).unwrap();
        let mut ctx = local::context();
        ctx.ranks = rank;
        let watch = Arc::new(Watch {
            stop: stop.then(|| ctx.cancel.clone()),
            tokens: AtomicU64::new(0),
        });
        ctx.reporter = Arc::clone(&watch) as Arc<dyn Reporter>;
        ctx.items = Items::new(items.to_owned(), PathBuf::new(), String::new());
        let job = Job {
            encoder: &encoder,
            prompt: &prompt,
            batch,
            ctx: &ctx,
        };
        let rows: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
        let distinct = Distinct::new(&rows);
        let mut work = open(&ctx, "digest", &settings, &prompt);
        let got = job.run(&distinct, &mut work).map(|vectors| {
            let of = |i: &u32| vectors[*i as usize * encoder.dim()..][..encoder.dim()].to_vec();
            distinct.of_row.iter().map(of).collect()
        });
        drop(work);
        let computed = ctx.items.take_used().computed;
        (got, watch.tokens.load(Ordering::Relaxed), computed)
    }

    #[test]
    fn each_text_is_embedded_once_whatever_the_batches_and_what_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let old = ["capital of", "born in the city of", "", "capital of"];
        let (first, tokens, computed) = run(dir.path(), &old, 2, false);
        let first = first.unwrap();
        assert_eq!(first[0], first[3]);
        assert_eq!(computed, 3);
        let (fresh, of_one, _) = run(&dir.path().join("other"), &["capital of"], 1, false);
        assert_eq!(fresh.unwrap()[0], first[0]);
        assert!(of_one < tokens);
        let (all, tokens, computed) = run(
            dir.path(),
            &["born in the city of", "new", "capital of"],
            32,
            false,
        );
        let all = all.unwrap();
        assert_eq!((&all[0], &all[2]), (&first[1], &first[0]));
        assert_eq!(computed, 1);
        let (_, of_new, _) = run(&dir.path().join("third"), &["new"], 32, false);
        assert_eq!(tokens, of_new, "only what is new is computed");
    }

    #[test]
    fn vectors_come_back_bit_by_bit_and_only_with_their_length() {
        let vector = [1.0, -0.0, f32::MIN_POSITIVE];
        let mut out = [0.0; 3];
        assert!(from_bytes(&to_bytes(&vector), &mut out));
        assert_eq!(out.map(f32::to_bits), vector.map(f32::to_bits));
        assert!(!from_bytes(&to_bytes(&vector[..2]), &mut out));
        assert!(!from_bytes(&to_bytes(&vector)[..11], &mut out));
        assert!(!from_bytes(&to_bytes(&[1.0, f32::NAN, 0.0]), &mut out));
    }

    #[test]
    fn a_stopped_stage_goes_on_with_what_it_had() {
        let dir = tempfile::tempdir().unwrap();
        let texts: Vec<String> = (0..200)
            .map(|i| format!("word {i} two three {}", "four ".repeat(i % 30)))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let (stopped, before, _) = run(dir.path(), &texts, 2, true);
        assert!(matches!(stopped, Err(OpError::Cancelled)));
        let (got, after, computed) = run(dir.path(), &texts, 2, false);
        let (want, whole, _) = run(&dir.path().join("other"), &texts, 7, false);
        assert_eq!(got.unwrap(), want.unwrap());
        assert!(computed < texts.len() as u64, "{computed}");
        assert_eq!(before + after, whole, "nothing is computed twice");
    }

    #[test]
    fn a_gpu_computes_the_same_but_for_rounding_and_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let texts: Vec<String> = (0..300)
            .map(|i| format!("word {i} {}", "and on ".repeat(i % 11)))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let (want, whole, _) = run(&dir.path().join("cpu"), &texts, 2, false);
        let want = want.unwrap().concat();
        let kept = dir.path().join("gpu");
        let on_gpu = |batch| {
            let gpu = Compute::emulated_gpu();
            run_on(gpu, ranks::single(), &kept, &texts, batch, false)
        };
        let (got, tokens, computed) = on_gpu(2);
        let got = got.unwrap();
        assert_eq!((tokens, computed), (whole, 300));
        for (got, want) in got.concat().iter().zip(&want) {
            assert!((got - want).abs() < 1e-5, "{got} {want}");
        }
        // What is kept comes back bit by bit, whatever the batches.
        let (again, _, computed) = on_gpu(7);
        assert_eq!((again.unwrap(), computed), (got, 0));
    }

    #[test]
    fn ranks_share_the_work_and_the_first_one_has_all_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let texts: Vec<String> = (0..90)
            .map(|i| format!("word {i} {}", "and on ".repeat(i % 23)))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let (want, whole, _) = run(&dir.path().join("one"), &texts, 4, false);
        let want = want.unwrap();
        for size in [2, 3] {
            // Some vectors are kept from earlier, but only rank 0 has them, and it decides.
            let kept = |rank: usize| dir.path().join(format!("{size} of {rank}"));
            let (_, known, _) = run(&kept(0), &texts[..30], 4, false);
            let got: Vec<_> = std::thread::scope(|scope| {
                let start = |rank: ranks::Shared| {
                    let (kept, texts) = (kept(rank.rank()), &texts);
                    scope.spawn(move || run_as(rank, &kept, texts, 4, false))
                };
                let started: Vec<_> = ranks::threads(size).into_iter().map(start).collect();
                started.into_iter().map(|s| s.join().unwrap()).collect()
            });
            assert_eq!(got[0].0.as_ref().unwrap(), &want, "{size} ranks");
            let computed: u64 = got.iter().map(|g| g.1).sum();
            assert_eq!(computed + known, whole, "each text by one rank");
            assert!(
                got.iter()
                    .all(|g| g.1 > (whole - known) / (2 * size as u64))
            );
            // The first rank keeps what the others computed.
            assert_eq!(run(&kept(0), &texts, 4, false).2, 0);
        }
    }

    #[test]
    fn batches_hold_every_text_once_and_are_not_too_large() {
        let tokens: Vec<Tokenised> = (0..100)
            .map(|i| Tokenised::new((0..1 + (i * 37) % 700).collect()))
            .collect();
        let limits = BatchLimits {
            texts: 8,
            tokens: 512,
            pairs: 20_000,
        };
        let all = batches(&tokens, &limits);
        let mut seen: Vec<usize> = all.iter().flatten().copied().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        for batch in &all {
            let longest = tokens[batch[0]].tokens();
            let n = batch.len();
            assert!(n == 1 || n <= 8 && n * longest <= 512 && n * longest * longest <= 20_000);
            assert!(batch.iter().all(|i| tokens[*i].tokens() <= longest));
        }
        assert!(all.iter().any(|batch| batch.len() == 8));
        assert!(batches(&[], &limits).is_empty());
    }
}
