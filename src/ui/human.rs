//! Shows a run to people: one line per stage, progress bars on a terminal, messages as they come.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gfm_pipe_api::Level;
use gfm_pipe_api::printable::one_line;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::out::{Out, styled};
use super::text::{count, duration, items, reasons, rows};
use crate::record::{Event, EventSink, Pace, Remaining, StageRecord, StageStatus, now_ms};

/// Without a terminal, progress is reported at most this often per stage.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// What the output may contain.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// Whether to use ANSI colours.
    pub colour: bool,
    /// Whether to draw progress bars on standard error.
    pub bars: bool,
}

impl Look {
    /// Wraps text in a colour (an ANSI SGR code) if colours may be used; only for [`Out::text`].
    pub fn paint(self, code: &str, text: &str) -> String {
        if self.colour {
            styled(code, text)
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
    /// The bar of the run as a whole.
    whole: Option<ProgressBar>,
    /// Seconds that the stages which have not ended took last time.
    expected: BTreeMap<String, f64>,
    /// By stage: when it started, and when its progress was last printed as plain text.
    reported: HashMap<String, (Instant, Instant)>,
    /// By stage: how fast it is.
    pace: HashMap<String, Pace>,
    /// Warnings about results, with their stages, that the closing text will repeat.
    closing: HashSet<(String, String)>,
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
        // Bars are removed from the screen while a line is written above them.
        self.bars.suspend(|| self.out.line(text));
    }

    fn progress(
        &self,
        inner: &mut Inner,
        stage: &str,
        done: u64,
        total: u64,
        unit: &str,
        note: &str,
    ) {
        let now = Instant::now();
        let (start, last) = *inner.reported.entry(stage.to_owned()).or_insert((now, now));
        let (ms, spent) = (now_ms(), now.duration_since(start).as_secs_f64());
        let pace = inner.pace.entry(stage.to_owned()).or_default();
        pace.count(ms, unit, done, total);
        let last_time = inner.expected.get(stage).copied();
        let left = if pace.is_over() {
            None
        } else {
            left(spent, pace.left(ms), last_time)
        };
        let left = left.map_or(String::new(), |l| {
            let how = if l.at_least { "at least" } else { "about" };
            format!(", {how} {} left", duration(l.seconds))
        });
        if self.look.bars {
            let bar = inner.bars.entry(stage.to_owned()).or_insert_with(|| {
                // Insert it above the bar of the whole run.
                let bar = self.bars.insert_from_back(1, ProgressBar::new(total));
                let template = "{prefix} {wide_bar} {human_pos}/{human_len} {msg}";
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style);
                }
                // Bars write to the terminal without going through `Out`, so escape the name here.
                bar.set_prefix(format!("{:<w$}", one_line(stage), w = inner.name_width));
                bar
            });
            bar.set_length(total);
            bar.set_position(done);
            let space = if unit.is_empty() || note.is_empty() {
                ""
            } else {
                " "
            };
            let message = format!("{unit}{space}{note} {}{left}", duration(spent));
            bar.set_message(one_line(&message).into_owned());
            self.whole(inner);
            return;
        }
        if now.duration_since(last) < PLAIN_EVERY {
            return;
        }
        inner.reported.insert(stage.to_owned(), (start, now));
        let mut text = format!(
            "{stage:<w$}  {} of {} {unit}",
            count(done),
            count(total),
            w = inner.name_width
        );
        if !note.is_empty() {
            text.push_str(&format!(", {note}"));
        }
        text.push_str(&left);
        self.line(&text);
    }

    /// Updates the whole run's bar with the time left, estimated from the time stages took last
    /// time.
    fn whole(&self, inner: &Inner) {
        let Some(whole) = &inner.whole else { return };
        let now = Instant::now();
        let left: f64 = inner
            .expected
            .iter()
            .map(|(stage, seconds)| {
                let started = inner.reported.get(stage).map(|(start, _)| *start);
                let spent = started.map_or(0.0, |s| now.duration_since(s).as_secs_f64());
                (seconds - spent).max(0.0)
            })
            .sum();
        whole.set_message(if left >= 1.0 {
            format!(", about {} left", duration(left))
        } else {
            String::new()
        });
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
        let ran = r.items.as_ref().map(|counts| {
            let counts = items(counts);
            format!("{:<name_width$}  ran {counts}", r.name)
        });
        let mut lines: Vec<String> = ran.into_iter().collect();
        lines.push(line.trim_end().to_owned());
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

/// Time that a stage still needs: by the speed of what it counts and, while that says little, by
/// the time it took last time.
fn left(spent: f64, measured: Option<Remaining>, expected: Option<f64>) -> Option<Remaining> {
    let about = |seconds: f64| Remaining {
        seconds: seconds.max(0.0),
        at_least: false,
    };
    match (measured, expected) {
        (measured, None) => measured,
        (None, Some(e)) => Some(about(e - spent)),
        // Last time's duration also covers the units whose speed is not known yet.
        (Some(m), Some(e)) if m.at_least && e - spent > m.seconds => Some(about(e - spent)),
        (Some(m), Some(_)) if m.at_least => Some(m),
        // The more is done, the more weight the measured speed gets.
        (Some(m), Some(e)) => {
            let share = (spent / (spent + m.seconds).max(f64::MIN_POSITIVE)).sqrt();
            Some(about(
                share * m.seconds + (1.0 - share) * (e - spent).max(0.0),
            ))
        }
    }
}

impl EventSink for HumanUi {
    fn emit(&self, event: &Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::RunStarted {
                stages, expected, ..
            } => {
                let widths = stages.iter().map(|s| s.chars().count());
                inner.name_width = widths.max().unwrap_or(0);
                inner.expected.clone_from(expected);
                if self.look.bars {
                    let bar = self.bars.add(ProgressBar::new(stages.len() as u64));
                    if let Ok(style) = ProgressStyle::with_template("{pos} of {len} stages{msg}") {
                        bar.set_style(style);
                    }
                    inner.whole = Some(bar);
                    self.whole(&inner);
                }
            }
            Event::StageStarted { stage, .. } => {
                let now = Instant::now();
                inner.reported.insert(stage.clone(), (now, now));
            }
            Event::Progress {
                stage,
                done,
                total,
                unit,
                note,
            } => self.progress(&mut inner, stage, *done, *total, unit, note),
            Event::Message { stage, text, .. }
                if inner.closing.contains(&(stage.clone(), text.clone())) => {}
            Event::Message { stage, level, text } => {
                let what = match level {
                    Level::Warn => format!("{} ", self.look.paint("33;1", "warning:")),
                    Level::Info => String::new(),
                };
                // Continuation lines are indented, so that none of them looks like a line of ours.
                let text = text.replace('\n', "\n    ");
                self.line(&format!("{stage:<w$}  {what}{text}", w = inner.name_width));
            }
            // The progress line and the operator's own messages already say it.
            Event::StageResumed { .. } | Event::StageRetried { .. } | Event::Metric { .. } => {}
            Event::StageFinished(record) => {
                let warnings = record.warnings.iter();
                let warnings = warnings.map(|w| (record.name.clone(), w.clone()));
                inner.closing.extend(warnings);
                if let Some(bar) = inner.bars.remove(&record.name) {
                    bar.finish_and_clear();
                    self.bars.remove(&bar);
                }
                inner.reported.remove(&record.name);
                inner.pace.remove(&record.name);
                inner.expected.remove(&record.name);
                if let Some(whole) = &inner.whole {
                    whole.inc(1);
                }
                self.whole(&inner);
                for line in self.stage_lines(record, inner.name_width) {
                    self.line(&line);
                }
            }
            Event::RunFinished { .. } => {
                let whole = inner.whole.take();
                for bar in inner.bars.drain().map(|(_, bar)| bar).chain(whole) {
                    bar.finish_and_clear();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Remaining, left};

    #[expect(
        clippy::unnecessary_wraps,
        reason = "it stands for what `left` gives and takes"
    )]
    fn about(seconds: f64) -> Option<Remaining> {
        Some(Remaining {
            seconds,
            at_least: false,
        })
    }

    #[test]
    fn what_is_left_is_known_from_last_time_until_this_time_says_it() {
        assert_eq!(left(5.0, None, None), None);
        assert_eq!(left(5.0, None, Some(60.0)), about(55.0));
        assert_eq!(left(90.0, None, Some(60.0)), about(0.0));
        assert_eq!(left(30.0, about(30.0), None), about(30.0));
        // Last time's duration covers the units whose speed is not known yet.
        let least = Some(Remaining {
            seconds: 10.0,
            at_least: true,
        });
        assert_eq!(left(30.0, least, None), least);
        assert_eq!(left(30.0, least, Some(60.0)), about(30.0));
        assert_eq!(left(55.0, least, Some(60.0)), least);
        // Half as fast as last time: between the two estimates, nearer to the measured one.
        let seen = left(60.0, about(60.0), Some(60.0)).map_or(0.0, |l| l.seconds);
        assert!((40.0..60.0).contains(&seen), "{seen}");
    }
}
