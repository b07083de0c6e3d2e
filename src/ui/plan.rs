//! A plan for people.

use std::collections::BTreeMap;

use gfm_pipe_api::Estimate;

use super::human::Look;
use super::text::{duration, reasons, rows};
use crate::plan::{Reason, StagePlan, Verdict, expected};
use crate::store::MadeOn;

/// What a stage takes on a GPU.
fn foreseen(e: &Estimate) -> String {
    let memory = bytesize::ByteSize(e.memory).display().iec();
    format!("{memory} on the GPU, about {}", duration(e.seconds))
}

/// One line a stage, as `run` prints them, and a closing count.
pub fn plan_text(
    plan: &[StagePlan],
    earlier: &BTreeMap<String, f64>,
    look: Look,
    device: &str,
) -> String {
    let width = plan.iter().map(|p| p.name.chars().count()).max();
    let width = width.unwrap_or(0);
    let join = |all: &[Reason]| {
        let texts: Vec<String> = all.iter().map(Reason::to_string).collect();
        reasons(&texts)
    };
    let mut out = String::new();
    let (mut run, mut depends, mut cached, mut remote) = (0, 0, 0, 0);
    for p in plan {
        let (word, colour, why) = match &p.verdict {
            Verdict::Cached(manifest) | Verdict::Remote(manifest) => {
                let (word, count) = match &p.verdict {
                    Verdict::Remote(_) => ("remote", &mut remote),
                    _ => ("cached", &mut cached),
                };
                *count += 1;
                let here = MadeOn::here(device, p.on_gpu);
                let note = manifest.made_on.differs_from(&here);
                let note = note.map(|n| format!("({n})")).unwrap_or_default();
                let rows = rows(manifest.rows());
                (word, "36", format!("{rows} {note}"))
            }
            Verdict::Run(reasons) => {
                run += 1;
                ("run", "32", join(reasons))
            }
            Verdict::Depends(reasons) => {
                depends += 1;
                ("depends", "33", join(reasons))
            }
            Verdict::NotStored => ("missing", "31", "left out, but not in the store".to_owned()),
            Verdict::NotSelected => ("skipped", "2", "not selected".to_owned()),
        };
        let why = match &p.estimate {
            Some(estimate) => format!("{why}; {}", foreseen(estimate)),
            None => why,
        };
        let line = format!(
            "{:<width$}  {:8}  {}  {why}",
            p.name,
            p.key.as_ref().map_or("", |k| k.short()),
            look.paint(colour, &format!("{word:7}")),
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    let mut closing = format!("{run} to run, {cached} cached");
    if remote > 0 {
        closing.push_str(&format!(", {remote} in the remote"));
    }
    if depends > 0 {
        closing.push_str(&format!(
            ", {depends} depending on what runs (an unchanged output stops the rerun there)"
        ));
    }
    let estimates = || plan.iter().filter_map(|p| p.estimate.as_ref());
    if let Some(first) = estimates().next() {
        let most = estimates().map(|e| e.memory).max().unwrap_or(0);
        let all: f64 = estimates().map(|e| e.seconds).sum();
        closing.push_str(&format!(
            "; on the GPU {} at most, and about {} by the data sheet of an {}",
            bytesize::ByteSize(most).display().iec(),
            duration(all),
            first.device
        ));
    }
    let seconds: f64 = expected(plan, earlier).values().sum();
    if seconds >= 1.0 {
        closing.push_str(&format!("; took {} last time", duration(seconds)));
    }
    out.push_str(&closing);
    out.push('\n');
    out
}
