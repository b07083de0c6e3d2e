//! Facts of sentences, as "subject | relation | object", with the title in square brackets.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::English;

fn found(text: &str, title: Option<&str>) -> Vec<String> {
    let doc = English::new().unwrap().parse(text);
    let say = |argument: &Argument| {
        if argument.is_title {
            format!("[{}]", title.unwrap())
        } else {
            text[argument.bytes.clone()].to_owned()
        }
    };
    facts(text, &doc, title)
        .iter()
        .map(|fact| {
            assert!(doc.sentences.len() > fact.sentence);
            assert!(text.get(fact.relation.bytes.clone()).is_some());
            format!(
                "{} | {} | {}",
                say(&fact.subject),
                fact.relation.text,
                say(&fact.object)
            )
        })
        .collect()
}

/// Fails unless exactly these facts are found.
#[track_caller]
fn exactly(text: &str, title: Option<&str>, want: &[&str]) {
    assert_eq!(found(text, title), want, "{text}");
}

#[test]
fn subject_verb_and_object() {
    exactly(
        "Marie Curie discovered polonium and radium.",
        None,
        &[
            "Marie Curie | discovered | polonium",
            "Marie Curie | discovered | radium",
        ],
    );
    exactly(
        "Einstein wanted to study physics in Zürich and did not win the war.",
        None,
        &[
            "Einstein | wanted to study | physics",
            "Einstein | wanted to study physics in | Zürich",
            "Einstein | did not win | war",
        ],
    );
    exactly(
        "The book that Ada Brandt wrote was banned in Norden.",
        None,
        &["Ada Brandt | wrote | book"],
    );
}

#[test]
fn copulas_say_what_something_is() {
    exactly(
        "Ottawa is the capital of Canada.",
        None,
        &["Ottawa | is capital of | Canada"],
    );
    exactly(
        "The capital of Norden is Port Ellis.",
        None,
        &["Norden | capital | Port Ellis"],
    );
    exactly(
        "Mount Kelda is a volcano in the north of the island of Arvo.",
        None,
        &[
            "Mount Kelda | is | volcano",
            "Mount Kelda | is volcano in north of island of | Arvo",
        ],
    );
    exactly(
        "Elected in 2003, Mary Hale became the first president of Arvo.",
        None,
        &[
            "Mary Hale | elected in | 2003",
            "Mary Hale | became president of | Arvo",
        ],
    );
}

#[test]
fn passives_and_prepositions() {
    exactly(
        "Jaws was directed by Steven Spielberg in 1975.",
        None,
        &[
            "Jaws | was directed by | Steven Spielberg",
            "Jaws | was directed in | 1975",
        ],
    );
    exactly(
        "Microsoft was founded by Bill Gates and Paul Allen. Gates, who was born in Seattle, left the company in 2008.",
        None,
        &[
            "Microsoft | was founded by | Bill Gates",
            "Microsoft | was founded by | Paul Allen",
            "Gates | was born in | Seattle",
            "Gates | left | company",
            "Gates | left company in | 2008",
        ],
    );
}

#[test]
fn appositions() {
    exactly(
        "Lund, a city in Sweden, was founded by Canute the Great.",
        None,
        &[
            "Lund | is | city",
            "Lund | is city in | Sweden",
            "Lund | was founded by | Canute the Great",
        ],
    );
    exactly(
        "Otto Brandt moved to Duluth, Minnesota.",
        None,
        &[
            "Otto Brandt | moved to | Duluth",
            "Duluth | is in | Minnesota",
        ],
    );
}

#[test]
fn possessives() {
    let want = ["[Ada Brandt] | husband | Karl Weiss"];
    exactly("Karl Weiss was her husband.", Some("Ada Brandt"), &want);
    exactly(
        "Brandt's brother Otto founded a school in Bremen.",
        Some("Ada Brandt"),
        &[
            "[Ada Brandt] | brother | Otto",
            "Otto | founded | school",
            "Otto | founded school in | Bremen",
        ],
    );
    exactly(
        "Its land neighbours include France and Spain.",
        Some("Andorra"),
        &[
            "[Andorra] | land neighbours include | France",
            "[Andorra] | land neighbours include | Spain",
        ],
    );
    exactly(
        "Norden's king, Harald II, married Queen Ilse.",
        None,
        &[
            "Norden | king | Harald II",
            "Harald II | married | Queen Ilse",
        ],
    );
}

#[test]
fn births_and_deaths_in_brackets() {
    exactly(
        "Ada Brandt (born 5 May 1920 in Lübeck; died 3 March 1999) was a German chemist and the daughter of the painter Otto Brandt.",
        Some("Ada Brandt"),
        &[
            "[Ada Brandt] | date of birth | 5 May 1920",
            "[Ada Brandt] | place of birth | Lübeck",
            "[Ada Brandt] | date of death | 3 March 1999",
            "[Ada Brandt] | was | German chemist",
            "[Ada Brandt] | was daughter of | Otto Brandt",
            "Otto Brandt | is | painter",
        ],
    );
    exactly(
        "Albert Einstein (March 14, 1879 – 18 April 1955) was born in Ulm.",
        None,
        &[
            "Albert Einstein | date of birth | March 14, 1879",
            "Albert Einstein | date of death | 18 April 1955",
            "Albert Einstein | was born in | Ulm",
        ],
    );
    exactly(
        "Microsoft (NASDAQ: MSFT) was founded by Bill Gates.",
        None,
        &["Microsoft | was founded by | Bill Gates"],
    );
}

#[test]
fn the_title_stands_behind_pronouns_and_kinds() {
    let title = Some("The Glass Harbour (1962 film)");
    let name = "[The Glass Harbour (1962 film)]";
    for (text, want) in [
        (
            "It was produced by Northern Light Pictures.",
            vec!["was produced by | Northern Light Pictures"],
        ),
        (
            "The film, which was shot in Cornwall, won two awards at the Venice Film Festival.",
            vec![
                "was shot in | Cornwall",
                "won | two awards",
                "won awards at | Venice Film Festival",
            ],
        ),
        (
            "The Glass Harbour is a 1962 British drama film directed by Peter Lund.",
            vec!["is | 1962 British drama film", "directed by | Peter Lund"],
        ),
        (
            "Its music was written by Max Olsen.",
            vec!["music was written by | Max Olsen"],
        ),
    ] {
        let want: Vec<String> = want.iter().map(|w| format!("{name} | {w}")).collect();
        assert_eq!(found(text, title), want, "{text}");
    }
    // Without a title the pronoun cannot be resolved.
    exactly("It was produced by Northern Light Pictures.", None, &[]);
}

#[test]
fn parts_of_the_title_are_the_title_unless_they_are_places() {
    exactly(
        "Kaunas International Airport, KUN on luggage tags, serves Kaunas and stands in Lithuania.",
        Some("Kaunas International Airport"),
        &[
            "[Kaunas International Airport] | serves | Kaunas",
            "[Kaunas International Airport] | stands in | Lithuania",
            "[Kaunas International Airport] | is | KUN",
        ],
    );
    exactly(
        "Northwind Corp. bought Danish rival Vind A/S for $1.2 billion.",
        Some("Northwind"),
        &[
            "[Northwind] | bought | Danish rival Vind A/S",
            "[Northwind] | bought for | $1.2 billion",
        ],
    );
}

#[test]
fn titles_are_known_in_whatever_way_they_are_written() {
    for (title, text, want) in [
        (
            "Burn (song)",
            "\"Burn\" is a song recorded by Nine Inch Nails.",
            "recorded by | Nine Inch Nails",
        ),
        (
            "Ludwig N. Carbyn",
            "Ludwig Norbert Carbyn studied in Canada.",
            "studied in | Canada",
        ),
        (
            "Education reform",
            "Education reform began in Norway.",
            "began in | Norway",
        ),
        (
            "Society for Science",
            "Society for Science (SSP) was founded by Edward Scripps.",
            "was founded by | Edward Scripps",
        ),
    ] {
        let found = found(text, Some(title));
        assert!(found.contains(&format!("[{title}] | {want}")), "{found:?}");
    }
}

#[test]
fn what_no_rule_takes_belongs_to_the_title() {
    let title = Some("Andorra");
    for (text, want) in [
        ("People pay with the euro.", vec!["people pay with | euro"]),
        (
            "People pay with the Bhutanese ngultrum and Indian rupee.",
            vec![
                "people pay with | Bhutanese ngultrum",
                "people pay with | Indian rupee",
            ],
        ),
        (
            "Andorra, AND in ISO 3166, lies in Southern Europe.",
            vec!["lies in | Southern Europe", "is | AND", "in | ISO 3166"],
        ),
        (
            "Telephone numbers begin with +376.",
            vec!["numbers begin with | +376"],
        ),
        // A name that is in another fact is not related to the title.
        ("Otto Brandt moved to Ellis.", vec![]),
    ] {
        let facts = found(text, title);
        let of_title: Vec<&str> = facts
            .iter()
            .filter_map(|f| f.strip_prefix("[Andorra] | "))
            .collect();
        assert_eq!(of_title, want, "{text}");
        // Without a title, there is no subject for such facts.
        assert!(found(text, None).iter().all(|f| !f.starts_with('[')));
    }
}

#[test]
fn relations_and_arguments_have_their_places() {
    let text = "She was never seen by Karl Weiss.";
    let doc = English::new().unwrap().parse(text);
    let facts = facts(text, &doc, Some("Ada Brandt"));
    let [fact] = &facts[..] else {
        panic!("{facts:?}");
    };
    assert_eq!(&text[fact.subject.bytes.clone()], "She");
    assert!(fact.subject.is_title && fact.subject.is_name && fact.object.is_name);
    assert_eq!(&text[fact.object.bytes.clone()], "Karl Weiss");
    assert_eq!(fact.relation.text, "was never seen by");
    assert_eq!(&text[fact.relation.bytes.clone()], "was never seen by");
}

#[test]
fn nothing_is_made_of_nothing() {
    for text in ["", " ", "He was tall. It rained.", "?!", "()", "(born"] {
        exactly(text, None, &[]);
    }
}
