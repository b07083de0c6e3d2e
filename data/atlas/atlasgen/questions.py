"""Questions: chains of facts, found in the world, asked in words.

A chain is (kind, what it starts from, the documents it needs, the answer). Invariants: the answer
is the only right one under the facts of the data set, every document of the chain is needed, and
the question names neither the answer nor any needed document but the one it starts from.
Not here: splits and wordings per question (splits.py).
"""

import collections
import hashlib
from dataclasses import dataclass

from . import curation as cur
from . import prose
from .names import entity, mentions, the

# A gold document with more entities than this cannot fit a ranker that looks at twenty entities.
MAX_GOLD_ENTITIES = 17

# At most this many chains of a kind that need the same country or the same last document.
PER_COUNTRY, PER_LAST = 6, 9

# At most this many chains of a kind; the largest kinds would otherwise be most of the set.
PER_KIND = {
    "airport-country-capital": 95, "airport-country-language-script": 110, "airport-country-money-number": 170,
    "airport-country-zone-offset": 150, "calling-country-airport": 110, "calling-country-money-code": 110,
    "capital-country-money-number": 110, "money-code-country-capital": 100, "two-neighbours-country-capital": 110,
}


@dataclass(frozen=True)
class Chain:
    kind: str
    start: str             # how the question names it
    start_entities: tuple  # entity names in the question
    gold: tuple            # titles
    answer: str
    named: int             # so many of `gold`, from the first, belong to what the question names


class Finder:
    """Finds the chains of every kind."""

    def __init__(self, world, documents):
        self.world = world
        self.documents = {d.title: d for d in documents}
        self.countries = {code: c for code, c in world.countries.items() if c.member}
        self.payers, self.speakers = collections.defaultdict(set), collections.defaultdict(set)
        # Uniqueness is judged over everything the source lists, also what the data set leaves out.
        for code, row in world.sources.countries.items():
            if code not in cur.NO_CURRENCY:
                for currency in row["currency"]:
                    self.payers[currency].add(code)
            for language in row["languages"]:
                if (code, language) not in cur.NOT_LANGUAGES:
                    self.speakers[language].add(code)
        callers = collections.Counter(n for row in world.sources.countries.values() for n in row["phone"])
        self.calling = {code: c.dialling[0] for code, c in self.countries.items()
                        if len(c.dialling) == 1 and callers[c.dialling[0]] == 1}
        self.capital_airport = {}
        serving = collections.defaultdict(list)
        for a in world.airports:
            serving[(a.country, a.town)].append(a)
        for code, c in self.countries.items():
            if c.capital and len(serving[(code, c.capital)]) == 1:
                self.capital_airport[code] = serving[(code, c.capital)][0]
        zone_users = collections.Counter(c.zone for c in world.countries.values() if c.zone)
        self.rare_zone = {code: c.zone for code, c in self.countries.items() if c.zone and zone_users[c.zone] <= 4}

    # ---- what a country leads to: (last titles, answer), or None where there is no single answer

    def _capital(self, code):
        return ((), self.countries[code].capital) if self.countries[code].capital else None

    def _money(self, code, field):
        c = self.countries[code]
        if len(c.currencies) != 1:
            return None
        currency = c.currencies[0]
        answer = currency if field == "code" else self.world.sources.currencies[currency]["numeric"]
        return (self.world.currencies[currency],), answer

    def _script(self, code):
        c = self.countries[code]
        scripts = self.world.scripts(c.languages[0]) if c.one_language else []
        return ((self.world.languages[c.languages[0]],), scripts[0]) if len(scripts) == 1 else None

    def _group(self, code):
        c = self.countries[code]
        group = self.world.group(c.languages[0]) if c.one_language else ""
        return ((self.world.languages[c.languages[0]],), group) if group else None

    def _offset(self, code):
        zone = self.rare_zone.get(code)
        return ((prose.zone_title(zone),), "UTC" + self.world.sources.zones[zone][0]) if zone else None

    def _airport(self, code):
        airport = self.capital_airport.get(code)
        return ((airport.name,), airport.name) if airport else None

    # ---- chains

    def all(self):
        """Every sound chain, kind by kind."""
        found = [c for make in (self._elements, self._airports, self._capitals, self._callings,
                                self._money_codes, self._language_codes, self._neighbours)
                 for c in make() if c is not None]
        sound = [c for c in found if self._is_sound(c)]
        return _thin(sound)

    def _via(self, kind, start, start_entities, first, code, leads_to, named=None):
        """A chain from the documents `first` through the country `code`, or None."""
        if code not in self.countries:
            return None
        reached = leads_to(code)
        if reached is None:
            return None
        gold = (*first, self.countries[code].name, *reached[0])
        return Chain(kind, start, tuple(entity(e) for e in start_entities), gold, reached[1],
                     len(first) if named is None else named)

    def _elements(self):
        for i, e in enumerate(self.world.elements):
            title, start = prose.element_title(e.name), e.name.lower()
            yield self._via("element-country-capital", start, [e.name], [title], e.country, self._capital)
            yield self._via("element-country-money-number", start, [e.name], [title], e.country,
                            lambda code: self._money(code, "number"))
            if i + 1 < len(self.world.elements):
                following = self.world.elements[i + 1]
                yield self._via("element-next-country-capital", start, [e.name],
                                [title, prose.element_title(following.name)], following.country, self._capital,
                                named=1)
                if following.year:
                    yield Chain("element-next-year", start, (entity(e.name),),
                                (title, prose.element_title(following.name)), str(following.year), named=1)

    def _airports(self):
        for i, a in enumerate(self.world.airports):
            country = self.world.countries[a.country]
            by_code = i % 2 == 0 or mentions(a.name, country.name)
            start = f"the airport coded {a.iata}" if by_code else a.name
            entities = [prose.airport_code(a.iata)] if by_code else [a.name]
            if a.town != country.capital:
                yield self._via("airport-country-capital", start, entities, [a.name], a.country, self._capital)
            yield self._via("airport-country-money-number", start, entities, [a.name], a.country,
                            lambda code: self._money(code, "number"))
            yield self._via("airport-country-language-script", start, entities, [a.name], a.country, self._script)
            yield self._via("airport-country-zone-offset", start, entities, [a.name], a.country, self._offset)

    def _capitals(self):
        for code, c in self.countries.items():
            if c.capital:
                yield self._via("capital-country-language-group", c.capital, [c.capital], [], code, self._group)
                yield self._via("capital-country-money-number", c.capital, [c.capital], [], code,
                                lambda code: self._money(code, "number"))

    def _callings(self):
        for code, number in self.calling.items():
            entities = [prose.calling_code(number)]
            yield self._via("calling-country-money-code", f"+{number}", entities, [], code,
                            lambda code: self._money(code, "code"))
            yield self._via("calling-country-airport", f"+{number}", entities, [], code, self._airport)

    def _money_codes(self):
        for currency, name in self.world.currencies.items():
            if len(self.payers[currency]) != 1:
                continue
            (code,) = self.payers[currency]
            number = self.world.sources.currencies[currency]["numeric"]
            yield self._via("money-code-country-capital", currency, [prose.currency_code(currency)], [name], code,
                            self._capital)
            yield self._via("money-number-country-airport", number, [prose.currency_number(number)], [name], code,
                            self._airport)

    def _language_codes(self):
        for language, name in self.world.languages.items():
            if len(self.speakers[language]) != 1:
                continue
            (code,) = self.speakers[language]
            entities = [prose.language_code(language)]
            yield self._via("language-code-country-capital", f'"{language}"', entities, [name], code, self._capital)
            yield self._via("language-code-country-money-number", f'"{language}"', entities, [name], code,
                            lambda code: self._money(code, "number"))

    def _neighbours(self):
        complete = {code: c for code, c in self.countries.items() if code not in cur.INCOMPLETE_BORDERS}
        codes = sorted(complete)
        for i, a in enumerate(codes):
            for b in codes[i + 1:]:
                common = sorted(set(complete[a].neighbours) & set(complete[b].neighbours))
                if len(common) == 1:
                    names = [complete[a].name, complete[b].name]
                    yield self._via("two-neighbours-country-capital", f"{the(names[0])} and {the(names[1])}", names,
                                    names, common[0], self._capital)

    def _is_sound(self, chain):
        return (all(len(self.documents[t].entities) <= MAX_GOLD_ENTITIES for t in chain.gold)
                and len(set(chain.gold)) == len(chain.gold)
                and not any(mentions(chain.start, _bare(title)) for title in chain.gold[chain.named:])
                and not mentions(chain.start, chain.answer))


def _bare(title):
    """"Swedish krona" and "Vanadium (element)" as a question would name them."""
    return title.split(" (")[0].removesuffix(" language").removesuffix(" time zone")


def _thin(chains):
    """Keeps kinds, countries and last documents from dominating; the choice looks random but is fixed."""
    of_kind, of_middle, of_last, kept = collections.Counter(), collections.Counter(), collections.Counter(), []
    for chain in sorted(chains, key=lambda c: (c.kind, shuffled(c.kind, c.start, *c.gold))):
        middle, last = (chain.kind, chain.gold[-2]), (chain.kind, chain.gold[-1])
        crowded = of_middle[middle] >= PER_COUNTRY or of_last[last] >= PER_LAST
        # There are few countries in which elements were found, and few elements.
        if (crowded and not chain.kind.startswith("element-")) or of_kind[chain.kind] >= PER_KIND.get(
                chain.kind, len(chains)):
            continue
        of_kind[chain.kind] += 1
        of_middle[middle] += 1
        of_last[last] += 1
        kept.append(chain)
    return kept


def shuffled(*parts):
    """A sort key that puts things into an order that is fixed but looks random."""
    return hashlib.sha256("|".join(parts).encode()).hexdigest()
