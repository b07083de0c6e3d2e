//! A run for people: one line a stage, bars on a terminal, messages as they come.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::out::Out;
use super::text::{count, duration, reasons, rows};
use crate::record::{Event, EventSink, StageRecord, StageStatus};

/// Without a terminal, progress is told at most this often per stage.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// What the output may use.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// ANSI colours.
    pub colour: bool,
    /// Progress bars, drawn on standard error.
    pub bars: bool,
}

impl Look {
    /// Text in a colour (an ANSI SGR code), where colours may be used.
    pub fn paint(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Shows a run to people.
pub struct HumanUi {
    out: Out,
    look: Look,
    bars: MultiProgress,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Width of the name column.
    name_width: usize,
    bars: HashMap<String, ProgressBar>,
    /// When a stage started, and when it last told its progress in plain text.
    told: HashMap<String, (Instant, Instant)>,
}

impl HumanUi {
    /// Writes lines to `out`.
    pub fn new(out: Out, look: Look) -> Self {
        let target = if look.bars {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        HumanUi {
            out,
            look,
            bars: MultiProgress::with_draw_target(target),
            inner: Mutex::new(Inner::default()),
        }
    }

    fn line(&self, text: &str) {
        // Bars are taken off the screen while a line is written above them.
        self.bars.suspend(|| self.out.line(text));
    }

    fn progress(&self, inner: &mut Inner, stage: &str, done: u64, total: u64, what: (&str, &str)) {
        let (unit, note) = what;
        if self.look.bars {
            let bar = inner.bars.entry(stage.to_owned()).or_insert_with(|| {
                let bar = self.bars.add(ProgressBar::new(total));
                let template =
                    "{prefix} {wide_bar} {human_pos}/{human_len} {msg} {elapsed}, {eta} left";
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style);
                }
                bar.set_prefix(format!("{stage:<w$}", w = inner.name_width));
                bar
            });
            bar.set_length(total);
            bar.set_position(done);
            let space = if unit.is_empty() || note.is_empty() {
                ""
            } else {
                " "
            };
            bar.set_message(format!("{unit}{space}{note}"));
            return;
        }
        let now = Instant::now();
        let (start, last) = *inner.told.entry(stage.to_owned()).or_insert((now, now));
        if now.duration_since(last) < PLAIN_EVERY {
            return;
        }
        inner.told.insert(stage.to_owned(), (start, now));
        let mut text = format!(
            "{stage:<w$}  {} of {} {unit}",
            count(done),
            count(total),
            w = inner.name_width
        );
        if !note.is_empty() {
            text.push_str(&format!(", {note}"));
        }
        if done > 0 && total > done {
            let spent = now.duration_since(start).as_secs_f64();
            #[expect(clippy::cast_precision_loss)]
            let left = spent * (total - done) as f64 / done as f64;
            text.push_str(&format!(", about {} left", duration(left)));
        }
        self.line(&text);
    }

    fn stage_lines(&self, r: &StageRecord, name_width: usize) -> Vec<String> {
        let (word, colour) = match r.status {
            StageStatus::Ran => ("ran", "32"),
            StageStatus::Cached => ("cached", "36"),
            StageStatus::Failed => ("failed", "31;1"),
            StageStatus::Skipped => ("skipped", "33"),
        };
        let stored = matches!(r.status, StageStatus::Ran | StageStatus::Cached);
        let size = if stored { rows(r.rows) } else { String::new() };
        let mut why = reasons(&r.reasons);
        if let Some(note) = &r.note {
            why = format!("({note})");
        }
        if let Some(step) = r.resumed_at_step {
            why.push_str(&format!(" (continued at step {step})"));
        }
        let line = format!(
            "{:<name_width$}  {:8}  {}  {:>10}  {size:>14}  {why}",
            r.name,
            r.key.as_ref().map_or("", |k| k.short()),
            self.look.paint(colour, &format!("{word:7}")),
            duration(r.seconds),
        );
        let mut lines = vec![line.trim_end().to_owned()];
        if let Some(error) = &r.error {
            let head = self.look.paint("31;1", "error:");
            let text = error.replace('\n', "\n         ");
            lines.push(format!("  {head} {text}"));
        }
        if let Some(hint) = &r.hint {
            lines.push(format!("  {} {hint}", self.look.paint("36", "hint:")));
        }
        lines
    }
}

impl EventSink for HumanUi {
    fn emit(&self, event: &Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::RunStarted { stages, .. } => {
                let widths = stages.iter().map(|s| s.chars().count());
                inner.name_width = widths.max().unwrap_or(0);
            }
            Event::StageStarted { stage, .. } => {
                let now = Instant::now();
                inner.told.insert(stage.clone(), (now, now));
            }
            Event::Progress {
                stage,
                done,
                total,
                unit,
                note,
            } => self.progress(&mut inner, stage, *done, *total, (unit, note)),
            Event::Message { stage, level, text } => {
                let what = match *level {
                    "warn" => format!("{} ", self.look.paint("33;1", "warning:")),
                    _ => String::new(),
                };
                self.line(&format!("{stage:<w$}  {what}{text}", w = inner.name_width));
            }
            Event::StageFinished(record) => {
                if let Some(bar) = inner.bars.remove(&record.name) {
                    bar.finish_and_clear();
                    self.bars.remove(&bar);
                }
                inner.told.remove(&record.name);
                for line in self.stage_lines(record, inner.name_width) {
                    self.line(&line);
                }
            }
            Event::RunFinished { .. } => {
                for (_, bar) in inner.bars.drain() {
                    bar.finish_and_clear();
                }
            }
        }
    }
}
