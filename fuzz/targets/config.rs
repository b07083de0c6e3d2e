//! A configuration of GFM-RAG: it becomes a pipeline or is refused.
#![no_main]

use gfm_pipe_fuzz::with_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    with_file("config.yaml", bytes, |path| {
        let ops = gfm_pipe::registry::builtin();
        for lenient in [false, true] {
            if let Err(e) = gfm_pipe::import::import(path, &[], lenient, &ops) {
                assert!(!e.to_string().is_empty());
            }
        }
    });
});
