"""AU texts: allocation, wording, and what they mention."""

import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aubench.errors import AubenchError
from aubench.facs import AUS, load_facs, parse_aus
from aubench.facs.describe import GRADES, allocate, describe, grade_of, mentioned, wordings
from aubench.facs.describe.grades import gradable, grade_sentence

EVERY = [tuple(au for k, au in enumerate(AUS) if n >> k & 1) for n in range(1 << 12)]


def named(aus, allocation="conflicts"):
    return ["+".join(map(str, c)) for c in allocate(aus, allocation=allocation)]


@pytest.mark.parametrize(
    ("aus", "expected"),
    [
        ("6+7+10+12+14+15", ["6+7+12", "10+15", "10+14"]),
        ("1+2+10+12", ["1+2", "10", "12"]),
        ("4+17+23+24", ["17+23", "17+24", "4"]),
        ("6+7+12+14+15+23", ["6+7+12", "14+23", "15+23"]),
        ("14+17+23+24", ["14+17", "14+23", "17+23", "17+24"]),
        ("6+7+10+23", ["6", "7", "10", "23"]),
        ("7+12+14", ["7+12", "14"]),
        ("6+12+15+17", ["6+12+15+17"]),
        ("neutral", []),
    ],
)
def test_worked_cases_in_the_papers_order(aus, expected):
    assert sorted(named(parse_aus(aus), "paper")) == sorted(expected)


@pytest.mark.parametrize(
    ("aus", "expected"),
    [
        ("6+7+12+15", ["6+12+15", "7"]),
        ("6+7+10+12+14+15", ["6+12+15", "10+14", "7"]),
        ("12+15+23", ["12+15", "23"]),
        ("10+12+15+17", ["12+15+17", "10"]),
        ("1+2+4+10+15", ["1+2+4", "10+15"]),
        ("6+7+12", ["6+7+12"]),
        ("14+17+23+24", ["14+17", "14+23", "17+23", "17+24"]),
        ("neutral", []),
    ],
)
def test_opposed_aus_come_first(aus, expected):
    assert sorted(named(parse_aus(aus))) == sorted(expected)


def apart(aus, up, down, allocation):
    """Whether one construct has the AUs that lift, another those that lower."""
    constructs = [set(c) for c in allocate(aus, allocation=allocation)]
    lifts = any(c & up and not c & down for c in constructs)
    lowers = any(c & down and not c & up for c in constructs)
    return lifts and lowers


def test_no_set_gets_a_text_that_lifts_the_mouth_corners_and_one_that_lowers_them():
    """Over all 4,095 sets: with both AUs active, one construct speaks of either, and of both."""
    for aus in EVERY[1:]:
        assert not apart(aus, {12}, {15}, "conflicts")
        if {12, 15} <= set(aus):
            of = [c for c in allocate(aus) if {12, 15} & set(c)]
            assert len(of) == 1 and {12, 15} <= set(of[0])
        # The table has no combination 2+4: without AU1 they are still told one by one.
        if {1, 4} <= set(aus):
            assert not apart(aus, {1, 2}, {4}, "conflicts")
    assert sum(apart(aus, {12}, {15}, "paper") for aus in EVERY) == 432


def test_table_holds_38_constructs_of_five_distinct_wordings():
    table = load_facs()
    assert [len(c.aus) for c in table.combinations].count(2) == 17
    assert [len(c.aus) for c in table.combinations].count(3) == 7
    assert [len(c.aus) for c in table.combinations].count(4) == 2
    expected = {(au,) for au in AUS} | {c.aus for c in table.combinations} | {()}
    assert set(wordings()) == expected and len(expected) == 39
    texts = [text for five in wordings().values() for text in five]
    assert all(len(five) == 5 for five in wordings().values())
    assert len(set(texts)) == len(texts) == 195


def test_each_wording_speaks_of_its_aus_and_no_other():
    for construct, five in wordings().items():
        for text in five:
            assert mentioned(text) == set(construct), (construct, text)


def test_every_combination_is_covered_and_nothing_else_is_claimed():
    for aus, allocation in itertools.product(EVERY, ("conflicts", "paper")):
        constructs = allocate(aus, allocation=allocation)
        assert {au for c in constructs for au in c} == set(aus)
        assert len(set(constructs)) == len(constructs)
        for variant in range(5) if allocation == "conflicts" else (0,):
            text = describe(aus, variant=variant, allocation=allocation).text
            assert mentioned(text) == set(aus)


def test_opposed_aus_are_never_described_apart():
    """Where a text claims both directions of one landmark, one construct reconciles them."""
    joint = {pair for pair in load_facs().conflicts if pair != (2, 4)}
    for aus in EVERY:
        constructs = allocate(aus)
        singles = {c[0] for c in constructs if len(c) == 1}
        for pair in joint:
            assert not singles.issuperset(pair), (aus, pair)


@given(st.sets(st.sampled_from(AUS)), st.integers(0, 2**31))
def test_text_depends_on_aus_and_seed_alone(aus, seed):
    ordered = tuple(sorted(aus))
    first = describe(ordered, seed=seed).text
    assert first == describe(tuple(reversed(ordered)), seed=seed).text
    assert first[0].isupper() and first.endswith(".")


def test_seeds_reach_every_wording():
    texts = {describe((12,), seed=s).text for s in range(60)}
    assert texts == set(wordings()[(12,)])


def test_muscles_and_conflicts_are_told():
    done = describe(parse_aus("6+12+15"))
    assert "zygomaticus major" in done.muscles and (12, 15) in done.conflicts


def test_user_table_overrides(tmp_path):
    from pathlib import Path

    import aubench.facs as module

    shipped = Path(module.__file__).with_name("facs.toml").read_text()
    own = tmp_path / "own.toml"
    own.write_text(shipped.replace('aus = "6+12+15+17"', 'aus = "6+12+17+23"'))
    assert (6, 12, 15, 17) not in allocate((6, 12, 15, 17), load_facs(own))
    for damage in ("not toml [", shipped.replace("6 = {", "# 6 = {"), "[aus]\n"):
        bad = tmp_path / f"bad{len(damage)}.toml"
        bad.write_text(damage)
        with pytest.raises(AubenchError, match="bad"):
            load_facs(bad)
    with pytest.raises(AubenchError, match="cannot read"):
        load_facs(tmp_path / "absent.toml")


def test_command_prints_text_constructs_and_json(aubench):
    text = aubench("describe", "6+12+15", check=0).stdout
    assert "constructs: 6+12+15" in text and "conflict:   12+15" in text
    data = json.loads(aubench("describe", "AU1,AU4", "--json", "--variant", "2", check=0).stdout)
    assert data["constructs"] == ["1+4"] and data["text"] == wordings()[(1, 4)][2]
    assert "choose 0 to 4" in aubench("describe", "1", "--variant", "7", check=2).stderr


def test_wordings_of_a_construct_are_not_near_copies():
    def words(text):
        return set(text.lower().strip(".").split())

    for five in wordings().values():
        for a, b in itertools.combinations(five, 2):
            assert len(words(a) & words(b)) / len(words(a) | words(b)) < 0.85, (a, b)


def graded_words(text):
    return [word for word in re.findall(r"[a-z]+", text.lower()) if word in GRADES]


@pytest.mark.parametrize(
    ("intensity", "grade"),
    [
        (0.1, 1),
        (1, 1),
        (1.4, 1),
        (1.5, 2),
        (2, 2),
        (3.4, 3),
        (3.5, 4),
        (4.5, 5),
        (5, 5),
    ],
)
def test_grades_are_the_nearest_facs_level(intensity, grade):
    assert grade_of(intensity) == grade
    text = describe((12,), intensities={12: intensity}).text
    assert graded_words(text) == [GRADES[grade - 1]]


@given(st.dictionaries(st.sampled_from(AUS), st.integers(0, 5)), st.integers(0, 2**31))
def test_graded_text_tells_each_level_and_no_other_au(levels, seed):
    done = describe(levels, seed=seed, intensities=levels)
    active = {au: level for au, level in levels.items() if level}
    assert done.levels == active and set(done.aus) == set(active)
    assert mentioned(done.text) == set(active)
    told = graded_words(done.text)
    assert told == [GRADES[k - 1] for k in sorted(set(active.values()), reverse=True)]
    assert done.text[0].isupper() and done.text.endswith(".") and ".." not in done.text


@given(st.dictionaries(st.sampled_from(AUS), st.integers(1, 5), min_size=1), st.integers(0, 4))
def test_grades_can_be_read_back(levels, choice):
    """A clause speaks of the AUs of one level, the verb agrees, and clauses go downward."""
    sentence = grade_sentence(levels, choice)
    clauses = re.findall(rf"(.+?)\b({'|'.join(GRADES)})\b", sentence)
    found = {}
    for text, grade in clauses:
        aus = mentioned(text)
        found |= dict.fromkeys(aus, GRADES.index(grade) + 1)
        plural = re.search(r"\b(are|show|reach|amount)\b", text) is not None
        assert plural == (len(aus) > 1), sentence
    assert found == levels
    assert sentence[0].isupper() and sentence.endswith(".")


def test_each_level_words_a_sentence_of_its_own():
    for choice in range(5):
        texts = [grade_sentence({12: level}, choice) for level in range(1, 6)]
        assert len(set(texts)) == 5
    assert len({grade_sentence({12: 3}, choice) for choice in range(5)}) == 5


def test_wordings_that_tell_a_strength_are_not_graded():
    """ "Firmly pressed" cannot be a trace; each construct keeps some to choose from."""
    assert not any("firmly" in text for text in gradable(wordings()[24,]))
    assert all(len(gradable(five)) >= 3 for construct, five in wordings().items() if construct)
    assert not any(graded_words(t) for five in wordings().values() for t in gradable(five))


def test_without_intensities_the_text_is_as_ever():
    for aus in EVERY[::97]:
        assert describe(aus, seed=5).text == describe(aus, seed=5, intensities={}).text
        unknown = dict.fromkeys(aus, float("nan"))
        assert describe(aus, seed=5).text == describe(aus, seed=5, intensities=unknown).text
    assert describe((12, 15), seed=3, intensities={12: 2, 15: 0}).aus == (12,)
    assert describe((12,), seed=3, intensities={12: 0}).text in wordings()[()]


@pytest.mark.parametrize(
    ("levels", "fault"),
    [
        ({12: 5.1}, "out of range"),
        ({12: -1}, "out of range"),
        ({15: 2}, "not among the AUs"),
        ({12: float("inf")}, "out of range"),
    ],
)
def test_intensities_that_make_no_sense_are_refused(levels, fault):
    with pytest.raises(AubenchError, match=fault):
        describe((12,), intensities=levels)


def test_command_grades(aubench):
    text = aubench("describe", "12+15", "--intensity", "12=5", "--intensity", "15=1", check=0)
    assert "intensity:  12 maximum, 15 trace" in text.stdout
    both = aubench("describe", "12+15", "--intensity", "12=5+15=1", check=0).stdout
    assert both == text.stdout
    data = json.loads(aubench("describe", "12", "--intensity", "12=3", "--json", check=0).stdout)
    assert data["levels"] == {"12": 3} and "marked" in data["text"]
    refused = {
        "12=6": "give 0 to 5",
        "12": "give 0 to 5",
        "15=2": "not among the AUs",
        "12=1+12=2": "twice",
    }
    for word, fault in refused.items():
        assert fault in aubench("describe", "12", "--intensity", word, check=2).stderr


@pytest.mark.parametrize("word", ["²", "AU①", "12²"])
def test_digits_that_are_no_numbers_are_one_clear_line(word):
    with pytest.raises(AubenchError, match="unknown AU"):
        parse_aus(word)
