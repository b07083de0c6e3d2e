"""Decisions about the chemical elements: who found them, where, and what is left out.

The source's strings mix spellings ("Sir H. Davy", "Sir Humphrey Davy"), laboratories and, for some,
wrong years. Each kept discovery is respelt here; where credit or date is disputed, nothing is said.
Invariant: a person has one spelling.
"""

_DAVY, _BERZELIUS, _SCHEELE = "Humphry Davy", "Jöns Jacob Berzelius", "Carl Wilhelm Scheele"
_RAMSAY, _TRAVERS, _MOSANDER = "William Ramsay", "Morris Travers", "Carl Gustaf Mosander"
_KLAPROTH, _LECOQ, _MARIGNAC = "Martin Heinrich Klaproth", "Paul-Émile Lecoq de Boisbaudran", "Jean de Marignac"
_WOLLASTON, _TENNANT, _CLEVE = "William Hyde Wollaston", "Smithson Tennant", "Per Teodor Cleve"
_BUNSEN, _KIRCHHOFF, _WELSBACH = "Robert Bunsen", "Gustav Kirchhoff", "Carl Auer von Welsbach"
_SEABORG, _GHIORSO, _MCMILLAN = "Glenn Seaborg", "Albert Ghiorso", "Edwin McMillan"
_SEGRE, _VAUQUELIN = "Emilio Segrè", "Louis Nicolas Vauquelin"
_THOMPSON, _JAMES = "Stanley Thompson", "Ralph James"

DISCOVERERS = {
    "H": ["Henry Cavendish"], "Li": ["Johan August Arfwedson"], "N": ["Daniel Rutherford"],
    "B": [_DAVY, "Joseph Louis Gay-Lussac", "Louis Jacques Thénard"],
    "O": ["Joseph Priestley", _SCHEELE], "F": ["Henri Moissan"], "Ne": [_RAMSAY, _TRAVERS],
    "Na": [_DAVY], "Mg": [_DAVY], "K": [_DAVY], "Ca": [_DAVY], "Ba": [_DAVY],
    "Al": ["Hans Christian Ørsted"], "Si": [_BERZELIUS], "P": ["Hennig Brand"], "Cl": [_SCHEELE],
    "Ar": [_RAMSAY, "Lord Rayleigh"], "Sc": ["Lars Fredrik Nilson"], "Ti": ["William Gregor"],
    "V": ["Nils Gabriel Sefström"], "Cr": [_VAUQUELIN], "Mn": ["Johan Gottlieb Gahn"], "Co": ["Georg Brandt"],
    "Ni": ["Axel Fredrik Cronstedt"], "Ga": [_LECOQ], "Ge": ["Clemens Winkler"], "Se": [_BERZELIUS],
    "Br": ["Antoine Jérôme Balard"], "Kr": [_RAMSAY, _TRAVERS], "Rb": [_BUNSEN, _KIRCHHOFF],
    "Sr": ["Adair Crawford"], "Y": ["Johan Gadolin"], "Zr": [_KLAPROTH], "Nb": ["Charles Hatchett"],
    "Mo": [_SCHEELE], "Tc": ["Carlo Perrier", _SEGRE], "Ru": ["Karl Ernst Claus"], "Rh": [_WOLLASTON],
    "Pd": [_WOLLASTON], "Cd": ["Friedrich Stromeyer"], "In": ["Ferdinand Reich", "Hieronymus Theodor Richter"],
    "Te": ["Franz-Joseph Müller von Reichenstein"], "I": ["Bernard Courtois"], "Xe": [_RAMSAY, _TRAVERS],
    "Cs": [_BUNSEN, _KIRCHHOFF], "La": [_MOSANDER], "Ce": ["Wilhelm Hisinger", _BERZELIUS, _KLAPROTH],
    "Pr": [_WELSBACH], "Nd": [_WELSBACH], "Pm": ["Jacob Marinsky", "Lawrence Glendenin", "Charles Coryell"],
    "Sm": [_LECOQ], "Eu": ["Eugène-Anatole Demarçay"], "Gd": [_MARIGNAC], "Tb": [_MOSANDER], "Dy": [_LECOQ],
    "Ho": ["Jacques-Louis Soret"], "Er": [_MOSANDER], "Tm": [_CLEVE], "Yb": [_MARIGNAC],
    "Lu": ["Georges Urbain"], "Hf": ["Dirk Coster", "George de Hevesy"], "Ta": ["Anders Gustaf Ekeberg"],
    "W": ["Fausto Elhuyar", "Juan José Elhuyar"], "Re": ["Walter Noddack", "Ida Noddack", "Otto Berg"],
    "Os": [_TENNANT], "Ir": [_TENNANT, _VAUQUELIN, "Antoine-François Fourcroy",
                             "Hippolyte-Victor Collet-Descotils"],
    "Tl": ["William Crookes"], "Po": ["Pierre Curie", "Marie Curie"], "Ra": ["Pierre Curie", "Marie Curie"],
    "At": ["Dale Corson", "Kenneth MacKenzie", _SEGRE], "Rn": ["Friedrich Ernst Dorn"],
    "Fr": ["Marguerite Perey"], "Ac": ["André-Louis Debierne"], "Th": [_BERZELIUS], "U": [_KLAPROTH],
    "Pa": ["Frederick Soddy", "John Cranston", "Otto Hahn", "Lise Meitner"],
    "Np": [_MCMILLAN, "Philip Abelson"], "Pu": [_SEABORG, _MCMILLAN, "Joseph Kennedy", "Arthur Wahl"],
    "Am": [_SEABORG, _JAMES, "Leon Morgan", _GHIORSO], "Cm": [_SEABORG, _JAMES, _GHIORSO],
    "Bk": [_SEABORG, _THOMPSON, _GHIORSO], "Cf": [_SEABORG, _THOMPSON, _GHIORSO, "Kenneth Street"],
}

# Elements of which neither discoverer, place nor year is stated: {symbol: reason}.
NO_DISCOVERY = {
    "He": "first seen in the sun's light, persons and places mixed", "Be": "discovery and isolation mixed",
    "Pt": "known in South America before any date given", "No": "claim later credited elsewhere",
    "Lr": "credit shared later", "Rf": "credit disputed", "Db": "credit disputed", "Sg": "credit disputed",
    "Fl": "joint work of two countries", "Mc": "joint work of two countries",
    "Lv": "joint work of two countries", "Ts": "joint work of two countries",
    "Og": "joint work of two countries",
}

# The source's year is not the usual one, or depends on what counts as discovery.
NO_YEAR = {"Nd", "Co", "Mo", "Nh", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn"}

# The source's places in terms of today's countries; places that name two countries are left out.
PLACES = {
    "England": "GB", "Scotland": "GB", "Great Britain": "GB", "Sweden": "SE", "Germany": "DE", "France": "FR",
    "Denmark": "DK", "Finland": "FI", "Italy": "IT", "Russia": "RU", "Romania": "RO", "Austria": "AT",
    "United States": "US", "Switzerland": "CH", "Spain": "ES", "Japan": "JP",
}

# Elements whose name comes from that of a country or a capital of today, as the source explains it.
NAMED_AFTER_COUNTRY = {"Ga": "FR", "Ge": "DE", "Po": "PL", "Fr": "FR", "Ru": "RU", "Nh": "JP"}
NAMED_AFTER_CAPITAL = {"Lu": "FR", "Hf": "DK", "Ho": "SE"}

SERIES = {
    "Nonmetals": "nonmetals", "Noble gases": "noble gases", "Alkali metals": "alkali metals",
    "Alkaline earth metals": "alkaline earth metals", "Metalloids": "metalloids", "Halogens": "halogens",
    "Poor metals": "poor metals", "Transition metals": "transition metals", "Lanthanides": "lanthanides",
    "Actinides": "actinides",
}
