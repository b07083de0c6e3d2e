//! Any text is parsed: tokens lie in the text, one after the other, and facts are made of them.
#![no_main]

use std::sync::LazyLock;

use gfm_pipe_english::{English, facts};
use libfuzzer_sys::fuzz_target;

static ENGLISH: LazyLock<English> = LazyLock::new(|| English::new().expect("built in"));

fuzz_target!(|text: &str| {
    let doc = ENGLISH.parse(text);
    let mut at = 0;
    for token in &doc.tokens {
        assert!(token.bytes.start >= at && token.head < doc.tokens.len());
        assert!(!text[token.bytes.clone()].is_empty());
        at = token.bytes.end;
    }
    for fact in facts::facts(text, &doc, Some("The Glass Harbour")) {
        for bytes in [fact.subject.bytes, fact.relation.bytes, fact.object.bytes] {
            assert!(text.get(bytes).is_some());
        }
    }
});
