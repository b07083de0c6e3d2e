//! Programs as stages, through the real binary.
#![cfg(unix)]

use std::fs;
use std::process::Output;

use super::gfm_pipe;

#[test]
fn a_script_is_given_whatever_its_name_and_one_that_is_not_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().to_str().unwrap();
    let script = "echo '{\"a\": 1}' > outputs/x/data.jsonl\n";
    fs::write(dir.path().join("my script (1).sh"), script).unwrap();
    let run = |command: &str| -> Output {
        let pipeline = format!(
            "version: 1\nname: p\nstages:\n  s: {{op: exec, with: {{command: {command}, outputs: {{x: data}}}}}}\n"
        );
        fs::write(dir.path().join("p.yaml"), pipeline).unwrap();
        gfm_pipe(&["run", "p.yaml", "-C", base, "--allow-exec"])
    };
    let text = |out: &Output| {
        let (said, told) = (&out.stdout, &out.stderr);
        String::from_utf8_lossy(said).into_owned() + &String::from_utf8_lossy(told)
    };
    let given = run("[sh, \"my script (1).sh\"]");
    assert!(given.status.success(), "{}", text(&given));
    let forgotten = run("[sh, -c, \"sh './my script (1).sh'\"]");
    assert_eq!(forgotten.status.code(), Some(1));
    let text = text(&forgotten);
    let hint = "`my script (1).sh` is in the working directory";
    assert!(
        text.contains(hint) && text.contains("under `files`"),
        "{text}"
    );
    // When the script changes, the stage runs again.
    fs::write(dir.path().join("my script (1).sh"), format!("{script}\n")).unwrap();
    let again = run("[sh, \"my script (1).sh\"]");
    assert!(
        String::from_utf8_lossy(&again.stdout).contains("1 ran"),
        "{again:?}"
    );
}
