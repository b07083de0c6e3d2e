//! Finds documents in other languages that were extracted as English. Where the words are not
//! evidently English, letters and trigrams decide (whatlang).

use gfm_pipe_api::OpResult;

use super::checks;
use super::data::{Data, Finding, Stop};
use super::words::words;

/// Fewest words of a text whose language can be recognised.
const WORDS: usize = 20;
/// Bytes of a text that are examined.
const LOOKED_AT: usize = 4096;
/// Frequent English words that are rare in other languages.
const ENGLISH: [&str; 10] = [
    "the", "of", "and", "to", "that", "with", "from", "by", "which", "this",
];
/// A text is English when one in this many words is one of [`ENGLISH`]. Counting them is fast; the
/// crate takes two milliseconds.
const ONE_IN: usize = 10;

/// Reports documents that are reliably in another language.
///
/// # Errors
/// When the user wants to stop.
pub fn languages(data: &Data, stop: Stop<'_>) -> OpResult<Vec<Finding>> {
    let mut out = Vec::new();
    let Some(documents) = data.documents.as_ref().filter(|_| data.details.english) else {
        return Ok(out);
    };
    for (row, text) in documents.texts.iter().enumerate() {
        if row % 256 == 0 {
            stop()?;
        }
        if let Some(language) = other_language(text) {
            let message =
                format!("the text is {language}, and what it says was extracted as English");
            let title = &documents.titles[row];
            out.push(Finding::new(
                &checks::OTHER_LANGUAGE,
                data.document(row),
                title,
                message,
            ));
        }
    }
    Ok(out)
}

/// The language of a text that is long enough and reliably not English.
pub fn other_language(text: &str) -> Option<&'static str> {
    let mut end = LOOKED_AT.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    let number = words(text).count();
    let english = words(text).filter(|word| ENGLISH.iter().any(|e| word.eq_ignore_ascii_case(e)));
    if number < WORDS || english.count() * ONE_IN >= number {
        return None;
    }
    let found = whatlang::detect(text)?;
    let other = found.lang() != whatlang::Lang::Eng && found.is_reliable();
    other.then(|| found.lang().eng_name())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::{graph, reported, with_documents};
    use super::*;

    #[test]
    fn languages_are_told_from_english_where_that_is_certain() {
        for (language, text) in [
            (
                Some("German"),
                "Die Mühle in Quillmouth wurde im Jahr 1820 von Ada Alder gebaut, nachdem die alte Mühle am Fluss abgebrannt war und niemand wusste warum.",
            ),
            (
                Some("French"),
                "Le moulin de Quillmouth a été construit en 1820 par Ada Alder, après que l'ancien moulin au bord de la rivière eut brûlé sans que personne sût pourquoi.",
            ),
            (
                Some("Spanish"),
                "El molino de Quillmouth fue construido en 1820 por Ada Alder, después de que el viejo molino junto al río se quemara y nadie supiera por qué.",
            ),
            (
                Some("Mandarin"),
                "奎尔茅斯的磨坊由艾达·奥尔德于一八二零年建造，因为河边的旧磨坊被烧毁了，没有人知道原因。",
            ),
            (
                Some("Russian"),
                "Мельница в Квиллмуте была построена в 1820 году Адой Олдер после того, как старая мельница у реки сгорела, и никто не знал, почему это случилось.",
            ),
            (
                None,
                "The mill in Quillmouth was built in 1820 by Ada Alder, after the old mill by the river had burnt down and nobody knew why.",
            ),
            // Names and numbers are not a language.
            (
                None,
                "Game 1: Müller 3, García 2. Game 2: Lefèvre 5, Müller 1. Game 3: García 4, Nowak 4. Game 4: Müller 2, Rossi 3. Game 5: Silva 1, Nowak 0.",
            ),
            (None, "Kurzer Text"),
            (None, ""),
        ] {
            assert_eq!(other_language(text), language, "{text}");
        }
    }

    #[test]
    fn only_what_was_extracted_as_english_is_reported() {
        let german = "Die Mühle wurde im Jahr 1820 von Ada Alder gebaut, nachdem die alte Mühle am Fluss abgebrannt war und niemand wusste warum. ";
        let long = german.repeat(100);
        let mut data = with_documents(graph("a,r,b"), &[("M", &long, &[]), ("E", "Short.", &[])]);
        let found = |data: &Data| reported(&languages(data, &|| Ok(())).unwrap());
        assert_eq!(found(&data).len(), 0);
        data.details.english = true;
        assert_eq!(
            found(&data),
            [
                "other-language corpus.json:2 M: the text is German, and what it says was extracted as English"
            ]
        );
    }
}
