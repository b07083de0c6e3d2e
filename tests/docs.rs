//! The generated pages of docs/ are what the operators say now. `UPDATE_GOLDEN=1 cargo test --test docs` writes them.

#![cfg(all(feature = "gfm", feature = "static-encoder"))]
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::fs;
use std::path::Path;

use gfm_pipe::cli::reference;
use gfm_pipe::registry::builtin;

#[test]
fn generated_pages_are_up_to_date() {
    let ops = builtin();
    for (page, text) in [
        ("configuration.md", reference::configuration(&ops)),
        ("artifacts.md", reference::artifacts(&ops)),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("docs")
            .join(page);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, text).unwrap();
            continue;
        }
        let written = fs::read_to_string(&path)
            .unwrap_or_default()
            .replace("\r\n", "\n");
        assert!(
            written == text,
            "docs/{page} is stale: UPDATE_GOLDEN=1 cargo test --test docs"
        );
    }
}
