//! A run watched from outside, as lines: stages, curves, warnings. Nothing here reads a file, a
//! clock or a terminal.

use console::{measure_text_width, truncate_str};
use gfm_pipe_api::printable::one_line;

use super::human::Look;
use super::plot::{curve, range, short};
use super::text::{count, duration, number, rows};
use crate::record::{Life, Phase, RunState, RunStatus, Series, StageState, StageStatus};

/// Maximum width of stage names, in columns.
const NAME_WIDTH: usize = 24;

/// Height of the loss curve, in lines.
const CURVE_ROWS: usize = 5;

/// Maximum width of curves, in columns.
const CURVE_WIDTH: usize = 72;

/// Maximum number of one-line curves per stage.
const SPARKLINES: usize = 5;

/// Maximum number of warnings shown.
const WARNINGS: usize = 4;

/// Metrics shown as numbers instead of curves, with their format.
const NUMBERS: [(&str, &str, &str); 4] = [
    ("lr", "lr ", ""),
    ("grad_norm", "grad_norm ", ""),
    ("samples_per_second", "", " samples/s"),
    ("step_seconds", "", " s/step"),
];

/// What to draw, and the screen to draw it for.
pub struct Watched<'a> {
    /// The state of the run.
    pub state: &'a RunState,
    /// Whether it is still going on.
    pub life: Life,
    /// The time now: milliseconds since 1970, UTC.
    pub now_ms: u64,
    /// Width of the screen in columns; no line is longer.
    pub width: usize,
    /// Height of the screen in lines; `None` for no limit.
    pub height: Option<usize>,
    /// Whether to use colours.
    pub look: Look,
}

/// The run as lines, none of them wider than the screen.
pub fn watched(w: &Watched<'_>) -> Vec<String> {
    let mut lines = vec![w.head(), String::new()];
    let warnings = w.warnings();
    // A small screen shows less: warnings and a few stages come first, then curves.
    let room = w
        .height
        .map(|h| h.saturating_sub(lines.len() + warnings.len()));
    let stages = w.stages(room.map(|r| if r > 24 { r / 2 } else { r.min(5).max(r / 3) }));
    let room = room.map(|r| r.saturating_sub(stages.len()));
    let curves = w.curves(room);
    lines.extend(stages);
    lines.extend(curves);
    lines.extend(warnings);
    if let Some(height) = w.height {
        lines.truncate(height);
    }
    lines
        .iter()
        .map(|l| truncate_str(l, w.width, "…").trim_end().to_owned())
        .collect()
}

impl Watched<'_> {
    fn head(&self) -> String {
        let s = self.state;
        let ended = |phase: Phase| matches!(phase, Phase::Ended(_));
        let done = s.stages.iter().filter(|s| ended(s.phase)).count();
        let last = match (s.ended, self.life) {
            (Some((_, at)), _) => at,
            (None, Life::GoesOn) => self.now_ms,
            (None, _) => s.last_ms,
        };
        let took = s.started_ms.map_or(0.0, |from| seconds(from, last));
        let status = match (self.life, s.ended) {
            (Life::Ended(status), _) | (_, Some((status, _))) => {
                let (word, colour) = match status {
                    RunStatus::Ok => ("ok", "32"),
                    RunStatus::Failed => ("failed", "31;1"),
                    RunStatus::Interrupted => ("interrupted", "33"),
                    RunStatus::Running => ("running", "34;1"),
                };
                format!("{} after {}", self.look.paint(colour, word), duration(took))
            }
            (Life::GoesOn, None) => {
                format!("{} for {}", self.look.paint("34;1", "running"), whole(took))
            }
            (Life::Killed(silent), None) => format!(
                "{}: no sign of life for {}",
                self.look.paint("31;1", "killed"),
                whole(silent.as_secs_f64())
            ),
            (Life::Unknown, None) => "killed or going on".to_owned(),
        };
        let all = s.stages.len();
        let name = plain(&s.pipeline);
        format!(
            "{name} {}  {status}, {done} of {}",
            s.run,
            number(all as u64, "stage")
        )
    }

    /// One line per stage. If there are too many, those that are running, have failed or ended
    /// last, and the number of the others.
    fn stages(&self, room: Option<usize>) -> Vec<String> {
        let all = &self.state.stages;
        let names = all.iter().map(|s| measure_text_width(&plain(&s.name)));
        let width = names.max().unwrap_or(0).min(NAME_WIDTH);
        let shown: Vec<usize> = match room {
            Some(room) if all.len() > room => {
                let mut order: Vec<usize> = (0..all.len()).collect();
                order.sort_by_key(|i| {
                    let s = &all[*i];
                    let first = match s.phase {
                        Phase::Running => 0,
                        Phase::Ended(StageStatus::Failed) => 1,
                        Phase::Ended(StageStatus::Ran) => 2,
                        Phase::Waiting => 3,
                        Phase::Ended(StageStatus::Cached | StageStatus::Skipped) => 4,
                    };
                    (first, std::cmp::Reverse(s.ended_ms))
                });
                order.truncate(room.saturating_sub(1));
                order.sort_unstable();
                order
            }
            _ => (0..all.len()).collect(),
        };
        let mut lines: Vec<String> = shown.iter().map(|i| self.stage(&all[*i], width)).collect();
        if shown.len() < all.len() {
            let hidden = all.iter().enumerate().filter(|(i, _)| !shown.contains(i));
            let mut words: Vec<(&str, u64)> = Vec::new();
            for (_, s) in hidden {
                let word = self.word(s).0;
                match words.iter_mut().find(|(w, _)| *w == word) {
                    Some((_, n)) => *n += 1,
                    None => words.push((word, 1)),
                }
            }
            let words: Vec<String> = words
                .iter()
                .map(|(w, n)| format!("{} {w}", count(*n)))
                .collect();
            lines.push(format!("and {}", words.join(", ")));
        }
        lines
    }

    fn word(&self, s: &StageState) -> (&'static str, &'static str) {
        let alive = self.life == Life::GoesOn || self.life == Life::Unknown;
        match s.phase {
            Phase::Waiting if alive => ("waiting", "2"),
            Phase::Waiting => ("not run", "2"),
            Phase::Running if alive => ("running", "34;1"),
            Phase::Running => ("killed", "31;1"),
            Phase::Ended(StageStatus::Ran) => ("ran", "32"),
            Phase::Ended(StageStatus::Cached) => ("cached", "36"),
            Phase::Ended(StageStatus::Failed) => ("failed", "31;1"),
            Phase::Ended(StageStatus::Skipped) => ("skipped", "33"),
        }
    }

    fn stage(&self, s: &StageState, width: usize) -> String {
        let (word, colour) = self.word(s);
        let now = if word == "killed" {
            self.state.last_ms
        } else {
            self.now_ms
        };
        let time = s.seconds(now).map_or(String::new(), duration);
        // The most important comes first, because a narrow terminal cuts off the rest.
        let mut detail = Vec::new();
        let progress = s.progress.as_ref().filter(|_| s.phase == Phase::Running);
        if let Some(p) = progress {
            let counted = format!("{}/{} {}", count(p.done), count(p.total), plain(&p.unit));
            let columns = if self.width < 100 { 8 } else { 16 };
            let bar = bar(p.done, p.total, columns);
            detail.push(format!("{bar} {}", counted.trim_end()));
        }
        let left = s.left(now).filter(|_| word == "running");
        detail.extend(left.map(|l| {
            let how = if l.at_least { "at least" } else { "about" };
            format!("{how} {} left", whole(l.seconds))
        }));
        match &s.record {
            Some(r) if r.status == StageStatus::Skipped => {
                detail.push(plain(&r.reasons.join(", ")))
            }
            Some(r) if r.status == StageStatus::Failed => {
                detail.extend(r.error.as_deref().map(plain));
            }
            Some(r) => detail.push(rows(r.rows)),
            None => {}
        }
        detail.extend(
            s.resumed_at
                .map(|step| format!("continued at step {}", count(step))),
        );
        if s.retries > 0 {
            detail.push(format!("retry {}", s.retries));
        }
        detail.extend(progress.map(|p| plain(&p.note)).filter(|n| !n.is_empty()));
        let name = plain(&s.name);
        let name = truncate_str(&name, width, "…");
        let fill = " ".repeat(width - measure_text_width(&name));
        format!(
            "{name}{fill}  {}  {time:>10}  {}",
            self.look.paint(colour, &format!("{word:7}")),
            detail.join("  ")
        )
    }

    /// The curves of stages with metrics, in the order written. If there is not enough room, those
    /// of running stages have priority.
    fn curves(&self, room: Option<usize>) -> Vec<String> {
        let mut blocks: Vec<(usize, Vec<String>)> = Vec::new();
        let mut order: Vec<usize> = (0..self.state.stages.len()).collect();
        order.sort_by_key(|i| {
            let s = &self.state.stages[*i];
            (s.phase != Phase::Running, std::cmp::Reverse(s.started_ms))
        });
        let mut room = room.unwrap_or(usize::MAX);
        for i in order {
            let block = self.block(&self.state.stages[i].name);
            if block.is_empty() || block.len() > room {
                continue;
            }
            room -= block.len();
            blocks.push((i, block));
        }
        blocks.sort_by_key(|(i, _)| *i);
        blocks.into_iter().flat_map(|(_, lines)| lines).collect()
    }

    fn block(&self, stage: &str) -> Vec<String> {
        let all: Vec<&Series> = self
            .state
            .metrics
            .series()
            .filter(|s| s.stage == stage)
            .collect();
        let main = all.iter().find(|s| s.metric == "loss");
        let curved = |s: &&&Series| {
            let number = NUMBERS.iter().any(|(name, ..)| *name == s.metric);
            !number && !s.metric.starts_with("mean_loss")
        };
        let main = main.or_else(|| all.iter().find(curved));
        let Some((main, last)) = main.and_then(|s| Some((s, s.points.last()?))) else {
            return Vec::new();
        };
        let mut head = format!(
            "{}  {} {} at step {}",
            plain(stage),
            plain(&main.metric),
            short(last.value),
            count(last.step)
        );
        if last.epoch > 0 {
            head.push_str(&format!(", epoch {}", last.epoch));
        }
        for (name, before, after) in NUMBERS {
            let of_name = all.iter().find(|s| s.metric == name);
            if let Some(p) = of_name.and_then(|s| s.points.last()) {
                head.push_str(&format!("  {before}{}{after}", short(p.value)));
            }
        }
        let mut lines = vec![String::new(), head];
        let values: Vec<f64> = main.points.iter().map(|p| p.value).collect();
        let (low, high) = range(&values);
        let (low, high) = (short(low), short(high));
        let label = low.len().max(high.len());
        let columns = self.width.saturating_sub(label + 5).min(CURVE_WIDTH);
        for (row, line) in curve(&values, columns, CURVE_ROWS).into_iter().enumerate() {
            let text = match row {
                0 => high.as_str(),
                r if r + 1 == CURVE_ROWS => low.as_str(),
                _ => "",
            };
            lines.push(format!(
                "  {text:>label$} │{}",
                self.look.paint("36", &line)
            ));
        }
        // Validation scores first; means over data sets before single data sets; then `mrr`, by
        // which epochs are mostly chosen, before other metrics.
        let mut others: Vec<&&Series> = all.iter().filter(curved).collect();
        others.retain(|s| s.metric != main.metric);
        others.sort_by_key(|s| {
            (
                !s.metric.starts_with("valid:"),
                s.metric.matches(':').count(),
                !s.metric.contains("mrr"),
            )
        });
        others.truncate(SPARKLINES);
        let names = others.iter().map(|s| measure_text_width(&plain(&s.metric)));
        let width = names.max().unwrap_or(0).min(NAME_WIDTH + 8);
        for s in others {
            let values: Vec<f64> = s.points.iter().map(|p| p.value).collect();
            let (low, high) = range(&values);
            let name = plain(&s.metric);
            let name = truncate_str(&name, width, "…");
            let fill = " ".repeat(width - measure_text_width(&name));
            let last = values.last().map_or(String::new(), |v| short(*v));
            let ends = format!("{} to {}", short(low), short(high));
            let columns = self.width.saturating_sub(width + ends.len() + 16);
            let line = curve(&values, columns.clamp(8, CURVE_WIDTH), 1).join("");
            let line = self.look.paint("36", &line);
            lines.push(format!("  {name}{fill}  {last:>8}  {line}  {ends}"));
        }
        lines
    }

    fn warnings(&self) -> Vec<String> {
        let all = &self.state.warnings;
        let shown = all.iter().skip(all.len().saturating_sub(WARNINGS));
        let head = self.look.paint("33;1", "warning:");
        let lines = shown.map(|(stage, text)| format!("{head} {}: {}", plain(stage), plain(text)));
        let mut out: Vec<String> = lines.collect();
        if !out.is_empty() {
            out.insert(0, String::new());
        }
        out
    }
}

/// A time that is only an estimate, without decimals: `42 s`, `3 min 07 s`.
fn whole(seconds: f64) -> String {
    if seconds < 99.5 {
        format!("{seconds:.0} s")
    } else {
        duration(seconds)
    }
}

/// A bar that shows how much is done.
fn bar(done: u64, total: u64, columns: u64) -> String {
    let full = match total {
        0 => 0,
        _ => u64::try_from(u128::from(done.min(total)) * u128::from(columns) / u128::from(total))
            .unwrap_or(columns),
    };
    let part = |text: &str, n: u64| text.repeat(usize::try_from(n).unwrap_or(0));
    format!("{}{}", part("█", full), part("░", columns - full))
}

/// The first line of a text, escaped. This is not left to the output, because the width counts.
fn plain(text: &str) -> String {
    one_line(text.lines().next().unwrap_or_default()).into_owned()
}

#[expect(clippy::cast_precision_loss)]
fn seconds(from_ms: u64, to_ms: u64) -> f64 {
    to_ms.saturating_sub(from_ms) as f64 / 1000.0
}
