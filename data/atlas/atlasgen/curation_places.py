"""Decisions about airports: towns respelt, names tidied, what is left out.

Invariant: a town that is a country's capital is spelt as the capital is.
"""

import re

# Left out: {IATA code: reason}.
EXCLUDED_AIRPORTS = {
    "BSL": "lies in one country and serves two", "ISL": "closed to passengers", "DHA": "military",
    "IEV": "closed", "CRL": "town given is not where it lies", "YAO": "military",
    "HGA": "in Somaliland", "MPW": "closed, occupied", "ROS": "its name takes a side in a dispute",
    "PNI": "town given is an island", "KSA": "town given is a landing place", "HFA": "no regular flights",
}

# The town an airport serves, where the source gives a district, an island, an old or a local name.
TOWNS = {
    "ACE": "Arrecife", "ANU": "Saint John's", "ASU": "Asunción", "BEN": "Benghazi", "BOD": "Bordeaux",
    "BOG": "Bogotá", "BRU": "Brussels", "CEB": "Cebu", "CGN": "Cologne", "CKG": "Chongqing", "CTS": "Sapporo",
    "CVG": "Cincinnati", "DCA": "Washington, D.C.", "DFW": "Dallas", "DJJ": "Jayapura", "DLC": "Dalian",
    "DMM": "Dammam", "EBL": "Erbil", "FEZ": "Fes", "FUE": "Puerto del Rosario", "GDL": "Guadalajara",
    "GIG": "Rio de Janeiro", "GLA": "Glasgow", "GND": "St. George's", "GRU": "São Paulo", "HEA": "Herat",
    "IAD": "Washington, D.C.", "IBZ": "Ibiza", "ISB": "Islamabad", "IST": "Istanbul", "JIB": "Djibouti City",
    "KBP": "Kyiv", "KDH": "Kandahar", "KEF": "Reykjavik", "KQT": "Bokhtar", "KUL": "Kuala Lumpur", "KUT": "Kutaisi",
    "LPA": "Las Palmas", "LUX": "Luxembourg City", "MAJ": "Majuro", "MEX": "Mexico City", "MRU": "Port Louis",
    "MTY": "Monterrey", "MVD": "Montevideo", "MWX": "Muan", "MZI": "Mopti", "MZT": "Mazatlán", "NAP": "Naples",
    "NGO": "Nagoya", "NLU": "Mexico City", "NQZ": "Astana", "NYT": "Naypyidaw", "OCJ": "Ocho Rios",
    "PBM": "Paramaribo", "PTY": "Panama City", "PVD": "Providence", "RDU": "Raleigh", "SAL": "San Salvador",
    "SAW": "Istanbul", "SDJ": "Sendai", "SEZ": "Victoria", "SHE": "Shenyang", "SHO": "Manzini", "SIN": "Changi",
    "SJD": "Los Cabos", "SUV": "Suva", "TAO": "Qingdao", "TBU": "Nuku'alofa", "TFS": "Granadilla de Abona",
    "TLS": "Toulouse", "TRN": "Turin", "UBN": "Ulaanbaatar", "UPG": "Makassar", "VRN": "Verona",
    "VVI": "Santa Cruz de la Sierra", "VVO": "Vladivostok", "XIY": "Xi'an",
}


def town(iata, municipality, country):
    """The town of an airport, or "" where the source names none."""
    if iata in TOWNS:
        return TOWNS[iata]
    name = re.sub(r"\s*\(.*?\)", "", municipality).strip()
    name = name.split("/")[0].split(",")[0].strip()
    if country == "MX":
        name = re.sub(r"^Ciudad de ", "", name)
    return re.sub(r"\s+", " ", name)


def airport_name(name):
    """The name without second names, ranks cut short and doubled words."""
    name = re.sub(r"\s*\(.*?\)", "", name)
    if " / " in name:
        first = name.split(" / ")[0]
        name = first if "Airport" in first else name.replace(" / ", " ")
    spanish = re.match(r"Aeropuerto Internacional (?:de |del |Del )?(.*)$", name)
    if spanish:
        name = f"{spanish[1]} International Airport"
    name = re.sub(r"^Gral[.,] ", "General ", name)
    name = re.sub(r"^(?:Lic|Dr)\. ", "", name)
    name = name.replace("International International", "International")
    return re.sub(r"\s+", " ", name).strip()
