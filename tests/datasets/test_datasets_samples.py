"""Sample sets: what they refuse, how they divide and come together, what derives from an id."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aubench.datasets.samples import INTENSITIES, LABELS, SampleSet, read_samples, seed_of
from aubench.datasets.synfacs.synfacs_dataset import draw_intensities, frame_of
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.protocols.protocol import load_protocol
from aubench.synfacs.keys import parse_key


@pytest.fixture(scope="module")
def few():
    return load_protocol("test2k").samples().limit(30)


def active_row(samples, au):
    return samples.frame.index[samples.frame[f"AU{au}"] == 1][0]


def test_an_intensity_must_agree_with_its_label_and_lie_in_range(few):
    row = active_row(few, 12)
    name = few.frame["sample_id"].iloc[row]
    for value, what in ((0.0, "contradicts"), (6.0, "outside"), (-1.0, "outside")):
        frame = few.frame.copy()
        frame.loc[row, "I12"] = np.float32(value)
        with pytest.raises(AubenchError, match=f"'{name}' has an intensity.*{what}.*I12"):
            SampleSet(frame, "synfacs")


def test_an_unknown_intensity_is_not_a_wrong_one(few):
    frame = few.frame.assign(**{name: np.float32("nan") for name in INTENSITIES})
    assert np.isnan(SampleSet(frame, "synfacs").intensities()).all()


def test_a_combination_must_say_what_the_labels_say(few):
    frame = few.frame.copy()
    frame.loc[4, "combination"] = "1+2+4+6+7+10"
    with pytest.raises(AubenchError, match=frame["sample_id"].iloc[4]):
        SampleSet(frame, "synfacs")


@given(st.integers(1, 12))
@settings(max_examples=12, deadline=None)
def test_shards_merge_into_the_whole(count):
    whole = load_protocol("conflict").samples()
    parts = [whole.shard(i, count).frame for i in range(count)]
    merged = pd.concat(parts).sort_values("sample_id", ignore_index=True)
    assert SampleSet(merged, "synfacs").sha256 == whole.sha256


@pytest.mark.parametrize(("index", "count"), [(2, 2), (-1, 2), (0, 0)])
def test_there_is_no_shard_beyond_the_last(few, index, count):
    with pytest.raises(AubenchError, match=f"no shard {index} of {count}"):
        few.shard(index, count)


def test_a_subset_is_by_number_or_mask(few):
    by_number = few.subset([4, 1])
    assert by_number.subjects() == [few.subjects()[4], few.subjects()[1]]
    mask = few.labels()[:, AUS.index(12)] == 1
    assert few.subset(mask).labels()[:, AUS.index(12)].all()
    assert len(few.subset(mask)) == mask.sum()


def test_what_is_written_is_read_and_damage_is_named(few, tmp_path):
    path = tmp_path / "samples.parquet"
    few.write(path)
    assert read_samples(path, "synfacs").sha256 == few.sha256
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(AubenchError, match=r"cannot read samples from .*samples\.parquet"):
        read_samples(path, "synfacs")
    with pytest.raises(AubenchError, match=r"cannot read samples from .*gone\.parquet"):
        read_samples(tmp_path / "gone.parquet", "synfacs")
    few.frame.assign(AU12=7).to_parquet(path)
    with pytest.raises(AubenchError, match=r"samples\.parquet: sample .* not 0 or 1"):
        read_samples(path, "synfacs")


def test_every_column_counts_in_the_digest(few):
    row = active_row(few, 12)
    changed = few.frame.copy()
    changed.loc[row, "I12"] = np.float32(few.frame.loc[row, "I12"] - np.float32(0.1))
    for frame in (
        changed,
        few.frame.assign(text="x"),
        few.frame.assign(seed=1),
        few.frame.assign(strata="x"),
        few.frame.assign(target=None),
    ):
        assert SampleSet(frame, "synfacs").sha256 != few.sha256


@given(
    st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=1, max_size=20),
    st.integers(0, 2**31),
)
@settings(max_examples=40, deadline=None)
def test_frames_say_in_every_column_what_their_keys_say(rows, seed):
    labels = np.array(rows, np.uint8)
    values = draw_intensities(np.random.default_rng(seed), labels)
    assert not values[labels == 0].any()
    assert ((values[labels == 1] >= 2) & (values[labels == 1] <= 5)).all()
    people = np.arange(len(rows)) % 400
    frame = frame_of("x", people, people * 100, values, seed)
    SampleSet(frame.assign(text=""), "synfacs")
    np.testing.assert_array_equal(frame[list(LABELS)].to_numpy(), labels)
    for row in frame.itertuples():
        subject, intensities, scene = parse_key(row.target)
        blank = parse_key(row.reference)
        np.testing.assert_array_equal(intensities, values[row.Index])
        assert (subject, scene) == (blank[0], blank[2]) and not blank[1].any()
        assert row.seed == seed_of(row.sample_id, seed)
