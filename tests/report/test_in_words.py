"""Sentences on what a record comes to: they follow the numbers, and say when there are none."""

import pytest

from aubench.metrics.registry import facts_of
from aubench.records.record import ScoreRow, read_record
from aubench.report.tables.in_words import copying_in_words, in_words
from aubench.storage.files import shipped

RECORD = shipped("leaderboards") / "synfacs" / "test2k" / "oracle.json"


@pytest.fixture(scope="module")
def record():
    return read_record(RECORD)


def having(record, note="", **values):
    rows = [
        ScoreRow(
            metric=name,
            id=name,
            value=value,
            n=24,
            higher_is_better=facts_of(name).higher_is_better,
            note=note,
        )
        for name, value in values.items()
    ]
    return record.model_copy(update={"scores": rows})


def test_a_run_is_told_by_its_share_of_the_targets(record):
    assert in_words(having(record, au_skill=0.8412))[0].startswith("AU skill 0.84 of what")
    assert in_words(having(record, fid=3.0)) == []


@pytest.mark.parametrize(("ceiling", "blind"), [(0.34, True), (0.36, False)])
def test_readers_who_see_nothing_are_told_of(record, ceiling, blind):
    told = in_words(having(record, aaad_ceiling=ceiling, aaad_floor=0.30))
    assert bool(told) is blind
    if blind:
        assert "see nothing on these faces" in told[0] and "0.340" in told[0]


def test_targets_that_show_too_little_are_told_of(record):
    told = in_words(having(record, "the targets show nano-a too little", au_skill=None))
    assert told == [
        "these detectors see nothing on these faces: the targets show nano-a too little"
    ]


def test_copying_wins_only_what_it_wins(record):
    still = having(record, au_skill=0.0, fid=10.0, ssim=0.9, identity=0.5, motion_gain=0.0)
    made = having(record, au_skill=0.7, fid=20.0, ssim=0.95, identity=0.6, motion_gain=0.8)
    oracle, decals = having(record, au_skill=1.0), having(record, au_skill=0.4)
    records = {"oracle": oracle, "copy-reference": still, "decals": decals, "m": made}
    lines = copying_in_words(records, ["m"])
    assert len(lines) == 5 and "1.00 (ceiling)" in lines[0] and "0.00 (floor)" in lines[0]
    assert "m 0.70" in lines[1] and "0.40" in lines[1]
    assert "FID 10.00 against 20.00" in lines[2] and "SSIM" not in lines[2]
    assert "identity" not in lines[2]
    assert "motion gain 0.00; m has" in lines[3] and "motion gain 0.80" in lines[3]
    better = having(record, au_skill=0.7, fid=5.0, ssim=0.95, identity=0.6)
    lines = copying_in_words(records | {"m": better}, ["m"])
    assert lines[2] == "Copying the reference beats m nowhere." and "motion" not in lines[3]
