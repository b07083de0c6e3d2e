//! Any text gives a well-formed result, which depends on nothing but the text.
#![cfg(feature = "builtin")]
#![allow(clippy::unwrap_used)]

use gfm_pipe_english::{Doc, English, facts};
use proptest::prelude::*;

/// Fails unless a result is well-formed.
fn check(text: &str, doc: &Doc) {
    let n = doc.tokens.len();
    let mut at = 0;
    for (i, token) in doc.tokens.iter().enumerate() {
        // Nothing but single spaces lies between tokens.
        assert!(matches!(&text[at..token.bytes.start], "" | " "));
        assert!(!text[token.bytes.clone()].is_empty());
        at = token.bytes.end;
        assert!(token.head < n);
        assert!(!doc.tag(i).is_empty() && !doc.label(i).is_empty());
        assert!(!doc.label(i).contains('|'), "{}", doc.label(i));
    }
    assert!(matches!(&text[at..], "" | " "));
    let mut next = 0;
    for sentence in &doc.sentences {
        assert!(sentence.start == next && sentence.end > next);
        next = sentence.end;
    }
    assert_eq!(next, n);
    let mut free = 0;
    for entity in &doc.entities {
        assert!(entity.tokens.start >= free && entity.tokens.end > entity.tokens.start);
        assert!(!doc.kind(entity).is_empty());
        free = entity.tokens.end;
    }
    assert!(free <= n);
    for fact in facts::facts(text, doc, Some("The Glass Harbour (film)")) {
        assert!(fact.sentence < doc.sentences.len() && !fact.relation.text.is_empty());
        for bytes in [fact.subject.bytes, fact.relation.bytes, fact.object.bytes] {
            assert!(text.get(bytes).is_some());
        }
    }
}

/// Texts of the kinds that find faults: any characters, and marks, words and spaces run together.
fn texts() -> impl Strategy<Value = String> {
    let nasty = prop::sample::select(vec![
        "can't", "U.S.", "a.m.", "e.g.", "(", ")", "[", "...", "..", "…", "'s", "’s", "--", "US$",
        "10km", "3.5%", "http://", "@", "a.b", ".com", "8.8.8.8", ":80", "/", "°C.", "A.B.", "été",
        "ǅ", "İ", "Σ", "北京", "😀", "\u{200d}", "\u{feff}", "\0", "\u{1c}", "\u{85}", "\u{a0}",
        "\u{3000}", " ", "  ", "\n", "\t", "x", "the", "Who", "was", "born", "in", "Paris", ".",
        ",",
    ]);
    prop_oneof![
        any::<String>(),
        prop::collection::vec(any::<char>(), 0..40).prop_map(String::from_iter),
        prop::collection::vec(nasty, 0..60).prop_map(|parts| parts.concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_text_makes_it_fail(text in texts()) {
        check(&text, &English::new().unwrap().parse(&text));
    }

    #[test]
    fn neither_neighbours_nor_threads_change_a_result(
        texts in prop::collection::vec(texts(), 1..8), threads in 1usize..4,
    ) {
        let english = English::new().unwrap();
        let alone: Vec<Doc> = texts.iter().map(|text| english.parse(text)).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        prop_assert!(alone == pool.install(|| english.parse_all(&texts)));
    }
}

#[test]
fn what_was_seen_before_changes_nothing() {
    let texts = [
        "Ada Brandt was born in Lübeck.",
        "She didn't stay there.",
        "(10 km)",
    ];
    let load = || {
        let folder =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/models/english");
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        English::from_parts(&read("english_f16.safetensors"), &read("english.json")).unwrap()
    };
    let used = load();
    for text in texts.iter().chain(texts.iter().rev()) {
        assert!(used.parse(text) == load().parse(text));
    }
}

#[test]
fn long_texts_need_time_in_proportion() {
    const MEGABYTE: usize = 1 << 20;
    let english = English::new().unwrap();
    // A megabyte that is one token or a few: a search that starts again at each character would
    // take hours.
    for unit in [
        "a", ".", "-", " ", "\n", "@", "a@", "a.", "é", "a:/", "1.", "ab-",
    ] {
        let text = unit.repeat(MEGABYTE / unit.len());
        if matches!(unit, "ab-") {
            // Cut at each mark: many tokens, so fewer bytes.
            let text = &text[..MEGABYTE / 64];
            check(text, &english.parse(text));
            continue;
        }
        check(&text, &english.parse(&text));
    }
    // Tens of thousands of tokens without a space, without a full stop, and of one sentence.
    for unit in ["(", "'", "a ", "x, ", "the ", "who said that "] {
        let text = unit.repeat(10_000 / unit.split_whitespace().count());
        check(&text, &english.parse(&text));
    }
}

#[test]
fn an_empty_text_has_nothing() {
    let doc = English::new().unwrap().parse("");
    assert!(doc.tokens.is_empty() && doc.sentences.is_empty() && doc.entities.is_empty());
    assert!(English::new().unwrap().parse_all::<&str>(&[]).is_empty());
}

#[test]
fn damaged_files_are_refused() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/models/english");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let (weights, tables) = (read("english_f16.safetensors"), read("english.json"));
    let message = |weights: &[u8], tables: &[u8]| match English::from_parts(weights, tables) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    };
    let text = String::from_utf8(tables.clone()).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        message(&weights, text.replacen(from, to, 1).as_bytes())
    };
    assert!(message(&weights[..9], &tables).starts_with("the weights: "));
    assert!(message(&weights, b"{").starts_with("english.json: "));
    assert!(changed("\"format\":1", "\"format\":7").contains("format 7 is not known"));
    assert!(changed("\"rows\":5000", "\"rows\":4999").contains("expected [4999, 96]"));
    assert!(changed("\"rows\":5000", "\"rows\":0").contains("has 0 rows"));
    assert!(changed("\"PREFIX\"", "\"SUFFIX\"").contains("the attributes of tok2vec"));
    assert!(changed("\"space\":", "\"spice\":").contains("the class space is missing"));
    assert!(changed("[\"D\",\"\"]", "[\"S\",\"\"]").contains("the parser's moves"));
    assert!(changed("[\"can\",null]", "[\"cam\",null]").contains("special case"));
}
