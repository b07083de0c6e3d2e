//! Which nouns mean persons.

/// Nouns for persons that do not end like ones.
const PERSONS: &str = "actress admiral architect artist athlete aunt bishop captain chairman \
chief child comedian cousin criminal duke explorer general guest historian husband judge king \
lawyer lord man mathematician monk musician nephew niece nobleman nun official parent physician \
pioneer playwright poet pope president prince princess queen saint scientist sculptor sibling \
soldier son spouse theologian uncle wife woman";
/// Nouns that end like those for persons, but are not.
const THINGS: &str = "answer banner barrier bomber border cancer carrier center chamber chapter \
character charter checklist cluster computer container corner corridor counter cover crater \
cruiser destroyer diameter dinner disorder factor fiber fighter filter floor folder freighter \
frontier gender glacier harbor helicopter layer letter manner manor marker matter member meter \
mirror monitor motor newsletter newspaper number offer order paper parameter pier playlist \
poster power printer quarter reactor register river router scanner sector semester sensor \
server shelter shoulder skyscraper steamer summer tanker theater thriller tower tractor trailer \
transformer trawler tumor vector water weather winter";

/// Nouns for persons that say whose they are.
const KIN: &str = "aunt brother child cousin daughter father husband mother nephew niece parent \
sibling sister son spouse uncle wife";

/// Whether a noun says whose a person is.
pub fn is_kin(noun: &str) -> bool {
    KIN.split(' ').any(|word| word == noun)
}

/// Whether a noun means a person.
pub fn is_person(noun: &str) -> bool {
    let ends = ["er", "or", "ist", "ian", "eer", "man", "woman"];
    let among = |list: &str| list.split(' ').any(|word| word == noun);
    let ends = noun.len() > 4 && ends.iter().any(|end| noun.ends_with(end));
    among(PERSONS) || (ends && !among(THINGS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persons_and_things() {
        assert!(
            ["actress", "footballer", "director", "woman"]
                .iter()
                .all(|n| is_person(n))
        );
        assert!(
            !["river", "film", "glacier", "band", "list"]
                .iter()
                .any(|n| is_person(n))
        );
    }
}
