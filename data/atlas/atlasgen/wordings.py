"""How each kind of question is worded.

Each kind has wordings that appear in every split and wordings held out of training: a question of
`held_out` wording is in the group "paraphrase" and only ever in valid or test. {} stands for what
the question starts from. Invariant: no wording is shared between kinds.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    hops: int
    known: tuple
    held_out: tuple


KINDS = {
    "element-country-capital": Kind(2, (
        "What is the capital of the country where {} was discovered?",
        "{} was first identified in a country whose capital is which city?",
        "Name the capital of the country in which {} was found.",
    ), (
        "Where does the government sit of the land that gave the world {}?",
        "Chemists isolated {} in a certain state; which city is the chief one there?",
    )),
    "element-country-money-number": Kind(3, (
        "What is the ISO 4217 number of the money used in the country where {} was discovered?",
        "The country in which {} was found pays with a currency of which numeric code?",
        "Under which number does ISO list the currency of the country where {} was first identified?",
    ), (
        "Give the three digits that stand for the legal tender of the land that gave the world {}.",
    )),
    "element-next-country-capital": Kind(3, (
        "The element right after {} in the periodic table was discovered in a country with which capital?",
        "What is the capital of the country where the element following {} was discovered?",
        "Which city is the capital of the country in which the next element after {} was found?",
    ), (
        "Move one place on from {} among the elements: the land of that one's discovery is governed from where?",
    )),
    "element-next-year": Kind(2, (
        "In which year was the element right after {} in the periodic table discovered?",
        "Which year is given for the discovery of the element that follows {}?",
        "When was the next element after {} identified?",
    ), (
        "Move one place on from {} among the elements: what is the date of that one's first sighting?",
    )),
    "airport-country-capital": Kind(2, (
        "What is the capital of the country where {} stands?",
        "{} is in a country with which capital?",
        "Name the capital of the country that a traveller reaches at {}.",
    ), (
        "A plane has landed at {}. From which city is this land governed?",
        "Which seat of government belongs to the state around {}?",
    )),
    "airport-country-money-number": Kind(3, (
        "What is the ISO 4217 number of the money used in the country of {}?",
        "Under which number does ISO list the currency paid with in the country where {} stands?",
        "The country of {} pays with a currency of which numeric code?",
    ), (
        "Cash for a taxi outside {} goes by which three digits among bankers?",
    )),
    "airport-country-language-script": Kind(3, (
        "In which script is the language of the country of {} written?",
        "Which writing system is used for the language of the country where {} stands?",
        "The language spoken in the country of {} is set down in which script?",
    ), (
        "What kind of letters do people around {} use for their tongue?",
    )),
    "airport-country-zone-offset": Kind(3, (
        "How far from UTC is the time zone of the country where {} stands?",
        "Which UTC offset has the clock zone kept in the country of {}?",
        "The clocks in the country of {} follow a zone with which offset from UTC?",
    ), (
        "A watch set to Greenwich must be moved by how many hours on arrival at {}?",
    )),
    "capital-country-language-group": Kind(2, (
        "To which group of languages does the language of the country with the capital {} belong?",
        "The language of the country whose capital is {} is counted among which languages?",
        "Which language group includes the tongue of the country that has {} as its capital?",
    ), (
        "What are the linguistic relatives of the speech of the land governed from {}?",
    )),
    "capital-country-money-number": Kind(2, (
        "What is the ISO 4217 number of the money of the country whose capital is {}?",
        "The country with the capital {} pays with a currency of which numeric code?",
        "Under which number does ISO list the currency of the country that has {} as its capital?",
    ), (
        "By which three digits do bankers know the cash of the land governed from {}?",
    )),
    "calling-country-money-code": Kind(2, (
        "Which three letters abbreviate the money of the country with the calling code {}?",
        "A telephone number beginning with {} belongs to a country whose currency has which ISO letter code?",
        "What is the ISO 4217 letter code of the currency used where telephone numbers begin with {}?",
    ), (
        "Somebody is ringing from {}; how do traders abbreviate the cash over there?",
    )),
    "calling-country-airport": Kind(2, (
        "Which airport serves the capital of the country with the calling code {}?",
        "At which airport does one arrive in the capital of the country whose telephone numbers begin with {}?",
        "Name the airport of the capital of the country that is dialled with {}.",
    ), (
        "To visit a friend whose phone number starts with {} in the chief city of the land, where does the plane land?",
    )),
    "money-code-country-capital": Kind(2, (
        "What is the capital of the country whose currency has the ISO code {}?",
        "The money abbreviated {} is used in a country with which capital?",
        "Name the capital of the country that pays with the currency {}.",
    ), (
        "Traders write {} for the cash of a certain land; from which city is it governed?",
    )),
    "money-number-country-airport": Kind(3, (
        "Which airport serves the capital of the country whose currency has the ISO number {}?",
        "The money numbered {} in ISO 4217 is used in a country; which airport serves its capital?",
        "Name the airport of the capital of the country that pays with currency number {}.",
    ), (
        "Bankers know some cash as {}. Where do planes land that fly to the chief city of its land?",
    )),
    "language-code-country-capital": Kind(2, (
        "What is the capital of the country where the language with the ISO code {} is in use?",
        "The language abbreviated {} in ISO 639 is in use in a country with which capital?",
        "Name the capital of the only country here that uses the language coded {}.",
    ), (
        "Librarians shelve books in some tongue under {}; its land is governed from which city?",
    )),
    "language-code-country-money-number": Kind(3, (
        "What is the ISO 4217 number of the money used where the language with the ISO code {} is in use?",
        "The language abbreviated {} in ISO 639 is in use in a country whose currency has which numeric code?",
        "Under which number does ISO list the currency of the country that uses the language coded {}?",
    ), (
        "Librarians shelve books in some tongue under {}; by which three digits is its speakers' cash known?",
    )),
    "two-neighbours-country-capital": Kind(2, (
        "What is the capital of the only country that borders both {}?",
        "Which capital has the one country that shares a land border with {} alike?",
        "Name the capital of the single land neighbour that {} have in common.",
    ), (
        "Only one land adjoins the pair {}: from where is it governed?",
    )),
}
