//! The noun for what a statement asks for.

use super::corpus::Corpus;
use super::mention::Kind;
use super::names::{bare, content};
use super::persons::is_person;
use super::statement::{Place, Statement};

/// Things that have the names of places and persons.
const WORKS: [&str; 18] = [
    "album",
    "band",
    "book",
    "comic",
    "episode",
    "film",
    "game",
    "locomotive",
    "magazine",
    "manga",
    "movie",
    "novel",
    "opera",
    "play",
    "show",
    "single",
    "song",
    "soundtrack",
];
/// Countries that texts name often.
const COUNTRIES: &str = "|afghanistan|albania|algeria|argentina|armenia|australia|austria|\
azerbaijan|bangladesh|belarus|belgium|bolivia|brazil|bulgaria|cambodia|cameroon|canada|chile|\
china|colombia|croatia|cuba|cyprus|denmark|ecuador|egypt|england|estonia|ethiopia|finland|france|\
germany|ghana|greece|guatemala|haiti|hungary|iceland|india|indonesia|iran|iraq|ireland|israel|\
italy|jamaica|japan|jordan|kazakhstan|kenya|kuwait|latvia|lebanon|libya|lithuania|luxembourg|\
malaysia|malta|mexico|moldova|mongolia|morocco|nepal|netherlands|new zealand|nicaragua|nigeria|\
north korea|norway|pakistan|panama|paraguay|peru|philippines|poland|portugal|qatar|romania|russia|\
saudi arabia|scotland|senegal|serbia|singapore|slovakia|slovenia|somalia|south africa|south korea|\
soviet union|spain|sri lanka|sudan|sweden|switzerland|syria|taiwan|tanzania|thailand|tunisia|\
turkey|uganda|ukraine|united arab emirates|united kingdom|united states|uruguay|venezuela|vietnam|\
wales|yemen|zambia|zimbabwe|";

/// States that texts name often.
const STATES: &str = "|alabama|alaska|arizona|arkansas|california|colorado|connecticut|\
delaware|florida|georgia|hawaii|idaho|illinois|indiana|iowa|kansas|kentucky|louisiana|maine|\
maryland|massachusetts|michigan|minnesota|mississippi|missouri|montana|nebraska|nevada|\
new hampshire|new jersey|new mexico|north carolina|north dakota|ohio|oklahoma|oregon|\
pennsylvania|rhode island|south carolina|south dakota|tennessee|texas|utah|vermont|virginia|\
west virginia|wisconsin|wyoming|queensland|new south wales|victoria|tasmania|";

/// Nouns that names end with.
const NAMES_END: [&str; 66] = [
    "academy",
    "airport",
    "army",
    "association",
    "award",
    "bay",
    "bridge",
    "building",
    "canal",
    "castle",
    "cathedral",
    "championship",
    "church",
    "club",
    "college",
    "committee",
    "company",
    "conference",
    "corporation",
    "council",
    "county",
    "court",
    "cup",
    "desert",
    "diocese",
    "district",
    "dynasty",
    "empire",
    "festival",
    "field",
    "foundation",
    "glacier",
    "hall",
    "highway",
    "hospital",
    "hotel",
    "institute",
    "island",
    "islands",
    "lake",
    "league",
    "library",
    "magazine",
    "mountains",
    "museum",
    "orchestra",
    "palace",
    "park",
    "party",
    "peninsula",
    "prefecture",
    "province",
    "railway",
    "range",
    "records",
    "river",
    "road",
    "school",
    "society",
    "stadium",
    "station",
    "street",
    "theatre",
    "tournament",
    "university",
    "valley",
];

/// What is asked for, in a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noun {
    pub noun: String,
    pub person: bool,
}

/// The noun for what a statement asks for. `None` where nothing is known of it.
pub fn asked(corpus: &Corpus<'_>, statement: &Statement) -> Option<Noun> {
    match &statement.asked {
        Place::Title => {
            let is = corpus.said[statement.document as usize].is.as_ref()?;
            Some(Noun {
                noun: is.noun.clone(),
                person: is.person,
            })
        }
        Place::Mention { key, kind, .. } => {
            if let Some(noun) = &statement.noun {
                let person = is_person(noun);
                return Some(Noun {
                    noun: noun.clone(),
                    person,
                });
            }
            if *kind == Kind::Place && STATES.contains(&format!("|{key}|")) {
                return Some(Noun {
                    noun: "state".to_owned(),
                    person: false,
                });
            }
            if *kind == Kind::Place && COUNTRIES.contains(&format!("|{key}|")) {
                return Some(Noun {
                    noun: "country".to_owned(),
                    person: false,
                });
            }
            let known = corpus.titled(key).iter();
            let mut known = known.filter(|d| fits(corpus, **d, *kind));
            let is = known.find_map(|d| corpus.said[*d as usize].is.clone());
            if let Some(is) = is {
                return Some(Noun {
                    noun: is.noun,
                    person: is.person,
                });
            }
            if let Some(noun) = in_name(bare(key)) {
                return Some(Noun {
                    noun: noun.to_owned(),
                    person: false,
                });
            }
            if statement.doubtful {
                return None;
            }
            let noun = kind.noun()?.to_owned();
            Some(Noun {
                noun,
                person: *kind == Kind::Person,
            })
        }
    }
}

/// Whether a noun means something that comes out.
pub fn is_work(noun: &str) -> bool {
    WORKS.contains(&noun.split(' ').next_back().unwrap_or_default())
}

/// Whether a name is of different things in different texts: there is a Clark County in many
/// states.
pub fn is_ambiguous(key: &str) -> bool {
    [" county", " township", " district", " church", " park"]
        .iter()
        .any(|end| key.ends_with(end))
}

/// Whether a noun says almost nothing.
pub fn is_vague(noun: &str) -> bool {
    matches!(noun, "place" | "organization" | "work" | "event")
}

/// The noun at the end of a name that says what it is: "Kelda River".
fn in_name(key: &str) -> Option<&str> {
    let last = key
        .split(' ')
        .next_back()
        .filter(|last| last.len() < key.len())?;
    let first = key.split(' ').next()?;
    let found = NAMES_END.contains(&last).then_some(last);
    found
        .or_else(|| {
            ["university", "battle", "treaty", "lake", "mount"]
                .contains(&first)
                .then_some(if first == "mount" { "mountain" } else { first })
        })
        .map(|noun| {
            if noun == "records" {
                "record label"
            } else {
                noun
            }
        })
}

/// Whether a mention in a document means another one.
pub fn means(corpus: &Corpus<'_>, from: u32, to: u32, kind: Kind) -> bool {
    // "Kelda (volcano)" is meant where a volcano is spoken of.
    let named = &corpus.documents[to as usize];
    let rest = named
        .title
        .strip_prefix(named.name.as_str())
        .unwrap_or_default();
    let mut brackets: Vec<String> = content(rest).collect();
    // "Tennessee #3" is only the third of its title.
    brackets.retain(|word| !word.bytes().all(|b| b.is_ascii_digit()));
    fits(corpus, to, kind) && (brackets.is_empty() || corpus.share(from, &brackets) >= 1.0)
}

/// Whether a document can be what a mention of some kind names.
pub fn fits(corpus: &Corpus<'_>, document: u32, kind: Kind) -> bool {
    let said = &corpus.said[document as usize];
    let Some(is) = &said.is else {
        return !kind.is_time();
    };
    let last = is.noun.split(' ').next_back().unwrap_or_default();
    let work = is_work(&is.noun);
    // A name of several words is hardly that of another thing, whatever the recogniser says.
    let long = corpus.title(document).split(' ').count() >= 2 + usize::from(work);
    if long && !kind.is_time() {
        return true;
    }
    match kind {
        Kind::Person => is.person,
        Kind::Place => !is.person && !work,
        Kind::Organization => !is.person && (!work || last == "band" || last == "magazine"),
        Kind::Work => !is.person,
        Kind::Event | Kind::Other => true,
        Kind::Year | Kind::Date => false,
    }
}
