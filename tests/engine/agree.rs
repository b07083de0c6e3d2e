//! A plan predicts what the run then does.

use gfm_pipe::plan::{Reason, Verdict};
use gfm_pipe::record::{RunStatus, StageStatus};
use proptest::prelude::*;

use crate::lab::Lab;

/// What can be edited in the pipeline and its files.
#[derive(Debug, Clone)]
struct State {
    a: u8,
    b: u8,
    upper: bool,
    prefix: u8,
    scale: u8,
    swapped: bool,
}

impl State {
    fn yaml(&self) -> String {
        let order = if self.swapped { "b, a" } else { "a, b" };
        format!(
            "
stages:
  a: {{op: source, with: {{path: a.txt, upper: {}}}}}
  b: {{op: source, with: {{path: b.txt}}}}
  both: {{op: concat, in: {{text: [{order}]}}, with: {{prefix: '{}'}}}}
  n: {{op: count, in: {{text: both}}}}
  big: {{op: count, in: {{text: n}}, with: {{scale: {}}}}}
",
            self.upper,
            self.prefix,
            self.scale + 1
        )
    }

    fn files(&self, lab: &Lab) {
        lab.write("a.txt", &"x\n".repeat(usize::from(self.a)));
        // Digits are the same in upper case, so some edits do not change outputs.
        lab.write("b.txt", &format!("{}\n", self.b));
    }
}

fn state() -> impl Strategy<Value = State> {
    (0..3u8, 0..3u8, any::<bool>(), 0..2u8, 0..2u8, any::<bool>()).prop_map(
        |(a, b, upper, prefix, scale, swapped)| State {
            a,
            b,
            upper,
            prefix,
            scale,
            swapped,
        },
    )
}

fn text(reasons: &[Reason]) -> Vec<String> {
    reasons.iter().map(Reason::to_string).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn plan_and_run_agree(states in prop::collection::vec(state(), 1..7)) {
        let lab = Lab::new();
        for state in states {
            state.files(&lab);
            let yaml = state.yaml();
            let plan = lab.plan(&yaml).unwrap().plan;
            let summary = lab.run(&yaml);
            prop_assert_eq!(summary.status, RunStatus::Ok);
            let expected = lab.plan(&yaml).unwrap().plan;
            for ((before, record), after) in plan.iter().zip(&summary.stages).zip(&expected) {
                match &before.verdict {
                    Verdict::Cached(_) => {
                        prop_assert_eq!(record.status, StageStatus::Cached);
                        prop_assert_eq!(&before.key, &record.key);
                    }
                    Verdict::Run(reasons) => {
                        prop_assert_eq!(record.status, StageStatus::Ran);
                        prop_assert_eq!(&text(reasons), &record.reasons);
                        prop_assert_eq!(&before.key, &record.key);
                    }
                    Verdict::Depends(reasons) => {
                        // Reasons that are already certain are among those that the run then gives.
                        for r in reasons {
                            let waits = matches!(r, Reason::InputRuns { .. });
                            let said = record.reasons.contains(&r.to_string());
                            prop_assert!(waits || said || record.status == StageStatus::Cached);
                        }
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
                // After the run, everything is cached under the key that the run used.
                prop_assert!(matches!(after.verdict, Verdict::Cached(_)));
                prop_assert_eq!(&after.key, &record.key);
            }
        }
    }
}
