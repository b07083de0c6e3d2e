//! A plan for people.

use std::collections::BTreeMap;

use gfm_pipe_api::{Estimate, RequestCount};

use super::human::Look;
use super::text::{duration, number, reasons, rows};
use crate::plan::{Reason, StagePlan, Verdict, expected};
use crate::store::MadeOn;

/// The estimated memory and time of a stage.
fn foreseen(e: &Estimate) -> String {
    let memory = bytesize::ByteSize(e.memory).display().iec();
    let seconds = duration(e.seconds);
    match e.device.as_str() {
        "cpu" => format!("estimate: {memory}, about {seconds}"),
        _ => format!("{memory} on the GPU, about {seconds}"),
    }
}

/// The requests to a language model that are left.
fn asked(r: &RequestCount) -> String {
    match r.left {
        0 => format!(
            "all {} of the language model are stored",
            number(r.stored, "answer")
        ),
        n => format!(
            "{} of {} to the language model left, about {} of prompts",
            n,
            number(n + r.stored, "request"),
            number(r.tokens, "token")
        ),
    }
}

/// One line per stage, in the format of `run`, and a closing count.
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
        let why = match &p.requests {
            Some(requests) => format!("{why}; {}", asked(requests)),
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
        let (most, all) = (bytesize::ByteSize(most).display().iec(), duration(all));
        closing.push_str(&match first.device.as_str() {
            "cpu" => format!(
                "; training takes {most} at most, and about {all} as this machine was timed just now"
            ),
            gpu => format!("; on the GPU {most} at most, and about {all} by the data sheet of an {gpu}"),
        });
    }
    let seconds: f64 = expected(plan, earlier).values().sum();
    if seconds >= 1.0 {
        closing.push_str(&format!("; took {} last time", duration(seconds)));
    }
    out.push_str(&closing);
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, estimate: Option<Estimate>) -> StagePlan {
        StagePlan {
            name: name.to_owned(),
            op: name.to_owned(),
            key: None,
            on_gpu: true,
            estimate,
            requests: None,
            verdict: Verdict::Run(vec![Reason::NeverRan]),
        }
    }

    #[test]
    fn an_estimate_says_what_it_is_based_on() {
        let on = |device: &str| {
            let of = |seconds| Estimate {
                memory: 3 << 20,
                seconds,
                device: device.to_owned(),
            };
            let plan = [
                stage("kg", None),
                stage("pretrain", Some(of(20.0))),
                stage("finetune", Some(of(70.0))),
            ];
            let earlier = BTreeMap::from([("kg".to_owned(), 2.0)]);
            plan_text(&plan, &earlier, Look::default(), device)
        };
        assert_eq!(
            on("cpu"),
            "kg                  run      never ran\n\
             pretrain            run      never ran; estimate: 3.0 MiB, about 20.00 s\n\
             finetune            run      never ran; estimate: 3.0 MiB, about 70.00 s\n\
             3 to run, 0 cached; training takes 3.0 MiB at most, and about 90.00 s as this machine was timed just now; \
             took 2.00 s last time\n"
        );
        let gpu = on("H100");
        assert!(
            gpu.contains("never ran; 3.0 MiB on the GPU, about 20.00 s\n"),
            "{gpu}"
        );
        assert!(
            gpu.contains("about 90.00 s by the data sheet of an H100"),
            "{gpu}"
        );
    }
}
