//! What a language model wrote: an object is found in it or not, and cut at any place it loses only
//! what was not complete.
#![no_main]

use gfm_pipe_llm::json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Some(found) = json::object(text) else {
        return;
    };
    assert!(found.value.is_object());
    // Written well, it is read as it is.
    let again = json::object(&found.value.to_string()).expect("an object");
    assert!(!again.cut && again.value == found.value);
});
