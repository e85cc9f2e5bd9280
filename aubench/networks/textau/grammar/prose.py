"""Texts in sentences: prose, captions, requests, settings of an animated face."""

from __future__ import annotations

from random import Random

from aubench.networks.textau.grammar.content import Content
from aubench.networks.textau.grammar.inflection import bare, inflect
from aubench.networks.textau.grammar.lexicon import Lexicon
from aubench.networks.textau.grammar.phrases import Clause, Fact, Wording

REGIONS: dict[str, tuple[int, ...]] = {
    "brow": (1, 2, 4),
    "eye": (6, 7),
    "mouth": (10, 12, 14, 15, 17, 23, 24),
    "upper": (1, 2, 4, 6, 7),
}


class Prose:
    """One text of sentences in the making."""

    def __init__(self, lexicon: Lexicon, rng: Random, content: Content) -> None:
        self.lexicon: Lexicon = lexicon
        self.rng: Random = rng
        self.content: Content = content
        self.say: Wording = Wording(lexicon, rng)
        self.say.no_lowering = bool({1, 2} & set(content.aus))

    def pick(self, key: str) -> str:
        """Return a random item of a list, with the person in it."""
        text = self.lexicon.pick(key, self.rng)
        return text.replace("{P}", self.say.person.noun) if "{P}" in text else text

    def chance(self, share: float) -> bool:
        """Return True in a share of the calls."""
        return self.rng.random() < share

    # --- facts ------------------------------------------------------------------------------

    def facts(self) -> list[Fact]:
        """Return the facts to tell, AUs taken together where an expression names them all."""
        left = list(self.content.aus)
        out: list[Fact] = []
        groups = [group for group in self.lexicon.groups if set(group) <= set(left)]
        self.rng.shuffle(groups)
        for group in groups:
            plain = not any(au in self.content.sides or au in self.content.levels for au in group)
            if plain and set(group) <= set(left) and self.chance(0.5):
                if group == (1, 4) and 2 in self.content.aus:
                    continue
                out.append(Fact(group))
                left = [au for au in left if au not in group]
        out += [
            Fact((au,), self.content.sides.get(au, ""), self.content.levels.get(au, 0))
            for au in left
        ]
        self.rng.shuffle(out)
        return out

    # --- prose ------------------------------------------------------------------------------

    def write(self) -> str:
        """Return the text."""
        if not self.content.aus:
            return self._nothing()
        facts = self.facts()
        chunks = self._chunks(facts)
        sentences = [self._sentence(chunk) for chunk in chunks]
        if facts == [Fact((12,))] and not {6, 7} & set(self.content.aus) and self.chance(0.12):
            smile = self.rng.choice(("everyday", "does"))
            text = self.pick(f"aus.12.{smile}").replace("POSS", self.say.person.possessive)
            sentences = [
                (
                    f"{self.say.person.noun} gives {text}"
                    if smile == "everyday"
                    else inflect(text, "ing")
                )
                + self.pick("say.negative.cold")
            ]
        lonely = len(chunks) == 1 and not self.content.others
        if lonely and self.chance(0.2):
            sentences = [self._only(facts)]
        denied = list(self.content.denied)
        if denied and self.chance(0.25):
            lead = self.pick("say.negative.leads").replace("{X}", self._denied_noun(denied.pop()))
            sentences[0] = lead + sentences[0]
        while denied and self.chance(0.6):
            k = self.rng.randrange(len(sentences))
            sentences[k] += self._denial_tail(denied.pop())
        sentences += self._denials(denied)
        if self.content.others:
            self._add_others(sentences)
        elif self.chance(0.1):
            sentences.append(self.pick("say.negative.whole"))
        if self.chance(0.12):
            sentences = self._add_still(sentences)
        self.rng.shuffle(sentences) if self.chance(0.4) else None
        return self._decorate(sentences)

    def _chunks(self, facts: list[Fact]) -> list[list[Fact]]:
        out: list[list[Fact]] = []
        left = list(facts)
        while left:
            count = self.rng.choices((1, 2, 3, 4), (30, 40, 20, 10))[0]
            out.append(left[:count])
            left = left[count:]
        return out

    def _sentence(self, facts: list[Fact]) -> str:
        kind = self.rng.choices(
            (
                "nouns",
                "clauses",
                "does",
                "absolute",
                "imperative",
                "passive",
                "controls",
                "caption",
                "muscles",
                "attributive",
            ),
            (20, 32, 12, 12, 7, 6, 3, 8, 5, 6),
        )[0]
        one = [f for f in facts if len(f.aus) == 1]
        if kind == "controls" and len(one) < len(facts):
            kind = "clauses"
        if kind == "attributive":
            return self._attributive(facts)
        if kind == "muscles":
            able = all(self.lexicon.has(f"{f.key}.muscles") for f in facts)
            if able and not any(f.level for f in facts) and not {23, 24} & set(self.content.aus):
                return self._muscles(facts)
            kind = "clauses"
        if kind == "clauses":
            return self._join("clauses", [self.say.clause(f).say(self.rng) for f in facts])
        if kind == "does":
            return self._does(facts)
        if kind == "imperative":
            listed = self._join("nouns", [self.say.verb_phrase(f) for f in facts], plain=True)
            return self.pick("say.imperative.plain").replace("{X}", listed)
        if kind == "absolute":
            listed = self._join("nouns", [self.say.absolute(f) for f in facts])
            return self.pick("say.absolute.caption").replace("{X}", listed)
        if kind == "controls":
            listed = self._join("nouns", [self.say.control(f) for f in facts], plain=True)
            return self.rng.choice(
                (
                    "push {X}",
                    "set {X}",
                    "{X}",
                    "key {X}",
                    "{X} on",
                    "dial up {X}",
                    "crank {X}",
                    "turn up {X}",
                )
            ).replace("{X}", listed)
        plain = all(len(f.aus) == 1 and not f.side and not f.level for f in facts)
        if plain and len(facts) > 1 and self.chance(0.15):
            return self._nouns(kind, [self._joint_code([f.aus[0] for f in facts])])
        return self._nouns(kind, [self.say.noun(f) for f in facts])

    def _joint_code(self, aus: list[int]) -> str:
        """Return *AU6+12*, *AUs 6 and 12*."""
        if self.chance(0.5):
            return self.rng.choice(("AU", "AU ", "", "AUs ", "the combination ")) + "+".join(
                str(au) for au in sorted(aus)
            )
        *most, last = (str(au) for au in aus)
        units = self.rng.choice(self.lexicon.items("words.units"))
        return f"{units}{', '.join(most)}{self.rng.choice((' and ', ', ', ' & '))}{last}"

    def _attributive(self, facts: list[Fact]) -> str:
        """Return *a smiling woman, brows raised*."""
        able = [
            f
            for f in facts
            if self.lexicon.has(f"{f.key}.attributive") and not f.side and not f.level
        ]
        if not able:
            return self._nouns("caption", [self.say.noun(f) for f in facts])
        first = self.rng.choice(able)
        word = self.pick(f"{first.key}.attributive")
        text = self.pick("say.attributive.caption").replace("{X}", word).replace("a a", "an a")
        rest = [self.say.absolute(f) for f in facts if f is not first]
        if rest:
            text += self.pick("say.attributive.tails").replace("{X}", self._join("nouns", rest))
        return text

    def _muscles(self, facts: list[Fact]) -> str:
        names = [("the " if self.chance(0.4) else "") + self.say.muscle(f) for f in facts]
        text = self.pick("say.muscles.together")
        if len(facts) == 1:
            text = text.replace("both {X}", "{X}").replace("{X} are", "{X} is")
        verb = self.lexicon.pick("verbs.act", self.rng)
        said = Clause("", len(facts) > 1, verb).say(self.rng).strip()
        listed = self._join("nouns", names, plain=True)
        return text.replace("{ACT}", said).replace("{X}", listed)

    def _nouns(self, kind: str, nouns: list[str]) -> str:
        listed = self._join("nouns", nouns)
        if kind == "passive":
            text = self.pick("say.nouns.passive")
            verb = self.lexicon.pick("verbs.hold", self.rng)
            said = Clause("", len(nouns) > 1, verb).say(self.rng)
            return text.replace("{HOLD}", said.strip()).replace("{X}", listed)
        return self.pick(f"say.nouns.{'caption' if kind == 'caption' else 'present'}").replace(
            "{X}", listed
        )

    def _does(self, facts: list[Fact]) -> str:
        past = self.chance(0.4)
        form = "past" if past else "base" if self.say.person.plural else "s"
        phrases = [inflect(self.say.verb_phrase(f), form) for f in facts]
        listed = self._join("nouns", phrases, plain=True)
        return self.pick("say.does.plain").replace("{X}", listed)

    def _join(self, kind: str, parts: list[str], plain: bool = False) -> str:
        """Return parts joined by one, or by commas and a last joiner."""
        if len(parts) == 1:
            return parts[0]
        if kind == "clauses":
            out = parts[0]
            for part in parts[1:]:
                out += self.pick("say.joins.clauses") + part
            return out
        last = " and " if plain and self.chance(0.7) else self.pick("say.joins.nouns")
        if self.chance(0.2):
            last = ", "
        comma = self.rng.choice((", ", ", ", "; ", " and ")) if len(parts) > 2 else ", "
        return comma.join(parts[:-1]) + last + parts[-1]

    def _only(self, facts: list[Fact]) -> str:
        nouns = self._join("nouns", [self.say.noun(f) for f in facts])
        text = self.pick("say.nouns.only").replace("{X}", nouns)
        if self.chance(0.5):
            return text
        return f"{self.say.person.noun} {'show' if self.say.person.plural else 'shows'} {text}"

    # --- denials ----------------------------------------------------------------------------

    def _denied_fact(self, au: int) -> Fact:
        """Return a fact to deny; both ends of the brow where neither is raised."""
        if au in {1, 2} and not {1, 2} & set(self.content.aus) and self.chance(0.5):
            return Fact((1, 2))
        return Fact((au,))

    def _denied_noun(self, au: int) -> str:
        fact = self._denied_fact(au)
        if len(fact.aus) == 1 and self.chance(0.25):
            return self.say.code(fact)
        return bare(self.say.noun(fact))

    def _denial_tail(self, au: int) -> str:
        if self.chance(0.6):
            return self.pick("say.negative.noun_tails").replace("{X}", self._denied_noun(au))
        clause = self._denied_clause(au)
        return self.pick("say.negative.clause_tails").replace("{X}", clause)

    def _denied_clause(self, au: int) -> str:
        fact = self._denied_fact(au)
        if self.lexicon.has(f"{fact.key}.moves") and self.chance(0.35):
            part, plural = self.say.parts(fact)
            if not self._shared_part(au):
                return Clause(part, plural, self.pick("still.verbs")).say(self.rng)
        return self.say.clause(fact).say(self.rng, negative=True)

    def _shared_part(self, au: int) -> bool:
        """Say whether what an AU moves is moved by another one of the text."""
        groups = ({1, 2, 4}, {12, 14, 15, 23, 24}, {6, 7}, {10, 23, 24})
        return any(au in group and group & set(self.content.aus) for group in groups)

    def _denials(self, denied: list[int]) -> list[str]:
        if len(denied) >= 2 and self.chance(0.5):
            x, y = (self._denied_noun(au) for au in denied[:2])
            first = self.pick("say.negative.neither").replace("{X}", x).replace("{Y}", y)
            return [first, *self._denials(denied[2:])]
        out = []
        for au in denied:
            if self.chance(0.12) and self.lexicon.has(f"aus.{au}.quiet"):
                noun = self.pick(f"aus.{au}.quiet")
                out.append(self.pick("say.negative.quiet").replace("{X}", noun))
            elif self.chance(0.5):
                out.append(self._denied_clause(au))
            else:
                noun = self._denied_noun(au)
                out.append(self.pick("say.negative.noun_sentences").replace("{X}", noun))
        return out

    def _add_still(self, sentences: list[str]) -> list[str]:
        free = [name for name, group in REGIONS.items() if not set(group) & set(self.content.aus)]
        if not free:
            return sentences
        region = f"the {self.pick(f'still.regions.{self.rng.choice(free)}')}"
        clause = Clause(
            region,
            region.endswith(("brows", "eyes", "lids", "chin")) and "brow region" not in region,
            self.pick("still.verbs"),
        )
        if self.chance(0.5):
            k = self.rng.randrange(len(sentences))
            sentences[k] += self.pick("say.negative.clause_tails").replace(
                "{X}", clause.say(self.rng)
            )
            return sentences
        return [*sentences, clause.say(self.rng)]

    # --- what is beside the point -----------------------------------------------------------

    def _other(self) -> str:
        kind = self.rng.randrange(4)
        if kind == 0:
            return self.pick("others.clauses")
        if kind == 1:
            noun = self.pick("others.results")
            return self.pick("say.nouns.present").replace("{X}", noun)
        if kind == 2:
            person = self.say.person
            verb = self.pick("others.does").replace("POSS", person.possessive)
            return f"{person.noun} {inflect(verb, 'base' if person.plural else 's')}"
        code = f"{self.rng.choice(self.lexicon.items('words.unit'))}{self.pick('others.codes')}"
        if self.chance(0.3):
            code += self.rng.choice("ABCDE")
        return self.pick("say.nouns.present").replace("{X}", code)

    def _add_others(self, sentences: list[str]) -> None:
        k = self.rng.randrange(len(sentences))
        if self.chance(0.4):
            noun = self.pick("others.results")
            sentences[k] += self.rng.choice((" with ", " and ", ", ", " plus ", ", also ")) + noun
        elif self.chance(0.5):
            joiner = self.pick("say.joins.clauses")
            sentences[k] += joiner + self._other()
        else:
            sentences.append(self._other())

    def _nothing(self) -> str:
        sentences = self._denials(list(self.content.denied))
        if not sentences or self.chance(0.4):
            sentences.insert(0, self.pick("say.neutral.sentences"))
        if self.content.others:
            self._add_others(sentences)
        if self.chance(0.15):
            sentences = [
                self.pick("say.irrelevant.sentences") for _ in range(self.rng.randint(1, 3))
            ]
        return self._decorate(sentences)

    def _decorate(self, sentences: list[str]) -> str:
        if self.chance(0.2):
            sentences[0] = self.pick("say.irrelevant.prefixes") + sentences[0]
        if self.chance(0.2):
            sentences[-1] += self.pick("say.irrelevant.suffixes")
        while self.chance(0.22):
            where = self.rng.randint(0, len(sentences))
            sentences.insert(where, self.pick("say.irrelevant.sentences"))
        out = ""
        for sentence in sentences:
            end = self.rng.choices((". ", "; ", ", ", "! "), (88, 6, 4, 2))[0]
            text = sentence.strip()
            if not out.endswith((", ", "; ")) and self.chance(0.9):
                text = text[:1].upper() + text[1:]
            out += text + end
        return out.strip().rstrip(";,")
