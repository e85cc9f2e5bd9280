"""Single facts in words: an AU, or AUs named together, as a noun, a clause, a verb or a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal, TypedDict

from aubench.networks.textau.grammar.inflection import bare, be, inflect, with_article
from aubench.networks.textau.grammar.lexicon import Lexicon

Side = Literal["", "left", "right"]

NUMBERS = {
    1: "one",
    2: "two",
    4: "four",
    6: "six",
    7: "seven",
    10: "ten",
    12: "twelve",
    14: "fourteen",
    15: "fifteen",
    17: "seventeen",
    23: "twenty-three",
    24: "twenty-four",
}
SINGULAR = ("brow", "eyebrow", "triangle", "lip", "chin", "boss", "prominence", "mouth", "area")
MASS = ("skin", "flesh", "red", "pad", "centre", "middle", "tail", "end", "top", "half")


@dataclass(frozen=True)
class Fact:
    """AUs that one expression names, with the side and the FACS level that it tells.

    Attributes:
        aus: One AU, or those of a table ``together``.
        side: Empty where none is told.
        level: 1 to 5 for A to E, 0 where none is told.
    """

    aus: tuple[int, ...]
    side: Side = ""
    level: int = 0

    @property
    def key(self) -> str:
        """Where the lexicon has its words."""
        joined = "+".join(map(str, self.aus))
        return f"aus.{joined}" if len(self.aus) == 1 else f"together.{joined}"


@dataclass(frozen=True)
class Person:
    """Who makes a face: the noun, the possessive, and the reflexive's first part."""

    noun: str
    possessive: str
    plural: bool = False


class Adverbs(TypedDict):
    """Adverbs of a clause: before the verb, and after it."""

    early: str
    adverb: str


@dataclass(frozen=True)
class Clause:
    """A subject and a verb phrase, not yet in a tense.

    Attributes:
        subject: Noun phrase.
        plural: Number of the subject.
        verb: Base form and its particles.
        passive: Whether the verb's participle stands with *be*.
        adverb: After the verb.
        early: Adverb before the verb.
    """

    subject: str
    plural: bool
    verb: str
    passive: bool = False
    adverb: str = ""
    early: str = ""

    def say(self, rng: Random, negative: bool = False) -> str:
        """Return the clause in a random tense."""
        negated = self.verb.startswith("not ")
        verb = self.verb[4:] if negated else self.verb
        tense = rng.choice(("now", "now", "now", "past", "past", "ing", "perfect"))
        words = _verb(verb, self.plural, self.passive, tense, negative != negated, self.early, rng)
        return " ".join(part for part in (self.subject, words, self.adverb) if part)


def _verb(
    verb: str, plural: bool, passive: bool, tense: str, negative: bool, early: str, rng: Random
) -> str:
    """Return a conjugated verb."""
    no = rng.choice(("not", "not", "not", "never", "not at all")) if negative else ""
    past = tense == "past"
    before = [word for word in (no, early) if word]
    if passive or verb.startswith("be "):
        main = inflect(verb, "participle") if passive else verb[3:]
        if tense == "perfect":
            have = "have" if plural else "has"
            return " ".join([have, *before, "been", main])
        return _contract(be(plural, past), before, main, rng)
    if tense == "ing":
        return _contract(be(plural, rng.random() < 0.3), before, inflect(verb, "ing"), rng)
    if tense == "perfect":
        return " ".join(["have" if plural else "has", *before, inflect(verb, "participle")])
    if no in {"not", "not at all"}:
        aid = "did" if past else "do" if plural else "does"
        return _contract(aid, before, verb, rng)
    return " ".join([*before, inflect(verb, "past" if past else "base" if plural else "s")])


def _contract(aid: str, before: list[str], main: str, rng: Random) -> str:
    if before and before[0] == "not" and rng.random() < 0.4:
        return " ".join([f"{aid}n't", *before[1:], main])
    return " ".join([aid, *before, main])


class Wording:
    """Puts facts into words with one lexicon and one source of chance."""

    def __init__(self, lexicon: Lexicon, rng: Random) -> None:
        self.lexicon: Lexicon = lexicon
        self.rng: Random = rng
        self.person: Person = self._person()

    def chance(self, share: float) -> bool:
        """Return True in a share of the calls."""
        return self.rng.random() < share

    def _person(self) -> Person:
        rng, lexicon = self.rng, self.lexicon
        kind = rng.randrange(6)
        poss = rng.choice(("his", "her"))
        if kind == 0:
            return Person("he" if poss == "his" else "she", poss)
        if kind == 1:
            return Person(
                "the " + lexicon.pick("words.subject", rng), rng.choice((poss, "the", "their"))
            )
        if kind == 2:
            return Person(lexicon.pick("words.name", rng), poss)
        if kind == 3:
            return Person(
                rng.choice(("they", "the participants", "we", "I", "you", "people")),
                rng.choice(("their", "the")),
                True,
            )
        noun = lexicon.pick("words.person", rng)
        if self.chance(0.6):
            noun = f"{lexicon.pick('words.adjective', rng)} {noun}"
        return Person(rng.choice((f"the {noun}", with_article(noun), with_article(noun))), poss)

    # --- noun phrases -----------------------------------------------------------------------

    def noun(self, fact: Fact) -> str:
        """Return a noun phrase: a code, a name, a muscle's action, a movement, a result."""
        pairs: list[tuple[float, Callable[[Fact], str]]] = [(1.2, self._result)]
        key, has = fact.key, self.lexicon.has
        if len(fact.aus) == 1:
            pairs += [(0.7, self.code), (1, self.name), (0.9, self._everyday)]
            pairs += [(0.3, self.code_and_name), (1.0, self._participle_noun)]
        if has(f"{key}.muscles"):
            pairs.append((0.9, self._muscle_noun))
        if has(f"{key}.moves"):
            pairs.append((0.9, self._movement_noun))
        make = self.rng.choices([m for _, m in pairs], [w for w, _ in pairs])[0]
        return make(fact)

    def code(self, fact: Fact) -> str:
        """Return an AU's code, with side and level where they are told."""
        rng = self.rng
        au, letter = fact.aus[0], "ABCDE"[fact.level - 1] if fact.level else ""
        side = {"": "", "left": "L", "right": "R"}[fact.side]
        unit = rng.choice(self.lexicon.items("words.unit"))
        if self.chance(0.15):
            text = f"{unit.strip()} {NUMBERS[au]}"
            return self._graded(self._sided(text, fact), fact)
        if side and self.chance(0.5):
            text = rng.choice((f"{unit}{side}{au}", f"{side}{au}", f"{unit}{au}{side}"))
        else:
            text = self._sided(f"{unit}{au}", fact)
            side = ""
        if letter and (self.chance(0.5) and (side or not fact.side)):
            return text + rng.choice((letter, letter, letter.lower()))
        return self._graded(text, fact)

    def _graded(self, noun: str, fact: Fact) -> str:
        """Return a noun phrase with the level behind it, if there is one."""
        if not fact.level:
            return noun
        letter, number = "ABCDE"[fact.level - 1], fact.level
        if self.chance(0.3):
            word = ("trace", "slight", "marked", "severe", "maximum")[number - 1]
            return noun + self.rng.choice(
                (f" ({word})", f", {word}", f" at {word} intensity", f", {word} ({letter})")
            )
        return noun + self.rng.choice(
            (
                f" at intensity {letter}",
                f" at level {letter}",
                f" ({letter})",
                f", level {letter}",
                f" of intensity {letter}",
                f" with intensity {number}",
                f" {letter}",
                f" at {letter}",
                f", intensity {letter}",
                f" {number}/5",
                f" at intensity {number}",
                f" int. {letter}",
                f" of {letter} intensity",
                f" graded {letter}",
                f" scored {letter}",
            )
        )

    def _sided(self, noun: str, fact: Fact) -> str:
        """Return a noun phrase with the side in it, if there is one."""
        if not fact.side:
            if self.chance(0.04):
                return noun + self.rng.choice(
                    (" on both sides", " bilaterally", ", bilateral", " left and right")
                )
            return noun
        s = fact.side
        plain = bare(noun)
        return self.rng.choice(
            (
                f"{s} {plain}",
                f"{noun} on the {s}",
                f"{noun} ({s})",
                f"unilateral {plain} on the {s}",
                f"{noun} on the {s} side",
                f"{s}-sided {plain}",
                f"{noun} on the {s} only",
                f"{noun}, {s} side",
                f"one-sided {plain} on the {s}",
                f"{noun} at the {s}",
                f"{noun} limited to the {s}",
                f"asymmetric {plain}, {s}",
                f"{noun} {s}",
            )
        )

    def _adjective(self, noun: str, fact: Fact) -> str:
        """Return a noun phrase that tells its level before the noun."""
        if not fact.level:
            return noun
        if self.chance(0.3):
            return f"{self.lexicon.pick(f'levels.nouns{fact.level}', self.rng)} {bare(noun)}"
        if self.chance(0.2):
            return self._graded(noun, fact)
        word = self.lexicon.pick(f"levels.adjectives{fact.level}", self.rng)
        return with_article(f"{word} {bare(noun)}") if noun != bare(noun) else f"{word} {noun}"

    def name(self, fact: Fact) -> str:
        """Return an AU's name in FACS or a variant of it."""
        name = self._sided(self.lexicon.pick(f"{fact.key}.names", self.rng), fact)
        if self.chance(0.15):
            name = name.title()
        name = self._adjective(name, fact) if self.chance(0.5) else self._graded(name, fact)
        return f"the {name}" if self.chance(0.25) and not fact.level else name

    def code_and_name(self, fact: Fact) -> str:
        """Return an AU's code and its name, one after the other."""
        plain = Fact(fact.aus)
        code, name = self.code(plain), self.lexicon.pick(f"{fact.key}.names", self.rng)
        both = self.rng.choice(
            (
                f"{code} ({name})",
                f"{name} ({code})",
                f"{code}, {name}",
                f"{name}, {code}",
                f"{name} ({fact.aus[0]})",
                f"{code}: {name}",
            )
        )
        return self._graded(self._sided(both, fact), fact)

    def _result(self, fact: Fact) -> str:
        return self._adjective(
            self._sided(self.lexicon.pick(f"{fact.key}.results", self.rng), fact), fact
        )

    def _everyday(self, fact: Fact) -> str:
        noun = self.lexicon.pick(f"{fact.key}.everyday", self.rng)
        return self._sided(self._adjective(noun, fact), fact)

    def muscle(self, fact: Fact) -> str:
        """Return the name of a muscle, with its side."""
        muscle = self.lexicon.pick(f"{fact.key}.muscles", self.rng)
        if fact.side:
            return self.rng.choice(
                (
                    f"{fact.side} {muscle}",
                    f"{muscle} on the {fact.side}",
                    f"{fact.side}-sided {muscle}",
                )
            )
        return muscle

    def _muscle_noun(self, fact: Fact) -> str:
        muscle, pick = self.muscle(fact), self.lexicon.pick
        if muscle.endswith(("ing", "pressing", "lips", "mouth")) and fact.aus[0] in {23, 24}:
            return self._graded(muscle, fact)
        if self.chance(0.15):
            return self._graded(
                self.rng.choice(
                    (f"{muscle} activity", f"{muscle} contraction", f"{muscle} action", f"{muscle}")
                ),
                fact,
            )
        the = "the " if self.chance(0.5) else ""
        return self._adjective(f"{pick('nominal.muscle', self.rng)} {the}{muscle}", fact)

    def _move(self, fact: Fact) -> str:
        """Return the kind of movement; brows that rise are not lowered besides."""
        move = self.rng.choice(self.lexicon.items(f"{fact.key}.moves"))
        return "together" if move == "downtogether" and self.no_lowering else move

    no_lowering: bool = False
    """Whether the brow is raised elsewhere in the text, so that AU4 only draws it together."""

    def parts(self, fact: Fact) -> tuple[str, bool]:
        """Return what moves, with a determiner, and whether it is plural."""
        if fact.side:
            part = self.lexicon.pick(f"{fact.key}.part", self.rng)
            text = part.replace("SIDE", fact.side)
            plural = text.startswith(("lips", "lids"))
        else:
            text = self.lexicon.pick(f"{fact.key}.parts", self.rng)
            plural = _plural(text)
        if text.startswith(("both", "two")):
            return text.replace("two ", "both ", 1) if self.chance(0.5) else text, plural
        article = self.rng.choice(("the", "the", "the", self.person.possessive, ""))
        return f"{article} {text}".strip(), plural

    def _movement_noun(self, fact: Fact) -> str:
        part, _ = self.parts(fact)
        move = self._move(fact)
        return self._adjective(f"{self.lexicon.pick(f'nominal.{move}', self.rng)} {part}", fact)

    def _participle_noun(self, fact: Fact) -> str:
        """Return *raised inner brows*, *lip corners pulled up*."""
        part, plural = self.parts(fact)
        verb = inflect(self.transitive(fact), "participle")
        adverb = self._adverb(fact)
        plain = bare(part)
        if " " not in verb and self.chance(0.5):
            words = " ".join(w for w in (adverb if self.chance(0.7) else "", verb, plain) if w)
            told = adverb and words.startswith(adverb)
            text = words if told or not adverb else f"{words}, {adverb}"
            return text if plural else with_article(text)
        behind = " ".join(w for w in (part, verb, adverb) if w)
        before = " ".join(w for w in (part, adverb, verb) if w)
        return before if adverb and self.chance(0.5) else behind

    def transitive(self, fact: Fact) -> str:
        """Return a verb that takes what moves as its object."""
        move = self._move(fact)
        return self.lexicon.pick(f"verbs.{move}_transitive", self.rng)

    def _adverb(self, fact: Fact) -> str:
        if fact.level:
            return self.lexicon.pick(f"levels.adverbs{fact.level}", self.rng)
        return ""

    # --- clauses ----------------------------------------------------------------------------

    def clause(self, fact: Fact) -> Clause:
        """Return a clause whose subject is what moves, what acts, or what is seen."""
        key, has = fact.key, self.lexicon.has
        kinds: list[tuple[float, Callable[[Fact], Clause]]] = [(0.8, self._held)]
        if has(f"{key}.moves"):
            kinds += [(1.3, self._passive), (1.3, self._intransitive)]
            if has(f"{key}.muscles"):
                kinds += [(0.5, self._muscle_moves)]
        if has(f"{key}.muscles"):
            kinds.append((0.9, self._muscle_acts))
        if has(f"{key}.does") and not fact.side:
            kinds.append((0.8, self._person_does))
        if has(f"{key}.moves"):
            kinds.append((0.5, self._person_moves))
        if has(f"{key}.says") and not fact.side:
            kinds.append((2.0, self._says))
        if has(f"{key}.everyday"):
            kinds.append((0.4, self._appears))
        if fact.aus == (7,) and not fact.side:
            kinds.append((1.2, self._eyes))
        if fact.aus == (17,) and not fact.side:
            kinds.append((1.2, self._lower_lip))
        make = self.rng.choices([m for _, m in kinds], [w for w, _ in kinds])[0]
        return make(fact)

    def _adverbs(self, fact: Fact) -> Adverbs:
        word = self._adverb(fact)
        if not word and self.chance(0.08):
            word = self.lexicon.pick("levels.plain", self.rng)
        early = self.chance(0.4)
        return {"early": word if early else "", "adverb": "" if early else word}

    def _held(self, fact: Fact) -> Clause:
        noun = self.noun(fact)
        return Clause(noun, _plural(noun), self.lexicon.pick("verbs.hold", self.rng))

    def _says(self, fact: Fact) -> Clause:
        text = self.lexicon.pick(f"{fact.key}.says", self.rng)
        person = self.person.possessive if self.chance(0.7) else "the"
        subject, verb = (part.strip() for part in text.replace("POSS", person).split("|"))
        if subject.startswith("the ") and self.chance(0.3):
            subject = f"{self.person.possessive} {subject[4:]}"
        return Clause(subject, _plural(subject), verb, **self._adverbs(fact))

    def _appears(self, fact: Fact) -> Clause:
        noun = self._everyday(fact)
        verb = self.lexicon.pick("verbs.appear", self.rng).replace("POSS", self.person.possessive)
        return Clause(noun, _plural(noun), verb)

    def _passive(self, fact: Fact) -> Clause:
        part, plural = self.parts(fact)
        verb = self.transitive(fact)
        extra = self._adverbs(fact)
        if (
            self.lexicon.has(f"{fact.key}.muscles")
            and self.chance(0.12)
            and len(fact.aus) == 1
            and fact.aus[0] < 23
        ):
            extra["adverb"] = (extra["adverb"] + f" by the {self.muscle(fact)}").strip()
        return Clause(part, plural, verb, passive=True, **extra)

    def _intransitive(self, fact: Fact) -> Clause:
        part, plural = self.parts(fact)
        move = self._move(fact)
        if move == "downtogether":
            move = self.rng.choice(("down", "together", "together"))
        verb = self.lexicon.pick(f"verbs.{move}_intransitive", self.rng)
        return Clause(part, plural, verb, **self._adverbs(fact))

    def _muscle_moves(self, fact: Fact) -> Clause:
        if fact.aus[0] in {23, 24}:
            return self._passive(fact)
        part, _ = self.parts(fact)
        verb, _, rest = self.transitive(fact).partition(" ")
        return Clause(
            f"the {self.muscle(fact)}",
            False,
            f"{verb} {part} {rest}".strip(),
            **self._adverbs(fact),
        )

    def _muscle_acts(self, fact: Fact) -> Clause:
        muscle = self.muscle(fact)
        the = "the " if self.chance(0.5) else ""
        verb = "be seen" if fact.aus[0] in {23, 24} else self.lexicon.pick("verbs.act", self.rng)
        return Clause(
            f"{the}{muscle}",
            muscle.endswith(("ors", "and procerus", "frontalis and")),
            verb,
            **self._adverbs(fact),
        )

    def _person_does(self, fact: Fact) -> Clause:
        return Clause(self.person.noun, self.person.plural, self.does(fact), **self._adverbs(fact))

    def _person_moves(self, fact: Fact) -> Clause:
        return Clause(
            self.person.noun, self.person.plural, self.moves_part(fact), **self._adverbs(fact)
        )

    def moves_part(self, fact: Fact) -> str:
        """Return a verb with what moves as its object, as *pull the lip corners up*."""
        verb, _, rest = self.transitive(fact).partition(" ")
        part, _ = self.parts(fact)
        if rest and self.chance(0.4):
            return f"{verb} {rest} {part}"
        return f"{verb} {part} {rest}".strip()

    def does(self, fact: Fact) -> str:
        """Return what a person does, in the base form."""
        text = self.lexicon.pick(f"{fact.key}.does", self.rng)
        person = self.person.possessive
        return text.replace(
            "POSSself", {"his": "himself", "her": "herself"}.get(person, "themselves")
        ).replace("POSS", person)

    def _eyes(self, fact: Fact) -> Clause:
        owner = self.rng.choice(("the", self.person.possessive))
        eyes = f"{owner} {self.lexicon.pick('words.eyes', self.rng)}"
        if self.chance(0.5):
            verb = self.lexicon.pick("verbs.eyes_intransitive", self.rng)
            return Clause(eyes, True, verb, **self._adverbs(fact))
        verb = self.lexicon.pick("verbs.eyes_transitive", self.rng)
        return Clause(eyes, True, verb, passive=True, **self._adverbs(fact))

    def _lower_lip(self, fact: Fact) -> Clause:
        lip = self.rng.choice(
            (
                "the lower lip",
                "the bottom lip",
                f"{self.person.possessive} lower lip",
                f"{self.person.possessive} bottom lip",
            )
        )
        verb = self.lexicon.pick("verbs.lowerlip_transitive", self.rng)
        extra = self._adverbs(fact)
        if self.chance(0.4):
            extra["adverb"] = f"{extra['adverb']} by the chin".strip()
        return Clause(lip, False, verb, passive=True, **extra)

    # --- other forms ------------------------------------------------------------------------

    def verb_phrase(self, fact: Fact) -> str:
        """Return what a person does, in the base form, with its adverb."""
        key = fact.key
        if self.lexicon.has(f"{key}.does") and not fact.side and self.chance(0.6):
            base = self.does(fact)
        elif self.lexicon.has(f"{key}.moves"):
            base = self.moves_part(fact)
        else:
            return f"show {self.noun(fact)}"
        return " ".join(word for word in (base, self._adverb(fact)) if word)

    def absolute(self, fact: Fact) -> str:
        """Return *brows drawn together*, *inner brows up*, or a noun phrase."""
        if len(fact.aus) > 1 or self.chance(0.35):
            return self.noun(fact)
        part, _ = self.parts(fact)
        words = [part, self._adverb(fact), inflect(self.transitive(fact), "participle")]
        if self.chance(0.25) and self._move(fact) in {"up", "smile", "sag"}:
            words[2] = self.rng.choice(
                ("up", "up high", "raised")
                if self._move(fact) != "sag"
                else ("down", "turned down", "low")
            )
        if self.chance(0.4):
            words[1:] = words[:0:-1]
        if self.chance(0.2):
            return inflect(self.verb_phrase(fact), "ing")
        return " ".join(word for word in words if word)

    def control(self, fact: Fact) -> str:
        """Return what an animator sets: a control, its side, its value."""
        rng = self.rng
        name = self.lexicon.pick(f"{fact.key}.controls", rng)
        if fact.side:
            mark = fact.side
            name = rng.choice(
                (
                    f"{mark} {name}",
                    f"{name} {mark}",
                    f"{name}_{mark[0].upper()}",
                    f"{name}{mark.title()}",
                )
            )
        if fact.level:
            value = (0.1, 0.3, 0.5, 0.8, 1)[fact.level - 1]
            share = round(100 * value)
            return rng.choice(
                (
                    f"{name} {value:g}",
                    f"{name} at {share} %",
                    f"{name} = {value:g}",
                    f"{name} {share} percent",
                    f"{name} to {value:g}",
                )
            )
        return name


def _plural(noun: str) -> bool:
    """Say whether a noun phrase is plural, by the last word before *of*, *with* and the like."""
    words = noun.split()
    for k, word in enumerate(words):
        if k and word in {
            "of",
            "with",
            "on",
            "at",
            "in",
            "above",
            "beside",
            "that",
            "under",
            "up",
            "between",
            "around",
            "nearest",
            "next",
            "over",
            "by",
            "near",
            "pulled",
            "drawn",
            "pushed",
        }:
            words = words[:k]
            break
    last = words[-1].strip("',()").lower() if words else ""
    return last in {"feet", "mentales"} or (
        last.endswith("s") and not last.endswith(("ss", "is", "oculi", "boss", "us", "frontalis"))
    )
