"""Every decision a person made about the sources, with its reason.

Invariant: nothing here adds a fact that the sources lack, except spellings. A source's fact is
kept, respelt or left out. The rule for disputed matters: say nothing rather than take a side.
Discoverers of elements are in curation_elements.py, places of airports in curation_places.py.
"""

# ---- countries and territories -----------------------------------------------------------------

# Left out altogether: {code: reason}.
EXCLUDED = {
    "EH": "status disputed", "XK": "status disputed, no ISO code", "PS": "seat and extent disputed",
    "TW": "status disputed", "FK": "status disputed", "GI": "status disputed", "GS": "status disputed",
    "IO": "status disputed", "AQ": "no country", "BV": "uninhabited", "HM": "uninhabited",
    "TF": "no permanent population", "UM": "no permanent population", "SJ": "no seat of its own",
    "AC": "part of SH", "TA": "part of SH", "HK": "capital field is not a capital", "MO": "no capital",
    "NF": "capital shares its name with Jamaica's and nothing asks for it",
}

# Countries whose capital is not stated: {code: reason}.
NO_CAPITAL = {
    "BI": "political and economic capital", "BJ": "official capital and seat of government differ",
    "BO": "constitutional capital and seat of government differ", "CI": "official and de facto seat differ",
    "GQ": "moving", "ID": "moving", "IL": "disputed", "LK": "legislative and executive seats differ",
    "NR": "no official capital", "SZ": "executive and royal seats differ", "YE": "two seats in use",
    "ZA": "three capitals", "MC": "city-state", "SG": "city-state", "VA": "city-state",
    "MS": "seat abandoned after an eruption",
}

CAPITAL_NAMES = {
    "DJ": "Djibouti City", "LU": "Luxembourg City", "MN": "Ulaanbaatar", "PF": "Papeete",
    "US": "Washington, D.C.",
}

COUNTRY_NAMES = {
    "AX": "Åland", "BL": "Saint Barthélemy", "CW": "Curaçao", "RE": "Réunion", "ST": "São Tomé and Príncipe",
    # "Micronesia" alone is also a region of the UN's list.
    "FM": "Federated States of Micronesia",
}

# Sub-regions of the UN M49 standard as CLDR numbers them; names that would collide get "region".
REGIONS = {
    "155": "Western Europe", "151": "Eastern Europe", "154": "Northern Europe", "039": "Southern Europe",
    "015": "Northern Africa", "011": "Western Africa", "017": "Middle Africa", "014": "Eastern Africa",
    "018": "Southern Africa", "143": "Central Asia", "030": "Eastern Asia", "034": "Southern Asia",
    "035": "South-Eastern Asia", "145": "Western Asia", "013": "Central America", "029": "Caribbean",
    "005": "South America", "021": "Northern America", "053": "Australasia", "054": "Melanesia",
    "057": "Micronesia region", "061": "Polynesia",
}
CONTINENTS = {"150": "Europe", "002": "Africa", "142": "Asia", "019": "the Americas", "009": "Oceania"}

# Calling codes that are assigned but not in use: {country: reason}.
NO_CALLING_CODE = {"VA": "dialled through Italy"}

# ---- land borders --------------------------------------------------------------------------------

# Arcs of the map that are not borders of the two countries proper: {pair: reason}.
NOT_BORDERS = {
    ("BR", "FR"): "French Guiana", ("FR", "SR"): "French Guiana",
    ("CN", "PK"): "lies wholly in disputed Kashmir",
}

# Countries whose list of neighbours is not complete in the data or not agreed upon. What they do
# border is stated; no question relies on what they do not border.
INCOMPLETE_BORDERS = {
    "AF": "Kashmir", "CN": "Kashmir; Hong Kong and Macao left out", "IN": "Kashmir", "PK": "Kashmir",
    "AL": "Kosovo", "ME": "Kosovo", "MK": "Kosovo", "RS": "Kosovo",
    "DZ": "Western Sahara", "MA": "Western Sahara; Ceuta and Melilla", "MR": "Western Sahara",
    "ES": "Gibraltar; Ceuta and Melilla", "GB": "Gibraltar; bases on Cyprus", "CY": "divided; British bases",
    "EG": "Palestine", "IL": "Palestine", "JO": "Palestine", "DJ": "Somaliland", "ET": "Somaliland",
    "SO": "Somaliland", "BR": "French Guiana", "FR": "French Guiana; Saint Martin", "SR": "French Guiana",
    "BW": "Kazungula is below the map's scale", "ZM": "Kazungula is below the map's scale",
    "CA": "Hans Island", "DK": "Hans Island", "NL": "Saint Martin", "US": "Guantánamo Bay",
}

# ---- languages -----------------------------------------------------------------------------------

LANGUAGE_NAMES = {
    "dv": "Dhivehi", "ff": "Fula", "ht": "Haitian Creole", "km": "Khmer", "lo": "Lao", "rw": "Kinyarwanda",
    "sm": "Samoan", "so": "Somali", "st": "Sotho", "tl": "Filipino", "to": "Tongan",
}

# (country, language) pairs of the source that are wrong or out of date: {pair: reason}.
NOT_LANGUAGES = {
    ("AW", "pa"): "Punjabi stands for Papiamento", ("CW", "pa"): "Punjabi stands for Papiamento",
    ("AM", "ru"): "no official status", ("TM", "ru"): "no official status", ("UZ", "ru"): "no official status",
    ("CY", "hy"): "minority language", ("FJ", "ur"): "Fiji Hindi counted twice", ("GU", "es"): "no official status",
    ("NO", "nb"): "form of Norwegian", ("NO", "nn"): "form of Norwegian",
    ("BF", "fr"): "working language since 2024", ("ML", "fr"): "working language since 2023",
    ("NE", "fr"): "working language since 2025",
}

# Countries whose source lists one language while others share its rank: no question calls that
# one "the" language. The documents say "include", so they stay true.
MORE_LANGUAGES = {
    "DZ": "Tamazight", "ET": "four more since 2020", "KI": "Gilbertese", "MA": "Tamazight",
    "MK": "Albanian", "PE": "Quechua, Aymara", "PG": "Tok Pisin, Hiri Motu", "PW": "Palauan", "TL": "Tetum",
    "TV": "Tuvaluan", "VE": "indigenous languages", "BF": "national languages", "ML": "national languages",
    "NE": "Hausa", "FM": "state languages", "AW": "Papiamento", "CW": "Papiamento", "SB": "Pijin in use",
    "DM": "Creole in use", "CO": "regional co-official languages", "NI": "regional co-official languages",
    "MX": "national languages", "DK": "Faroese, Greenlandic in the kingdom", "GB": "Welsh in Wales",
    "SN": "national languages", "IT": "regional co-official languages", "RU": "languages of the republics",
    "CN": "languages of the autonomous regions", "SR": "Sranan in use", "MM": "state languages",
}

# Groups of CLDR that say something to a reader; the rest is left out.
LANGUAGE_GROUPS = {
    "roa": "Romance", "itc": "Italic", "gmw": "West Germanic", "gmq": "North Germanic", "bat": "Baltic",
    "cel": "Celtic", "zle": "East Slavic", "zlw": "West Slavic", "zls": "South Slavic", "sla": "Slavic",
    "grk": "Hellenic", "inc": "Indo-Aryan", "ira": "Iranian", "sem": "Semitic", "cus": "Cushitic",
    "bnt": "Bantu", "trk": "Turkic", "xgn": "Mongolic", "fiu": "Finno-Ugric", "ccs": "South Caucasian",
    "jpx": "Japonic", "dra": "Dravidian", "tai": "Tai", "mkh": "Mon-Khmer", "sit": "Sino-Tibetan",
    "tbq": "Tibeto-Burman", "zhx": "Sinitic", "poz": "Malayo-Polynesian", "pqe": "Oceanic",
    "pqw": "Western Malayo-Polynesian", "tup": "Tupian", "qwe": "Quechuan", "esx": "Eskimo-Aleut",
    "cpf": "French-based creole", "alv": "Atlantic-Congo",
}

# Names of ISO 15924 codes.
SCRIPTS = {
    "Arab": "Arabic", "Armn": "Armenian", "Beng": "Bengali", "Cyrl": "Cyrillic", "Deva": "Devanagari",
    "Ethi": "Ethiopic", "Geor": "Georgian", "Grek": "Greek", "Hans": "simplified Chinese", "Hebr": "Hebrew",
    "Jpan": "Japanese", "Khmr": "Khmer", "Kore": "Korean", "Laoo": "Lao", "Latn": "Latin", "Mymr": "Burmese",
    "Sinh": "Sinhala", "Taml": "Tamil", "Thaa": "Thaana", "Thai": "Thai", "Tibt": "Tibetan",
}
# Languages whose script depends on the country: no script is stated.
NO_SCRIPT = {"ku": "Arabic letters in Iraq, Latin in Turkey"}

# ---- money ---------------------------------------------------------------------------------------

# Codes of ISO 4217 that are no money people pay with.
FUND_CODES = {"BOV", "CHE", "CHW", "CLF", "USN", "UYI", "SVC"}

# Countries without a stated currency.
NO_CURRENCY = {"ZW": "several currencies in use, changing"}

CURRENCY_NAMES = {
    "BAM": "Bosnia-Herzegovina convertible mark", "ILS": "Israeli new shekel", "EUR": "Euro",
    "SHP": "Saint Helena pound", "STN": "São Tomé and Príncipe dobra", "TOP": "Tongan paanga",
    "TTD": "Trinidad and Tobago dollar", "XCG": "Caribbean guilder", "BTN": "Bhutanese ngultrum",
}
