"""English verbs in the forms that the grammar needs."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

Form = Literal["base", "s", "past", "participle", "ing"]

IRREGULAR = {
    "be": ("is", "was", "been", "being"),
    "beat": ("beats", "beat", "beaten", "beating"),
    "become": ("becomes", "became", "become", "becoming"),
    "bend": ("bends", "bent", "bent", "bending"),
    "bite": ("bites", "bit", "bitten", "biting"),
    "blow": ("blows", "blew", "blown", "blowing"),
    "break": ("breaks", "broke", "broken", "breaking"),
    "bring": ("brings", "brought", "brought", "bringing"),
    "burst": ("bursts", "burst", "burst", "bursting"),
    "come": ("comes", "came", "come", "coming"),
    "creep": ("creeps", "crept", "crept", "creeping"),
    "do": ("does", "did", "done", "doing"),
    "draw": ("draws", "drew", "drawn", "drawing"),
    "drive": ("drives", "drove", "driven", "driving"),
    "fall": ("falls", "fell", "fallen", "falling"),
    "fly": ("flies", "flew", "flown", "flying"),
    "get": ("gets", "got", "got", "getting"),
    "give": ("gives", "gave", "given", "giving"),
    "go": ("goes", "went", "gone", "going"),
    "grow": ("grows", "grew", "grown", "growing"),
    "hang": ("hangs", "hung", "hung", "hanging"),
    "have": ("has", "had", "had", "having"),
    "hold": ("holds", "held", "held", "holding"),
    "keep": ("keeps", "kept", "kept", "keeping"),
    "knit": ("knits", "knitted", "knitted", "knitting"),
    "let": ("lets", "let", "let", "letting"),
    "lie": ("lies", "lay", "lain", "lying"),
    "lose": ("loses", "lost", "lost", "losing"),
    "make": ("makes", "made", "made", "making"),
    "meet": ("meets", "met", "met", "meeting"),
    "put": ("puts", "put", "put", "putting"),
    "rise": ("rises", "rose", "risen", "rising"),
    "shake": ("shakes", "shook", "shaken", "shaking"),
    "shoot": ("shoots", "shot", "shot", "shooting"),
    "show": ("shows", "showed", "shown", "showing"),
    "shrink": ("shrinks", "shrank", "shrunk", "shrinking"),
    "shut": ("shuts", "shut", "shut", "shutting"),
    "sink": ("sinks", "sank", "sunk", "sinking"),
    "slide": ("slides", "slid", "slid", "sliding"),
    "spread": ("spreads", "spread", "spread", "spreading"),
    "stand": ("stands", "stood", "stood", "standing"),
    "stick": ("sticks", "stuck", "stuck", "sticking"),
    "sweep": ("sweeps", "swept", "swept", "sweeping"),
    "take": ("takes", "took", "taken", "taking"),
    "throw": ("throws", "threw", "thrown", "throwing"),
    "thrust": ("thrusts", "thrust", "thrust", "thrusting"),
}
"""Third person, past, participle and -ing form of a base form."""

DOUBLED = frozenset(
    [
        "drop",
        "drag",
        "sag",
        "dip",
        "tug",
        "nip",
        "pop",
        "knot",
        "tip",
        "jut",
        "grin",
        "thin",
        "slip",
        "jab",
        "zip",
        "shrug",
        "nod",
        "pat",
        "hug",
        "chat",
        "cup",
    ]
)
"""Verbs that double their last consonant; there are more, which the lexicon does not use."""


@lru_cache(maxsize=4096)
def inflect(phrase: str, form: Form) -> str:
    """Return a verb phrase such as ``pull up`` with its first word in the form asked for."""
    verb, _, rest = phrase.partition(" ")
    return f"{_word(verb, form)} {rest}".rstrip()


def _word(verb: str, form: Form) -> str:
    if form == "base":
        return verb
    if verb in IRREGULAR:
        return IRREGULAR[verb][("s", "past", "participle", "ing").index(form)]
    if form == "s":
        if verb.endswith(("s", "sh", "ch", "x", "z")):
            return verb + "es"
        return verb[:-1] + "ies" if _consonant_y(verb) else verb + "s"
    stem = verb + verb[-1] if verb in DOUBLED else verb
    if form == "ing":
        return (verb[:-1] if verb.endswith("e") and not verb.endswith("ee") else stem) + "ing"
    if verb.endswith("e"):
        return verb + "d"
    return verb[:-1] + "ied" if _consonant_y(verb) else stem + "ed"


def _consonant_y(verb: str) -> bool:
    return verb.endswith("y") and verb[-2] not in "aeiou"


def be(plural: bool, past: bool) -> str:
    """Return the form of *to be* for a third person."""
    if past:
        return "were" if plural else "was"
    return "are" if plural else "is"


def bare(noun: str) -> str:
    """Return a noun phrase without its article."""
    first, _, rest = noun.partition(" ")
    return rest if first in {"a", "an", "the"} and rest else noun


def with_article(phrase: str) -> str:
    """Return a noun phrase with *a* or *an*."""
    return ("an " if phrase[:1] in "aeiou" else "a ") + phrase
