//! A pipeline file: it is loaded or refused with a report, and never ends the program.
#![no_main]

use std::path::Path;

use gfm_pipe::spec::{LoadOptions, load};
use gfm_pipe_fuzz::with_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    with_file("p.yaml", bytes, |path| {
        let options = LoadOptions {
            base: path.parent().map(Path::to_owned).unwrap_or_default(),
            ..LoadOptions::default()
        };
        if let Err(e) = load(path, &options, &gfm_pipe::registry::builtin()) {
            assert!(e.to_string().contains("error: "));
        }
    });
});
