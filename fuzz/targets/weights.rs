//! A file with weights, of safetensors or PyTorch: it is read or refused.
#![no_main]

use gfm_pipe_fuzz::with_file;
use gfm_pipe_weights::{read_archive, read_safetensors};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        Some((0, rest)) => with_file("model.safetensors", rest, |path| {
            let _ = read_safetensors(path);
        }),
        Some((_, rest)) => with_file("model.pth", rest, |path| {
            let _ = read_archive(path, Some("model"));
        }),
        None => {}
    }
});
