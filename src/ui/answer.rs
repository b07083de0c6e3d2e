//! An answer for people.

use gfm_pipe_api::answer::{Answer, Cited, Found, Path, Start, Step, arrow};
use gfm_pipe_api::printable::one_line;

use super::Look;
use super::text::duration;

/// Number of starts that are shown.
const STARTS: usize = 6;
/// Longest shown piece of a text, in characters.
const LONGEST: usize = 240;

/// The text of an answer.
pub fn answer(answer: &Answer, look: Look) -> String {
    let mut out = String::new();
    for note in &answer.notes {
        out.push_str(&format!(
            "{} {}\n",
            look.paint("33", "note:"),
            one_line(note)
        ));
    }
    if let Some(cited) = &answer.answer {
        out.push_str(&in_words(cited, look));
    }
    if !answer.start.is_empty() {
        out.push_str(&format!("{}\n", look.paint("1", "started at")));
        for start in answer.start.iter().take(STARTS) {
            out.push_str(&format!("  {}\n", of_start(start, look)));
        }
        let more = answer.start.len().saturating_sub(STARTS);
        if more > 0 {
            out.push_str(&format!("  and {more} more\n"));
        }
        out.push('\n');
    }
    if answer.documents.is_empty() {
        out.push_str("no document is like the question\n");
    }
    for found in answer.documents.iter().chain(&answer.why_not) {
        out.push_str(&document(found, look));
    }
    out.push_str(&format!(
        "answered by {} in {}\n",
        answer.system,
        duration(answer.seconds)
    ));
    out
}

/// The answer of a language model, with the documents that it cites.
fn in_words(cited: &Cited, look: Look) -> String {
    let text = match cited.text.as_str() {
        "" => "the documents do not say",
        text => text,
    };
    let mut out = format!("{} {}\n", look.paint("1", "answer:"), short(text));
    if !cited.reasoning.is_empty() {
        out.push_str(&format!("  {}\n", one_line(&cited.reasoning)));
    }
    let titles: Vec<String> = cited.titles.iter().map(|title| short(title)).collect();
    out.push_str(&match titles.len() {
        0 => format!("  by {}, which cites no document\n\n", short(&cited.model)),
        _ => format!(
            "  by {}, from {}\n\n",
            short(&cited.model),
            titles.join("; ")
        ),
    });
    out
}

fn of_start(start: &Start, look: Look) -> String {
    let label = look.paint("36", &short(&start.label));
    format!(
        "{label}  {} {:?}, weight {:.3}",
        start.source,
        short(&start.text),
        start.weight
    )
}

fn document(found: &Found, look: Look) -> String {
    let rank = match found.rank {
        Some(rank) => format!("{rank}."),
        None => "-".to_owned(),
    };
    let title = look.paint("1", &short(&found.title));
    let score = match found.score {
        Some(score) => format!("{score:.4}"),
        None => "no score".to_owned(),
    };
    let source = match &found.source {
        Some(source) => format!("  {}", short(source)),
        None => String::new(),
    };
    let mut out = format!("{rank:>3} {title}  {score}{}\n", look.paint("2", &source));
    if let Some(sentence) = &found.sentence {
        out.push_str(&format!("    {}\n", short(sentence)));
    }
    for path in &found.paths {
        out.push_str(&format!("    {}\n", walk(path, look)));
    }
    out.push('\n');
    out
}

/// A path on one line: `Hosea Kutako –stands in country→ Namibia`. An arrow points in the direction
/// of the fact.
fn walk(path: &Path, look: Look) -> String {
    let mut out = look.paint("2", &format!("{:.4}  ", path.weight));
    if path.steps.is_empty() {
        out.push_str("the search started at it, or at what it mentions");
    }
    for (i, step) in path.steps.iter().enumerate() {
        let Step {
            head,
            relation,
            tail,
            inverse,
            ..
        } = step;
        let [from, to] = if *inverse { [tail, head] } else { [head, tail] };
        if i == 0 {
            out.push_str(&look.paint("36", &short(from)));
        }
        out.push_str(&look.paint("2", &arrow(&short(relation), *inverse)));
        out.push_str(&short(to));
    }
    out
}

/// A text on one line, escaped, and cut if it is long.
fn short(text: &str) -> String {
    let line = one_line(text);
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.into_owned(),
    }
}
