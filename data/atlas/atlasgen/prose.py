"""What is said about each thing: one paragraph and its triples.

Invariant: every triple of a document is stated by its paragraph, and a paragraph names only what
its triples name, so text and graph tell the same story. Not here: which facts hold (world.py).
"""

from dataclasses import dataclass

from . import curation as cur
from . import curation_elements as elements
from .names import entity, plural, reads_as_plural, series, the


@dataclass
class Document:
    title: str
    text: str
    triples: list            # (head, relation, tail), names as they are shown

    @property
    def entities(self):
        """Entity names in order of first mention, without repetition."""
        return list(dict.fromkeys(entity(x) for head, _, tail in self.triples for x in (head, tail)))


# Codes are entities of their own, marked so that "SEK" and the airport code "SEK" differ.
def airport_code(iata):
    return f"airport code {iata}"


def calling_code(number):
    return f"calling code {number}"


def country_code(alpha3):
    return f"country code {alpha3}"


def currency_code(code):
    return f"currency code {code}"


def currency_number(number):
    return f"currency number {number}"


def language_code(code):
    return f"language code {code}"


def offset_name(offset):
    """"+05:30" -> "UTC plus 05:30": the sign must survive in the entity."""
    return "UTC " + offset.replace("+", "plus ").replace("-", "minus ")


def element_title(name):
    return f"{name} (element)"


def zone_title(zone):
    return f"{zone} time zone"


def documents(world):
    """Every document of the corpus, in a fixed order."""
    made = ([_country(world, c) for c in world.countries.values()]
            + [_airport(world, a) for a in world.airports]
            + [_element(world, i) for i in range(len(world.elements))]
            + [_language(world, code) for code in world.languages]
            + [_currency(world, code) for code in world.currencies]
            + [_zone(world, zone) for zone in world.zones]
            + _scripts(world) + _regions(world))
    titles = [d.title for d in made]
    if len(set(titles)) != len(titles):
        raise ValueError(f"two documents share a title: {sorted(t for t in titles if titles.count(t) > 1)}")
    return made


def _country(world, c):
    code = country_code(c.alpha3)
    triples = [(c.name, "has country code", code), (c.name, "lies in region", c.region)]
    text = [f"{the(c.name, capital=True)}, {c.alpha3} in ISO 3166, "
            f"{'lie' if reads_as_plural(c.name) else 'lies'} in {the(c.region)}."]
    if c.capital:
        triples.append((c.name, "has capital", c.capital))
        text.append(f"Its capital is {c.capital.removesuffix('.')}.")
    if c.currencies:
        names = [world.currencies[code] for code in c.currencies]
        triples += [(c.name, "uses currency", n) for n in names]
        text.append(f"People pay with the {series(_lower_euro(n) for n in names)}.")
    if c.languages:
        names = [world.languages[l] for l in c.languages]
        triples += [(c.name, "has language", n) for n in names]
        spoken = series(n.removesuffix(" language") for n in names)
        text.append(f"{spoken} {plural(names, 'is', 'are')} in official or public use.")
    if len(c.dialling) == 1:
        triples.append((c.name, "has calling code", calling_code(c.dialling[0])))
        text.append(f"Telephone numbers begin with +{c.dialling[0]}.")
    if c.zone:
        triples.append((c.name, "keeps time zone", zone_title(c.zone)))
        text.append(f"In the tz database its clocks follow {c.zone}.")
    if c.neighbours:
        names = [world.countries[n].name for n in c.neighbours]
        triples += [(c.name, "shares border with", n) for n in names]
        text.append(f"Its land neighbours include {series(the(n) for n in names)}.")
    return Document(c.name, " ".join(text), triples)


def _lower_euro(name):
    return "euro" if name == "Euro" else name


def _airport(world, a):
    country = world.countries[a.country]
    triples = [(a.name, "has airport code", airport_code(a.iata)), (a.name, "serves", a.town),
               (a.name, "stands in country", country.name)]
    text = f"{a.name}, {a.iata} on luggage tags, serves {a.town} and stands in {the(country.name)}."
    if a.feet is not None:
        text += f" Its field elevation is {a.feet} feet."
    return Document(a.name, text, triples)


def _element(world, index):
    e = world.elements[index]
    triples = [(e.name, "has symbol", f"symbol {e.symbol}"),
               (e.name, "has atomic number", f"atomic number {e.number}"), (e.name, "is one of the", e.series)]
    text = [f"{e.name}, symbol {e.symbol}, is number {e.number} of the periodic table and one of the {e.series}."]
    if e.discoverers:
        triples += [(e.name, "was discovered by", person) for person in e.discoverers]
        text.append(f"Its discovery is credited to {series(e.discoverers)}.")
    if e.country:
        name = world.countries[e.country].name
        triples.append((e.name, "was discovered in", name))
        text.append(f"It was found in what is now {the(name)}.")
    if e.year:
        triples.append((e.name, "was discovered in year", f"year {e.year}"))
        text.append(f"The year given is {e.year}.")
    origin = ""
    if e.symbol in elements.NAMED_AFTER_COUNTRY:
        origin = world.countries[elements.NAMED_AFTER_COUNTRY[e.symbol]].name
    elif e.symbol in elements.NAMED_AFTER_CAPITAL:
        origin = world.countries[elements.NAMED_AFTER_CAPITAL[e.symbol]].capital
    if origin:
        triples.append((e.name, "is named after", origin))
        text.append(f"The name goes back to that of {origin}.")
    if index + 1 < len(world.elements):
        following = world.elements[index + 1].name
        triples.append((e.name, "is followed by", following))
        text.append(f"In the table it is followed by {following.lower()}.")
    return Document(element_title(e.name), " ".join(text), triples)


def _language(world, code):
    name = world.languages[code]
    codes = [code] + ([world.sources.three_letter[code]] if code in world.sources.three_letter else [])
    triples = [(name, "has language code", language_code(c)) for c in codes]
    text = [f"ISO 639 writes the {name} {series(codes)}."]
    scripts, group = world.scripts(code), world.group(code)
    if scripts:
        triples += [(name, "is written in", s) for s in scripts]
        text.append(f"It is set down in the {series(s.removesuffix(' script') for s in scripts)} "
                    f"{plural(scripts, 'script', 'scripts')}.")
    if group:
        triples.append((name, "belongs to", group))
        text.append(f"It is counted among the {group}.")
    return Document(name, " ".join(text), triples)


def _currency(world, code):
    name = world.currencies[code]
    number = world.sources.currencies[code]["numeric"]
    triples = [(name, "has currency code", currency_code(code)),
               (name, "has currency number", currency_number(number))]
    return Document(name, f"ISO 4217 abbreviates the {_lower_euro(name)} {code} and gives it the number {number}.",
                    triples)


def _zone(world, zone):
    offset, former = world.sources.zones[zone]
    title = zone_title(zone)
    triples = [(title, "has offset", offset_name(offset))]
    triples += [(title, "has linked zone", f"{f} zone") for f in former[:3]]
    text = f"Clocks of the tz database zone {zone} stand at UTC{offset} outside daylight saving time."
    if former:
        text += f" Zone names that now lead to it include {series(former[:3])}."
    return Document(title, text, triples)


def _scripts(world):
    made = {}
    for language in world.languages:
        for code in world.sources.scripts.get(language, []):
            if code in cur.SCRIPTS:
                made[f"{cur.SCRIPTS[code]} script"] = code
    return [Document(name, f"ISO 15924 abbreviates the {name} {code}.",
                     [(name, "has script code", f"script code {code}")]) for name, code in sorted(made.items())]


def _regions(world):
    made = []
    used = {c.region for c in world.countries.values()}
    for number, name in sorted(cur.REGIONS.items()):
        if name in used:
            continent = next(c for n, c in cur.CONTINENTS.items() if number in _descendants(world, n))
            made.append(Document(name, f"The United Nations number {the(name)} {number} in their standard M49 "
                                       f"and count it as part of {continent}.",
                                 [(name, "has region number", f"region number {number}"),
                                  (name, "is part of", continent)]))
    return made


def _descendants(world, number):
    """Every code below `number` in the containment tree."""
    below = []
    for child in world.sources.containment.get(number, []):
        below += [child, *_descendants(world, child)]
    return below
