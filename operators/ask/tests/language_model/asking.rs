//! Answers of a retriever with a language model.

use std::sync::Arc;

use gfm_pipe_api::OpEntry;
use gfm_pipe_api::answer::{About, Answer, Answers, Ask};
use gfm_pipe_ask::Retriever;
use gfm_pipe_testing::{Act, ModelServer};
use serde_json::{Value, json};

use crate::common::{answer, family, folder, open};
use crate::{first, llm, model, prompt, question, shown};

const BORN: &str = "Where was Fern Birch born?";

fn with(llm: Value) -> Arc<dyn Answers> {
    open(&family().0, json!({"llm": llm})).unwrap()
}

fn in_words(question: &str) -> Ask {
    Ask {
        answer: true,
        ..Ask::new(question)
    }
}

#[test]
fn an_answer_cites_documents_by_number() {
    let server = model(|_| {
        json!({"reasoning": "She\nwas.", "answer": "Ashbeck", "cited": [2, 1, 77]}).to_string()
    });
    let by = with(llm(&server));
    assert_eq!(by.about().model.as_deref(), Some("tester"));
    // Nobody is asked who need not be.
    let plain = answer(&*by, Ask::new(BORN)).unwrap();
    assert!(plain.answer.is_none() && server.asked().is_empty());

    let got = answer(
        &*by,
        Ask {
            k: 3,
            ..in_words(BORN)
        },
    )
    .unwrap();
    let cited = got.answer.unwrap();
    assert_eq!(
        (&cited.text[..], &cited.reasoning[..]),
        ("Ashbeck", "She was.")
    );
    let ids: Vec<u32> = got.documents.iter().map(|d| d.id).collect();
    assert_eq!(cited.documents, [ids[1], ids[0]]);
    assert_eq!(
        cited.titles,
        [&got.documents[1].title[..], &got.documents[0].title]
    );
    assert_eq!(cited.model, "tester");
    let asked = server.asked();
    assert_eq!(question(&asked[0]), BORN);
    let titles: Vec<&str> = got.documents.iter().map(|d| d.title.as_str()).collect();
    assert_eq!(
        (asked.len(), shown(&asked[0])),
        (1, titles.iter().map(|t| (*t).to_owned()).collect())
    );
    // What was found is the same, and so are the fields for programs.
    assert_eq!(got.documents, plain.documents[..3]);
    let json = serde_json::to_value(&plain).unwrap();
    assert!(json.get("answer").is_none());
    let back: Answer = serde_json::from_value(json).unwrap();
    assert_eq!(back.answer, None);

    // Nothing is kept, and no more than ten documents are shown.
    answer(
        &*by,
        Ask {
            k: 20,
            ..in_words(BORN)
        },
    )
    .unwrap();
    assert_eq!(shown(&server.asked()[1]).len(), 10);
    answer(
        &*by,
        Ask {
            k: 20,
            ..in_words(BORN)
        },
    )
    .unwrap();
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn an_answer_that_fails_is_a_note_and_the_others_are_not_affected() {
    let server = ModelServer::start(|asked| match question(asked) {
        q if q.contains("Fern") => Act::Status(400, Vec::new(), r#"{"error": "no"}"#.to_owned()),
        q if q.contains("Egon") => Act::Reply(json!({
            "choices": [{"message": {"content": "", "refusal": "I will not"}}],
        })),
        _ => Act::Say(first(asked)),
    })
    .unwrap();
    let by = with(llm(&server));
    let asks = [
        in_words(BORN),
        Ask::new("Where was Egon Birch born?"),
        in_words("Where was Egon Birch born?"),
        in_words("What is the trade of Ada Alder?"),
        in_words(" "),
        in_words("zzz qqq"),
    ];
    let got = by.ask(&asks);
    let one = |at: usize| got[at].as_ref().unwrap();
    let note = |at: usize| one(at).notes.last().unwrap().as_str();
    assert!(
        note(0).starts_with("the language model gave no answer: "),
        "{}",
        note(0)
    );
    assert!(note(0).contains("400"), "{}", note(0));
    assert!(one(1).notes.is_empty() && one(1).answer.is_none());
    assert!(
        note(2).contains("refused to answer: I will not"),
        "{}",
        note(2)
    );
    assert!(one(3).notes.is_empty());
    assert_eq!(
        one(3).answer.as_ref().unwrap().text,
        one(3).documents[0].title
    );
    assert!(got[4].is_err());
    assert!(note(5).contains("no document was found"), "{}", note(5));
    for at in [0, 2, 5] {
        assert_eq!(one(at).answer, None);
    }
    for (ask, among) in asks
        .iter()
        .zip(&got)
        .filter(|(ask, _)| ask.question.len() > 1)
    {
        let (alone, among) = (answer(&*by, ask.clone()).unwrap(), among.as_ref().unwrap());
        assert_eq!(
            (alone.answer, alone.notes),
            (among.answer.clone(), among.notes.clone())
        );
    }
}

#[test]
fn without_a_model_the_error_says_how_to_set_one() {
    let by = open(&family().0, json!({})).unwrap();
    assert_eq!(by.about().model, None);
    let mut got = by.ask(&[in_words(BORN), Ask::new(BORN)]);
    assert!(got.pop().unwrap().is_ok());
    let error = got.pop().unwrap().unwrap_err();
    assert!(error.to_string().contains("no language model"), "{error}");
    let advice = error.advice().unwrap();
    assert!(advice.contains("`llm` of the retriever stage"), "{advice}");
    // Programs of earlier versions tell nothing about it.
    let about = json!({"system": "ppr", "documents": 1, "nodes": 1, "triples": 1, "examples": []});
    let about: About = serde_json::from_value(about).unwrap();
    assert_eq!(about.model, None);
}

#[test]
fn without_a_network_answers_that_are_not_stored_are_notes() {
    let server = model(first);
    let mut llm = llm(&server);
    llm["offline"] = json!(true);
    let got = answer(&*with(llm), in_words(BORN)).unwrap();
    assert!(
        got.answer.is_none() && got.notes[0].contains("not stored"),
        "{:?}",
        got.notes
    );
    assert!(server.asked().is_empty());
}

#[test]
fn the_model_changes_nothing_about_the_stage() {
    let entry = OpEntry::of::<Retriever>();
    let key = |params: Value| {
        let full = entry.validate(&params).unwrap();
        let files = entry.files(&full, std::path::Path::new(".")).unwrap();
        (entry.schema.effective(&full), files)
    };
    let own = json!({
        "llm": {"model": "m", "temperature": 1.0, "recorded": "r.jsonl"},
        "prompts": {"answer": "p.txt"},
    });
    let bare = key(json!({}));
    assert_eq!(key(own), bare);
    assert!(bare.0.get("llm").is_none() && bare.0.get("prompts").is_none());
    assert_ne!(key(json!({"system": "bm25"})), bare);
    let both = json!({"llm": {"model": "m", "max_completion_tokens": 5}});
    let problems = entry.validate(&both).unwrap_err();
    assert!(
        problems[0].message.contains("not sent both"),
        "{problems:?}"
    );

    // The parameters of a stage that an earlier version made.
    let mut old = entry.validate(&json!({})).unwrap();
    let fields = old.as_object_mut().unwrap();
    assert!(fields.remove("llm").is_some() && fields.remove("prompts").is_some());
    let mut ctx = gfm_pipe_api::local::context();
    ctx.inputs = family().0;
    assert_eq!(entry.answers(old, &ctx).unwrap().about().model, None);

    // A prompt that is none is found when the stage is made.
    let wrong = json!({"llm": {"model": "m"}, "prompts": {"answer": prompt(&folder(), "hello")}});
    let error = open(&family().0, wrong).err().unwrap().to_string();
    assert!(error.contains("no message of the user"), "{error}");
}
