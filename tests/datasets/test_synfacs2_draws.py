"""synfacs 2 as a data set: what train never shows, what protocols ask, references elsewhere."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from aubench.cli.main import main
from aubench.datasets.registry import find_dataset
from aubench.datasets.samples import INTENSITIES, LABELS
from aubench.datasets.synfacs2.occurrence import HELD_OUT, LEVELS, held_out_in
from aubench.datasets.synfacs2.synfacs2_dataset import split_frame
from aubench.errors import AubenchError
from aubench.facs import AUS, parse_aus
from aubench.protocols.protocol import (
    CONSTANTS,
    SUMS,
    check_sums,
    load_protocol,
    protocol_names,
    verify,
)
from aubench.protocols.synfacs2_draws import PLANS, STRATA, frame_of_plan, freeze
from aubench.synfacs2.keys import SPLITS, parse_key


def sets(frame):
    return [
        frozenset(np.array(AUS)[row.astype(bool)].tolist())
        for row in frame[list(LABELS)].to_numpy()
    ]


@pytest.mark.parametrize("condition", ["studio", "wild"])
def test_train_never_shows_a_held_out_pair_but_each_of_its_aus_often(condition):
    found = sets(split_frame("train", condition))
    assert not [s for s in found if held_out_in(tuple(s))]
    rates = {au: np.mean([au in s for s in found]) for au in AUS}
    assert min(rates.values()) > 0.12
    for a, b in HELD_OUT:
        assert sum(a in s and b not in s for s in found) > 800, (a, b)
    assert len(HELD_OUT) >= 12


def test_intensities_are_mostly_a_to_c():
    levels = split_frame("train")[list(INTENSITIES)].to_numpy()
    active = np.clip(np.round(levels[levels > 0]), 1, 5).astype(int)
    share = {k: n / len(active) for k, n in Counter(active.tolist()).items()}
    assert all(abs(share[k] - LEVELS[k]) < 0.04 for k in LEVELS)
    assert sum(share[k] for k in (1, 2, 3)) > 0.7
    assert levels.max() <= 5.0
    assert levels[levels > 0].min() >= 0.6


def test_no_subject_is_in_two_splits():
    for a, b in combinations(SPLITS.values(), 2):
        assert not set(a) & set(b)


def test_references_are_the_same_person_elsewhere():
    frame = split_frame("test", "wild")
    for target, reference in zip(frame["target"], frame["reference"], strict=True):
        who, _, where, condition = parse_key(target)
        person, values, place, other = parse_key(reference)
        assert (who, condition) == (person, other)
        assert where != place
        assert not values.any()


@pytest.mark.parametrize("name", sorted(PLANS))
def test_protocols_are_drawn_byte_for_byte_as_shipped(name, tmp_path):
    built = freeze(name, tmp_path)
    shipped = load_protocol(name, "synfacs2")
    for path in sorted(built.iterdir()):
        if path.name != SUMS:
            assert path.read_bytes() == (shipped.folder / path.name).read_bytes(), path.name
    # Constants of AAAD, which follow the detectors, are added to what is drawn.
    drawn, all_files = check_sums(built), check_sums(shipped.folder)
    assert set(all_files) - set(drawn) == {CONSTANTS}


def test_every_protocol_ships_in_both_conditions():
    names = protocol_names("synfacs2")
    assert set(names) == set(PLANS)
    for name in ("test2k", "unseen", "conflict", "intensity", "label-input"):
        assert f"{name}-wild" in names


@pytest.mark.parametrize("name", ["unseen", "unseen-wild"])
def test_unseen_asks_for_held_out_pairs_in_three_strata(name):
    found = verify(load_protocol(name, "synfacs2"))
    assert found["in both"] == []
    assert found["without a held-out pair"] == []
    assert found["train combinations with a held-out pair"] == []
    frame = load_protocol(name, "synfacs2").samples().frame
    sizes = {
        s: [len(parse_aus(c)) for c in frame["combination"][frame["strata"] == s]] for s in STRATA
    }
    assert set(sizes["pair"]) == {2}
    assert set(sizes["pair+"]) <= {3, 4}
    assert min(sizes["dense"]) >= 5
    assert all(len(rows) > 600 for rows in sizes.values())


def test_memory_of_sets_falls_short_of_unseen():
    frame = load_protocol("unseen", "synfacs2").samples().frame
    asked = frame[list(LABELS)].to_numpy().astype(int)
    known = np.unique(split_frame("train")[list(LABELS)].to_numpy().astype(int), axis=0)
    near = known[(asked[:, None] != known[None]).sum(2).argmin(1)]
    f1 = 2 * (asked * near).sum(0) / (asked.sum(0) + near.sum(0))
    assert f1.mean() < 0.65  # the exact sets have 1


def test_label_input_has_the_samples_of_test2k():
    a, b = (frame_of_plan(PLANS[name]) for name in ("test2k", "label-input"))
    assert list(a["target"]) == list(b["target"])


def test_the_same_scene_variant_differs_in_references_alone():
    usual, same = (frame_of_plan(PLANS[name]) for name in ("test2k", "test2k-same-scene"))
    assert list(usual["target"]) == list(same["target"])
    assert not set(usual["reference"]) & set(same["reference"])
    pairs = zip(same["target"], same["reference"], strict=True)
    assert all(parse_key(t)[2] == parse_key(r)[2] for t, r in pairs)


def test_mixed_faces_are_both_conditions_in_turn():
    mixed = find_dataset("synfacs2-mixed").faces("validation")
    studio, wild = (find_dataset(n).faces("validation") for n in ("synfacs2", "synfacs2-wild"))
    assert mixed.keys[::2] == studio.keys
    assert mixed.keys[1::2] == wild.keys
    assert np.array_equal(mixed.labels[::2], studio.labels)


def test_an_unknown_split_is_named():
    with pytest.raises(AubenchError, match="unknown split 'tain'"):
        find_dataset("synfacs2").faces("tain")


def test_the_command_freezes_each_beds_own_protocols(tmp_path, capsys):
    def freeze_by(*words):
        with pytest.raises(SystemExit) as ended:
            main(["protocol", "freeze", *words, "--out", str(tmp_path)])
        return ended.value.code or 0

    assert freeze_by("conflict-wild", "--data", "synfacs2") == 0
    shipped = load_protocol("conflict-wild", "synfacs2").folder / "samples.csv"
    built = tmp_path / "synfacs2" / "conflict-wild" / "samples.csv"
    assert built.read_bytes() == shipped.read_bytes()
    assert freeze_by("conflict-wild", "--data", "synfacs") == 2
    assert freeze_by("conflict", "--data", "synfacs2-wild") == 2
