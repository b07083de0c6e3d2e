"""Names: how a name becomes an entity, and how it reads in a sentence.

Invariant: `entity` yields only `[a-z0-9 ]`, never an empty string for a name that has a letter
or digit in any European alphabet, so a name can never break the `head,relation,tail` format.
Not here: which names are used (world.py) and what is said about them (prose.py).
"""

import re
import unicodedata

# Letters that Unicode does not decompose into a base letter and an accent.
_UNDECOMPOSED = str.maketrans({
    "ø": "o", "Ø": "O", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ß": "ss", "ł": "l", "Ł": "L",
    "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i", "ə": "e", "Ə": "E",
})

# Names that take "the" in a sentence.
_WITH_ARTICLE = {
    "Bahamas", "British Virgin Islands", "Caribbean", "Cayman Islands", "Central African Republic", "Comoros",
    "Cook Islands", "Democratic Republic of the Congo", "Dominican Republic", "Faroe Islands",
    "Federated States of Micronesia", "Gambia", "Isle of Man", "Maldives", "Marshall Islands", "Netherlands",
    "Northern Mariana Islands", "Philippines", "Pitcairn Islands", "Republic of the Congo", "Seychelles",
    "Solomon Islands", "Turks and Caicos Islands", "U.S. Virgin Islands", "United Arab Emirates",
    "United Kingdom", "United States", "Micronesia region",
}


def ascii_letters(text):
    """`text` with accents and special letters replaced by plain ones."""
    decomposed = unicodedata.normalize("NFKD", text.translate(_UNDECOMPOSED))
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def entity(name):
    """The stage-1 form: lower case, everything but letters, digits and spaces a space, ends trimmed.

    Inner runs of spaces stay, as in the training guide's own example.
    """
    return re.sub(r"[^a-z0-9 ]", " ", ascii_letters(name).lower()).strip()


def the(name, capital=False):
    """`name` with its article where English wants one."""
    if name not in _WITH_ARTICLE:
        return name
    return ("The " if capital else "the ") + name


def reads_as_plural(name):
    """Whether the name of a country takes a plural verb: groups of islands do."""
    return name in _WITH_ARTICLE and (name.endswith("Islands") or name in {
        "Bahamas", "Comoros", "Maldives", "Philippines", "Seychelles"})


def series(items):
    """["a", "b", "c"] -> "a, b and c"."""
    items = list(items)
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]


def plural(items, one, many):
    return one if len(items) == 1 else many


def mentions(text, name):
    """Whether `text` names `name` as whole words, accents and case aside."""
    words = " ".join(entity(text).split())
    wanted = " ".join(entity(name).split())
    return bool(wanted) and f" {wanted} " in f" {words} "
