//! Forms of English verbs: as few as questions need.

use std::sync::LazyLock;

use ahash::AHashMap;

/// Irregular verbs: base, past, participle.
const IRREGULAR: &str = "arise arose arisen|bear bore born|beat beat beaten|become became become|\
begin began begun|bind bound bound|break broke broken|bring brought brought|build built built|\
buy bought bought|catch caught caught|choose chose chosen|come came come|cost cost cost|\
cut cut cut|deal dealt dealt|do did done|draw drew drawn|drive drove driven|eat ate eaten|\
fall fell fallen|feed fed fed|fight fought fought|find found found|fly flew flown|\
forbid forbade forbidden|form formed formed|get got got|give gave given|go went gone|\
grow grew grown|have had had|hear heard heard|hit hit hit|hold held held|keep kept kept|\
know knew known|lay laid laid|lead led led|leave left left|lend lent lent|let let let|\
lie lay lain|lose lost lost|make made made|mean meant meant|meet met met|pay paid paid|\
put put put|read read read|ride rode ridden|rise rose risen|run ran run|say said said|\
see saw seen|seek sought sought|sell sold sold|send sent sent|set set set|shake shook shaken|\
shoot shot shot|show showed shown|sing sang sung|sit sat sat|speak spoke spoken|\
spend spent spent|split split split|spread spread spread|stand stood stood|steal stole stolen|\
strike struck struck|swim swam swum|take took taken|teach taught taught|tell told told|\
think thought thought|throw threw thrown|understand understood understood|\
undergo underwent undergone|wear wore worn|win won won|write wrote written|\
overthrow overthrew overthrown|rebuild rebuilt rebuilt|withdraw withdrew withdrawn|\
oversee oversaw overseen|cast cast cast|star starred starred|borrow borrowed borrowed";

/// Regular verbs, of which texts about things say much.
const REGULAR: &str = "accept accompany achieve acquire act adapt add adopt air announce appear \
appoint arrive assassinate assist attack attain attempt attend attract author award base battle \
belong border broadcast call campaign capture carry celebrate center centre challenge change \
claim close coach collaborate collect combine command commission compete compile complete compose \
comprise conceive conduct connect conquer consist construct contain continue contribute control \
convert cover create credit cross debut declare dedicate defeat defend define deliver depict \
describe design destroy develop devise die differ direct discover displace distribute divide \
dominate donate draft edit educate elect emerge employ end engineer enter establish execute exist \
expand explore extend face feature film finance finish flow focus follow found fund gain govern \
graduate guard guide happen head help host house illustrate import include incorporate induct \
influence inherit inspire install introduce invade invent invest involve issue join judge kill \
lack land last launch like link live locate love maintain manage manufacture mark marry measure \
mention mix move murder name need neighbour nominate note number occupy occur open operate oppose \
order organise organize own paint participate pass perform perish photograph place plan play \
portray possess practice premiere prepare present preside prevent print process produce promote \
propose protect prove provide publish purchase pursue qualify raise reach receive recognise \
recognize record recruit refer regard reign relate release relocate remain remove rename render \
replace report represent request require research reside resign restore result retain retire \
return reveal reach rule score script secure select separate serve settle share sign situate \
skate spell sponsor start state stay stop stretch study succeed suffer supply support surround \
tour trade train translate travel turn unveil use visit voice vote walk want work worship yield";

/// Regular verbs that double their last letter.
const DOUBLED: [&str; 4] = ["plan", "stop", "refer", "transfer"];

struct Forms {
    /// Base forms by any other form.
    bases: AHashMap<String, &'static str>,
    /// Pasts by participle.
    pasts: AHashMap<&'static str, &'static str>,
}

static FORMS: LazyLock<Forms> = LazyLock::new(|| {
    let (mut bases, mut pasts) = (AHashMap::new(), AHashMap::new());
    for verb in IRREGULAR.split('|') {
        let [base, past, participle] = [0, 1, 2].map(|n| verb.split(' ').nth(n).unwrap_or(verb));
        for form in [
            past.to_owned(),
            participle.to_owned(),
            third(base),
            gerund(base),
        ] {
            bases.insert(form, base);
        }
        bases.insert(base.to_owned(), base);
        pasts.insert(participle, past);
    }
    for base in REGULAR.split_ascii_whitespace() {
        for form in [past(base), third(base), gerund(base), base.to_owned()] {
            bases.entry(form).or_insert(base);
        }
    }
    bases.insert("starring".to_owned(), "star");
    bases.insert("found".to_owned(), "find");
    Forms { bases, pasts }
});

fn stem_y(base: &str) -> Option<&str> {
    let stem = base.strip_suffix('y')?;
    (!stem.ends_with(['a', 'e', 'o', 'u'])).then_some(stem)
}

fn past(base: &str) -> String {
    if base.ends_with('e') {
        format!("{base}d")
    } else if let Some(stem) = stem_y(base) {
        format!("{stem}ied")
    } else if DOUBLED.contains(&base) {
        format!("{base}{}ed", &base[base.len() - 1..])
    } else {
        format!("{base}ed")
    }
}

fn gerund(base: &str) -> String {
    if let Some(stem) = base.strip_suffix("ie") {
        format!("{stem}ying")
    } else if let Some(stem) = base.strip_suffix('e').filter(|s| !s.ends_with('e')) {
        format!("{stem}ing")
    } else if DOUBLED.contains(&base) || ["win", "run", "set", "put", "cut", "sit"].contains(&base)
    {
        format!("{base}{}ing", &base[base.len() - 1..])
    } else {
        format!("{base}ing")
    }
}

/// The form of a verb with "he": "stars".
pub fn third(base: &str) -> String {
    if base == "have" {
        return "has".to_owned();
    }
    if let Some(stem) = stem_y(base) {
        return format!("{stem}ies");
    }
    let hissing = ["s", "sh", "ch", "x", "z", "o"]
        .iter()
        .any(|end| base.ends_with(end));
    format!("{base}{}s", if hissing { "e" } else { "" })
}

/// The base of a verb in any form. `None` for a verb that is not known.
pub fn base(form: &str) -> Option<&'static str> {
    FORMS.bases.get(form).copied()
}

/// The past of a verb, from its participle: "wrote" from "written". `None` for a verb that is not
/// known and does not look regular.
pub fn past_of(participle: &str) -> Option<&str> {
    let irregular = FORMS.pasts.get(participle).copied();
    irregular.or_else(|| participle.ends_with("ed").then_some(participle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_verbs() {
        for (form, want) in [
            ("wrote", "write"),
            ("stars", "star"),
            ("directed", "direct"),
            ("carries", "carry"),
            ("features", "feature"),
            ("featuring", "feature"),
            ("planned", "plan"),
            ("lying", "lie"),
            ("founded", "found"),
            ("has", "have"),
        ] {
            assert_eq!(base(form), Some(want), "{form}");
        }
        assert_eq!(base("blorped"), None);
        assert_eq!(past_of("written"), Some("wrote"));
        assert_eq!(past_of("directed"), Some("directed"));
        assert_eq!(past_of("gnu"), None);
        assert_eq!(third("pass"), "passes");
    }
}
