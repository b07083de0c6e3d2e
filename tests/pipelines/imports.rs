//! `import-config` through the real binary: exit codes, and what is written.

use std::process::Output;

use super::gfm_pipe;

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn a_configuration_that_is_not_understood_makes_no_pipeline() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.yaml");
    let to = file.to_str().unwrap();
    let custom = "tests/import/custom.yaml";
    let refused = gfm_pipe(&["import-config", custom, "-o", to]);
    assert_eq!(refused.status.code(), Some(2));
    let text = said(&refused);
    for want in [
        "\n  tests/import/custom.yaml:34:3: `optimizer.momentum` is not known (0.9)\n",
        "\n  tests/import/custom.yaml:32:3: `optimizer._target_` must be corrected",
        "hint: ",
        "--lenient",
    ] {
        assert!(text.contains(want), "{want}: {text}");
    }
    assert!(refused.stdout.is_empty() && !file.exists());

    let lenient = gfm_pipe(&["import-config", custom, "-o", to, "--lenient"]);
    assert_eq!(lenient.status.code(), Some(0), "{}", said(&lenient));
    let text = said(&lenient);
    assert!(
        text.contains("not known, left out: optimizer.momentum: 0.9"),
        "{text}"
    );
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .contains("op: finetune")
    );

    let guide = gfm_pipe(&["import-config", "tests/import/guide_finetune.yaml"]);
    assert_eq!(guide.status.code(), Some(0), "{}", said(&guide));
    let second = gfm_pipe(&["import-config", "tests/import/version_2/sft_training.yaml"]);
    assert_eq!(second.status.code(), Some(0), "{}", said(&second));
    let answering = "tests/import/version_2/qa_inference.yaml";
    for more in [&[][..], &["--lenient"]] {
        let out = gfm_pipe(&[&["import-config", answering], more].concat());
        assert_eq!(out.status.code(), Some(2));
        let text = said(&out);
        assert!(
            text.contains("qa_inference.yaml:10:3: this is a configuration of GFM-RAG 2.0"),
            "{text}"
        );
        assert!(out.stdout.is_empty());
    }
}
