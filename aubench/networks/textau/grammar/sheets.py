"""Texts of coders: lists of codes, tables of present and absent units."""

from __future__ import annotations

from random import Random

from aubench.networks.textau.grammar.content import Content
from aubench.networks.textau.grammar.lexicon import Lexicon
from aubench.networks.textau.grammar.phrases import Fact, Wording


class Sheet:
    """One coding sheet in the making; levels that it tells are added to the content."""

    def __init__(self, lexicon: Lexicon, rng: Random, content: Content) -> None:
        self.lexicon: Lexicon = lexicon
        self.rng: Random = rng
        self.content: Content = content
        self.say: Wording = Wording(lexicon, rng)

    def pick(self, key: str) -> str:
        """Return a random item of a list, with the person in it."""
        text = self.lexicon.pick(key, self.rng)
        return text.replace("{P}", self.say.person.noun) if "{P}" in text else text

    def chance(self, share: float) -> bool:
        """Return True in a share of the calls."""
        return self.rng.random() < share

    def write(self) -> str:
        """Return the text."""
        rng, letters = self.rng, "ABCDE"
        extra = [
            int(n)
            for n in rng.sample(self.lexicon.items("others.codes"), rng.choice((0, 0, 0, 1, 2)))
        ]
        kind = rng.choice(("plus", "plus", "list", "values", "words", "lines", "named", "units"))
        shown = list(self.content.aus) + extra
        if not shown and kind not in {"values", "words"}:
            kind = "values"
        if rng.random() < 0.5:
            rng.shuffle(shown)
        else:
            shown.sort()

        def code(au: int) -> str:
            level, side = self.content.levels.get(au, 0), self.content.sides.get(au, "")
            letter = letters[level - 1] if level else ""
            if au in extra and self.content.levels:
                letter = rng.choice(letters)
            return f"{side[:1].upper()}{au}{letter}"

        if kind == "plus":
            prefix = rng.choice(("", "", "AU", "AU ", "AUs ", "combination "))
            glue = rng.choice(("+", "+", " + ", "+AU"))
            text = prefix + glue.join(map(code, shown))
        elif kind == "list":
            prefix = rng.choice(
                (
                    "",
                    "AUs ",
                    "AU ",
                    "codes: ",
                    "active units: ",
                    "AUs present: ",
                    "present: ",
                    "[",
                    "FACS: ",
                    "scored ",
                )
            )
            text = (
                prefix
                + rng.choice((", ", " ", ", ", "; ", " / ")).join(map(code, shown))
                + ("]" if prefix == "[" else "")
            )
        elif kind == "units":
            unit = rng.choice(("AU", "AU ", "au", "unit ", "action unit "))
            text = rng.choice((", ", " ", " and ", "; ")).join(f"{unit}{code(au)}" for au in shown)
        elif kind == "named":
            names = [self._sheet_name(au) for au in self.content.aus] + [f"AU{n}" for n in extra]
            text = rng.choice((", ", "; ", " + ", " / ", "\n")).join(names)
        elif kind == "lines":
            return self._table(shown, rng.choice(("=", ": ", " = ", " ")), extra)
        else:
            return self._yes_no(kind)
        tails = [str(au) for au in self.content.denied]
        if tails and rng.random() < 0.7:
            joined = rng.choice((", ", " and ", "/", " or ")).join(tails)
            text += rng.choice(
                (
                    "; absent: {}",
                    ", no {}",
                    ", {} not scored",
                    " without {}",
                    "; not {}",
                    ". AUs absent: {}",
                    " but not {}",
                    ", {} ruled out",
                    " (no {})",
                    ", {} absent",
                )
            ).format(joined)
        if rng.random() < 0.2:
            text += rng.choice(
                (
                    " only",
                    ", nothing else",
                    ", all others 0",
                    "; no further codes",
                    ", rest neutral",
                )
            )
        if rng.random() < 0.2:
            text = self.pick("say.irrelevant.prefixes") + text
        if rng.random() < 0.1:
            text += ". " + self.pick("say.irrelevant.sentences")
        return text

    def _sheet_name(self, au: int) -> str:
        fact = Fact((au,), self.content.sides.get(au, ""), self.content.levels.get(au, 0))
        return self.say.name(fact) if self.chance(0.6) else self.say.code_and_name(fact)

    def _table(self, shown: list[int], glue: str, extra: list[int]) -> str:
        """Return a value a unit, as 1 or as its level, and 0 for some that are absent."""
        rng = self.rng
        unit = rng.choice(("AU", "AU ", "au", ""))
        as_letter = rng.random() < 0.4
        cells = []
        if not self.content.levels and rng.random() < 0.3:
            # Values without words are levels: told of all.
            self.content.levels = {au: rng.randint(1, 5) for au in self.content.aus}
        for au in sorted({*shown, *self.content.denied}):
            if au in self.content.denied:
                value = "0"
            elif au in self.content.levels:
                value = (
                    "ABCDE"[self.content.levels[au] - 1]
                    if as_letter
                    else str(self.content.levels[au])
                )
            elif au in extra and self.content.levels:
                value = rng.choice("ABCDE") if as_letter else str(rng.randint(1, 5))
            else:
                value = rng.choice(("x", "yes", "present", "on", "+"))
            side = self.content.sides.get(au, "")
            name = f"{side[:1].upper()}{au}" if side else str(au)
            cells.append(f"{unit}{name}{glue}{value}")
        if not cells:
            return self.pick("say.neutral.sentences")
        return rng.choice((", ", "; ", " ", "\n", " | ")).join(cells)

    def _yes_no(self, kind: str) -> str:
        """Return present and absent ones in words."""
        rng = self.rng
        self.content.sides, self.content.levels = {}, {}
        units = sorted({*self.content.aus, *self.content.denied})
        yes, no = rng.choice(
            (
                ("yes", "no"),
                ("present", "absent"),
                ("1", "0"),
                ("active", "inactive"),
                ("on", "off"),
                ("+", "-"),
                ("true", "false"),
                ("seen", "not seen"),
                ("scored", "not scored"),
            )
        )
        unit, glue = (
            rng.choice(("AU", "AU ", "au", "unit ")),
            rng.choice((": ", " ", " = ", "=", " - ")),
        )
        if glue == " - " and yes == "+":
            glue = ": "
        if not units:
            return rng.choice(
                (
                    "no AU coded",
                    "0",
                    "AU0",
                    "no units scored",
                    "none",
                    "AUs: none",
                    "no AU scorable",
                    "nothing to code",
                )
            )
        if kind == "values":
            cells = [f"{unit}{au}{glue}{yes if au in self.content.aus else no}" for au in units]
            return rng.choice((", ", "; ", " ", ". ", "\n")).join(cells)
        parts = []
        for label, group in ((yes, self.content.aus), (no, tuple(self.content.denied))):
            if group:
                numbers = rng.choice((", ", " and ", "+", " ")).join(map(str, group))
                parts.append(
                    rng.choice(("AUs {}: {}", "{}: {}", "{} = {}", "units {} - {}")).format(
                        label
                        if label not in "+-10"
                        else ("present" if label in "+1" else "absent"),
                        numbers,
                    )
                )
        return rng.choice((". ", "; ", ", ", "\n")).join(parts)
