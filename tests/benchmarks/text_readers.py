"""How well texts by other authors are read: a classifier, a bag of words, our patterns.

    python tests/benchmarks/text_readers.py [NAME|FOLDER] [--final] [--bag]

``--final`` scores the 60 texts that are kept for finished classifiers too, ``--bag`` fits a bag of
words to 40,000 texts of the grammar.
"""

import sys
import tomllib
from pathlib import Path

import numpy as np

from aubench.facs import AUS, labels_of, parse_aus
from aubench.networks.textau import load_text_au
from aubench.networks.textau.baselines import bag_of_words, rule_based
from aubench.networks.textau.calibration import calibration_error
from aubench.networks.textau.checks import check_reading
from aubench.networks.textau.classifier import Reading
from aubench.networks.textau.grammar_corpus import GrammarCorpus
from aubench.networks.textau.report import exact, f1

TEXTS = Path(__file__).parents[1] / "data" / "other_authors.toml"


def say(line):
    """Print a line."""
    sys.stdout.write(line + "\n")


def read(part):
    """Return rows, texts and labels of a part of the texts."""
    rows = tomllib.loads(TEXTS.read_text(encoding="utf-8"))[part]
    labels = np.stack([labels_of(parse_aus(row["aus"])) for row in rows])
    return rows, [row["text"] for row in rows], labels


def show(name, part, p, rows, labels, texts):
    """Print the scores of a reader, those of its sure texts, and exact sets by style."""
    sure = np.array([check_reading(t, Reading(r)) is None for t, r in zip(texts, p, strict=True)])
    good = ((p >= 0.5) == (labels == 1)).all(1)
    say(
        f"{name} on {part}: mean F1 {f1(p, labels):.3f}, exact sets {exact(p, labels):.3f}, "
        f"calibration error {calibration_error(p, labels):.3f}, unsure {1 - sure.mean():.3f}, "
        f"exact of the sure ones {good[sure].mean() if sure.any() else float('nan'):.3f}"
    )
    for style in dict.fromkeys(row["style"] for row in rows):
        of = [k for k, row in enumerate(rows) if row["style"] == style]
        say(f"  {style:13} {int(good[of].sum())} of {len(of)}")


def details(model, part, rows, texts):
    """Print how often sides and levels that a text tells are read."""
    right = {"sides": 0, "levels": 0}
    asked = dict(right)
    for row, reading in zip(rows, model.read(texts), strict=True):
        for kind, found in (("sides", reading.sides), ("levels", reading.levels)):
            for au, value in row.get(kind, {}).items():
                asked[kind] += 1
                right[kind] += found.get(int(au)) == value
    say(f"  of {part}: " + ", ".join(f"{k} {right[k]} of {asked[k]}" for k in right))


def main(words):
    """Score the readers asked for."""
    names = [word for word in words if not word.startswith("--")]
    model = load_text_au(names[0] if names else None)
    readers = {model.id: model.probabilities, "our patterns": rule_based}
    if "--bag" in words:
        readers["bag of words"] = bag_of_words(GrammarCorpus(), 5)
    for part in ("open", "final") if "--final" in words else ("open",):
        rows, texts, labels = read(part)
        assert labels.shape == (len(rows), len(AUS))
        for name, predict in readers.items():
            show(name, part, predict(texts), rows, labels, texts)
        if model.network.tell is not None:
            details(model, part, rows, texts)


if __name__ == "__main__":
    main(sys.argv[1:])
