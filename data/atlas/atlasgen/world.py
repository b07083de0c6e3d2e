"""The facts: sources and curation joined into countries, airports, elements and the rest.

Invariant: two different things never share an entity name. Places of the same name are told apart
here; any other collision stops the generator. Not here: sentences and triples (prose.py).
"""

import collections
from dataclasses import dataclass, field

from . import curation as cur
from . import curation_elements as elements
from . import curation_places as places
from .names import entity


class CollisionError(Exception):
    """Two different things would have become one entity."""


class Registry:
    """Entity names in use: each belongs to one thing."""

    def __init__(self):
        self._owner = {}

    def claim(self, name, kind):
        """`name`, after making sure that its entity form belongs to nothing else."""
        key = entity(name)
        if not key:
            raise CollisionError(f"{kind} {name!r} has no letter or digit left as an entity")
        owner = self._owner.setdefault(key, (kind, name))
        if owner != (kind, name):
            raise CollisionError(f"{kind} {name!r} and {owner[0]} {owner[1]!r} are both {key!r}")
        return name


@dataclass
class Country:
    code: str
    name: str
    member: bool                     # of the United Nations: only these are asked for as "the country"
    region: str
    alpha3: str
    dialling: list
    capital: str = ""
    currencies: list = field(default_factory=list)   # currency codes
    languages: list = field(default_factory=list)    # language codes
    one_language: bool = False       # exactly one, and nothing shares its rank
    neighbours: list = field(default_factory=list)   # country codes
    zone: str = ""                   # where there is exactly one


@dataclass
class Airport:
    name: str
    iata: str
    town: str
    country: str
    feet: int | None


@dataclass
class Element:
    number: int
    name: str
    symbol: str
    series: str
    discoverers: list
    country: str
    year: int | None


class World:
    """All facts the data set states."""

    def __init__(self, sources):
        self.sources = sources
        self.registry = Registry()
        self.countries = self._countries()
        self._link_borders()
        self.airports = self._airports()
        self._tell_places_apart()
        self.elements = self._elements()
        used = {code for c in self.countries.values() for code in c.currencies}
        self.currencies = {code: _currency_name(sources, code) for code in sorted(used)}
        used = {code for c in self.countries.values() for code in c.languages}
        self.languages = {code: f"{_language_name(sources, code)} language" for code in sorted(used)}
        self.zones = sorted({c.zone for c in self.countries.values() if c.zone})
        self._claim_names()

    # ---- countries

    def _countries(self):
        src = self.sources
        region_of = {code: name for number, name in cur.REGIONS.items() for code in src.containment[number]}
        countries = {}
        for code, row in sorted(src.countries.items()):
            if code in cur.EXCLUDED or code not in region_of or not row["capital"] or code not in src.on_map:
                continue
            languages = [l for l in row["languages"] if (code, l) not in cur.NOT_LANGUAGES]
            currencies = [] if code in cur.NO_CURRENCY else [
                c for c in row["currency"] if c not in cur.FUND_CODES]
            zones = src.zones_of.get(code, [])
            capital = "" if code in cur.NO_CAPITAL else cur.CAPITAL_NAMES.get(code, row["capital"])
            countries[code] = Country(
                code=code, name=cur.COUNTRY_NAMES.get(code, row["name"]), member=code in src.un_members,
                region=region_of[code], alpha3=src.alpha3[code],
                dialling=[] if code in cur.NO_CALLING_CODE else row["phone"], capital=capital,
                currencies=currencies, languages=languages,
                one_language=len(languages) == 1 and code not in cur.MORE_LANGUAGES,
                zone=zones[0] if len(zones) == 1 and zones[0] in src.zones else "")
        return countries

    def _link_borders(self):
        for a, b in sorted(self.sources.borders - set(cur.NOT_BORDERS)):
            if a in self.countries and b in self.countries:
                self.countries[a].neighbours.append(b)
                self.countries[b].neighbours.append(a)
        for country in self.countries.values():
            country.neighbours.sort(key=lambda code: self.countries[code].name)

    # ---- airports and places

    def _airports(self):
        """Large airports with scheduled flights; medium ones where a country has few."""
        capitals = {c.code: entity(c.capital) for c in self.countries.values() if c.capital}
        chosen, names, count = [], set(), collections.Counter()

        def consider(row, wanted):
            country = self.countries.get(row["iso_country"])
            if (country is None or not country.member or row["scheduled_service"] != "yes"
                    or not row["iata_code"] or row["iata_code"] in places.EXCLUDED_AIRPORTS):
                return
            town = places.town(row["iata_code"], row["municipality"], country.code)
            if entity(town) == capitals.get(country.code):
                town = country.capital
            name = places.airport_name(row["name"])
            if not town or entity(name) in names or not wanted(row, town, country):
                return
            names.add(entity(name))
            count[country.code] += 1
            feet = int(row["elevation_ft"]) if row["elevation_ft"] else None
            chosen.append((Airport(name, row["iata_code"], town, country.code, feet), row["iso_region"]))

        def of_type(kind):
            return [row for row in self.sources.airports if row["type"] == kind]

        for row in of_type("large_airport"):
            consider(row, lambda *_: True)
        with_airport = {(a.country, a.town) for a, _ in chosen}
        for row in of_type("medium_airport"):
            consider(row, lambda row, town, c: town == c.capital and (c.code, town) not in with_airport)
        for row in of_type("medium_airport"):
            consider(row, lambda row, town, c: "International" in row["name"] and town != c.capital
                     and count[c.code] < 2 and "(" not in row["municipality"])
        self._region_of_airport = {a.iata: region for a, region in chosen}
        return sorted((a for a, _ in chosen), key=lambda a: a.iata)

    def _tell_places_apart(self):
        """Towns that share a name get their country's or region's name behind it."""
        for _ in range(2):
            owners = collections.defaultdict(set)
            for c in self.countries.values():
                owners[entity(c.name)].add(("country", c.code))
                if c.capital:
                    owners[entity(c.capital)].add(("town", c.code, c.capital))
            for a in self.airports:
                # The region keeps two towns of one country apart; a capital has none.
                capital = a.town == self.countries[a.country].capital
                region = "" if capital else self._region_of_airport[a.iata]
                owners[entity(a.town)].add(("town", a.country, a.town) if capital else
                                           ("town", a.country, a.town, region))
            for a in self.airports:
                if a.town == self.countries[a.country].capital or len(owners[entity(a.town)]) < 2:
                    continue
                region = self.sources.regions.get(self._region_of_airport[a.iata], "")
                same_country = {o[1] for o in owners[entity(a.town)]} == {a.country}
                a.town = f"{a.town} ({region if same_country and region else self.countries[a.country].name})"

    # ---- the rest

    def _elements(self):
        rows = []
        for row in self.sources.elements:
            silent = row.symbol in elements.NO_DISCOVERY
            country = "" if silent else elements.PLACES.get(row.place or "", "")
            people = [] if silent else elements.DISCOVERERS.get(row.symbol, [])
            year = None if silent or row.symbol in elements.NO_YEAR or not people else row.year
            rows.append(Element(row.number, row.name, row.symbol, elements.SERIES[row.series], people,
                                country if country in self.countries else "", year))
        return rows

    def scripts(self, language):
        """Names of the scripts a language is written in."""
        if language in cur.NO_SCRIPT:
            return []
        return [f"{cur.SCRIPTS[s]} script" for s in self.sources.scripts.get(language, []) if s in cur.SCRIPTS]

    def group(self, language):
        """Name of the group a language belongs to: the nearest one worth a name."""
        code = language
        while code in self.sources.language_group:
            code = self.sources.language_group[code]
            if code in cur.LANGUAGE_GROUPS:
                return f"{cur.LANGUAGE_GROUPS[code]} languages"
        return ""

    def _claim_names(self):
        claim = self.registry.claim
        for c in self.countries.values():
            claim(c.name, "country")
            claim(c.region, "region")
            if c.capital:
                claim(c.capital, "town")
        for a in self.airports:
            claim(a.name, "airport")
            claim(a.town, "town")
        for name in self.currencies.values():
            claim(name, "currency")
        for name in self.languages.values():
            claim(name, "language")
        for language in self.languages:
            for script in self.scripts(language):
                claim(script, "script")
            if self.group(language):
                claim(self.group(language), "language group")
        for e in self.elements:
            claim(e.name, "element")
            claim(e.series, "series")
            for person in e.discoverers:
                claim(person, "person")


def _language_name(sources, code):
    return cur.LANGUAGE_NAMES.get(code, sources.languages[code]["name"])


def _currency_name(sources, code):
    """"Swedish Krona" -> "Swedish krona"."""
    if code in cur.CURRENCY_NAMES:
        return cur.CURRENCY_NAMES[code]
    words = sources.currencies[code]["name"].replace(" & ", " and ").split()
    return " ".join(words[:-1] + [words[-1].lower()])
