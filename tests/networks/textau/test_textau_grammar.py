"""The grammar: what a text says is what it was made of, and held-out words stay held out."""

import re
from random import Random

import numpy as np
import pytest

from aubench.facs import AUS
from aubench.networks.textau import grammar_corpus
from aubench.networks.textau.corpus import HELD_OUT
from aubench.networks.textau.grammar import Grammar, fingerprint
from aubench.networks.textau.grammar.content import draw_content
from aubench.networks.textau.grammar.inflection import inflect, with_article
from aubench.networks.textau.grammar.lexicon import Lexicon, is_held_out
from aubench.networks.textau.grammar.phrases import Fact, Wording
from aubench.networks.textau.grammar.slips import slip
from aubench.networks.textau.grammar_corpus import GrammarCorpus, dictionary_text
from aubench.networks.textau.train import UNTOLD, told

SAMPLES = [Grammar().sample(seed) for seed in range(3000)]


def test_a_seed_gives_one_text_and_seeds_give_different_ones():
    again = [Grammar().sample(seed) for seed in range(50)]
    assert again == SAMPLES[:50]
    assert len({sample.text for sample in SAMPLES}) > 0.99 * len(SAMPLES)


def test_no_slot_is_left_open_and_no_text_is_empty():
    for sample in SAMPLES:
        assert sample.text and not re.search(r"[{}]|POSS|SIDE", sample.text), sample.text


def test_every_au_is_told_of_alone_and_with_others_and_in_small_sets_mostly():
    sizes = np.array([len(sample.aus) for sample in SAMPLES])
    assert 0.02 < (sizes == 0).mean() < 0.12 and (sizes <= 3).mean() > 0.6
    for au in AUS:
        assert (au,) in {sample.aus for sample in SAMPLES}
        assert sum(au in sample.aus for sample in SAMPLES) > 0.08 * len(SAMPLES)


def test_sides_and_levels_are_of_acting_aus():
    for sample in SAMPLES:
        assert set(sample.sides) | set(sample.levels) <= set(sample.aus)
        assert set(sample.levels.values()) <= {1, 2, 3, 4, 5}
    assert sum(bool(sample.sides) for sample in SAMPLES) > 200
    assert sum(bool(sample.levels) for sample in SAMPLES) > 400


def test_denied_aus_do_not_act():
    for seed in range(300):
        content = draw_content((4, 12), Random(seed))
        assert not set(content.denied) & {4, 12} and len(set(content.denied)) == len(content.denied)


def test_coding_tables_read_back_are_the_aus_they_were_made_of():
    """An independent reader of `AU4=2, AU7=0`: every cell of a table is a number and a value."""
    cell = re.compile(r"(?:au|AU) ?([LR]?)(\d+)(?: = |: |=)(0|[1-5]|[A-E])")
    read, grammar = 0, Grammar()
    for seed in range(12_000):
        sample = grammar.sample(seed)
        cells = [cell.fullmatch(part.strip()) for part in re.split(r"[,;|]", sample.text)]
        if len(cells) < 2 or not all(cells):
            continue
        values = {int(c[2]): c[3] for c in cells if c}
        active = sorted(au for au in AUS if values.get(au, "0") != "0")
        assert tuple(active) == tuple(sorted(sample.aus)), sample
        told_levels = {
            au: " ABCDE".find(values[au]) if values[au].isalpha() else int(values[au])
            for au in active
        }
        assert all(told_levels[au] == level for au, level in sample.levels.items()), sample
        read += 1
    assert read > 15  # of 12,000


def test_a_raised_brow_is_not_lowered_in_the_same_text():
    say = Wording(Lexicon(), Random(1))
    say.no_lowering = True
    clauses = [say._passive(Fact((4,))).say(say.rng) for _ in range(300)]
    assert not any(re.search(r"\b(lower|down|depress(es|ed|ing)?\b)", text) for text in clauses)
    say.no_lowering = False
    clauses = [say._passive(Fact((4,))).say(say.rng) for _ in range(300)]
    assert any("lower" in text or "down" in text for text in clauses)


def test_held_out_words_are_in_no_training_text():
    both = {half: Lexicon(half) for half in ("training", "held-out")}
    cut = 0
    for key, items in both["training"]._lists.items():
        other = both["held-out"].items(key)
        if set(items) != set(other):
            cut += 1
            assert not set(items) & set(other) and items and other
            assert all(is_held_out(key, item) for item in other)
    assert cut > 60
    names = [n for au in AUS for n in both["held-out"].items(f"aus.{au}.names")]
    told_of = {n for au in AUS for n in both["training"].items(f"aus.{au}.names")}
    strange = [n for n in names if n not in told_of and "{" not in n]
    text = "\n".join(sample.text.lower() for sample in SAMPLES)
    assert strange and not [n for n in strange if f" {n} (" in text or f"({n})" in text]


def test_our_wordings_are_mixed_in_but_for_the_held_out_one():
    from aubench.facs.describe import wordings

    texts = [dictionary_text(Random(seed)) for seed in range(1500)]
    held = [w[HELD_OUT] for w in wordings().values()]
    assert not any(w in sample.text for sample in texts for w in held)
    graded = [sample for sample in texts if sample.levels]
    assert 0.1 < len(graded) / len(texts) < 0.25
    assert all(set(sample.levels) <= set(sample.aus) for sample in texts)


def test_the_corpus_draws_new_texts_and_scores_others(monkeypatch):
    monkeypatch.setattr(grammar_corpus, "EVALUATED", 20)
    corpus = GrammarCorpus(limit=16)
    rng = np.random.default_rng(0)
    drawn = [corpus.draw(0, rng) for _ in range(64)]
    assert len({example.text for example in drawn}) > 60
    parts = corpus.parts()
    assert list(parts)[:2] == ["seen wordings", "held-out wordings"] and len(parts) == 4
    check = corpus.calibration()
    assert not set(check.texts) & set(parts["grammar, held-out words"].texts)
    assert corpus.fingerprint != fingerprint() and len(corpus.labels) == 16
    classes = told(drawn)
    labels = np.stack([example.labels for example in drawn])
    assert classes.shape == (64, 12, 2)
    assert (classes.numpy()[labels == 0] == UNTOLD).all()
    assert (classes.numpy()[labels == 1] != UNTOLD).all()


@pytest.mark.parametrize(
    ("phrase", "form", "expected"),
    [
        ("pull up", "past", "pulled up"),
        ("rise", "participle", "risen"),
        ("press together", "s", "presses together"),
        ("squeeze", "ing", "squeezing"),
        ("drag down", "participle", "dragged down"),
        ("shrug POSS shoulders", "past", "shrugged POSS shoulders"),
        ("bury", "s", "buries"),
        ("stay", "past", "stayed"),
        ("be seen", "s", "is seen"),
        ("free", "ing", "freeing"),
    ],
)
def test_verbs_are_inflected(phrase, form, expected):
    assert inflect(phrase, form) == expected


def test_articles_and_slips():
    assert with_article("open mouth") == "an open mouth" and with_article("smile") == "a smile"
    text = "the corners of the mouth are pulled upward by zygomaticus"
    for seed in range(30):
        other = slip(text, Random(seed))
        changed = [a for a, b in zip(text.split(), other.split(), strict=True) if a != b]
        assert len(changed) <= 2 and all(len(word) > 4 for word in changed)
