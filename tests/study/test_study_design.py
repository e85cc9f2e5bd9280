"""Trials, orders, names: fair and blind by construction."""

import json
import shutil
import struct
from collections import Counter
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pillow
from PIL import ImageFilter

from aubench.datasets.samples import SampleSet
from aubench.errors import AubenchError
from aubench.facs import parse_aus
from aubench.protocols.protocol import load_protocol
from aubench.storage.run_folder import RunFolder
from aubench.study.design import likeness, orders, sealing, sources, trials
from aubench.study.design.creation import create
from aubench.study.design.files import IMAGES, read_consent, read_criteria, read_design

MODELS = ("alpha-net", "beta-net", "gamma-net")


@pytest.mark.parametrize("k", range(2, 10))
def test_williams_balances_places_and_carry_over(k):
    rows = orders.williams(k)
    assert len(rows) == (k if k % 2 == 0 else 2 * k)
    assert all(sorted(row) == list(range(k)) for row in rows)
    for place in range(k):
        counts = Counter(row[place] for row in rows)
        assert set(counts.values()) == {len(rows) // k}
    follows = Counter(pair for row in rows for pair in pairwise(row))
    assert len(follows) == k * (k - 1) and len(set(follows.values())) == 1


def test_trial_order_keeps_subjects_and_repetitions_apart():
    slots = [orders.Slot(f"t{i}", f"S{i % 6}") for i in range(30)]
    slots += [orders.Slot(f"r{i}", f"S{i % 6}", repeats=f"t{i}") for i in range(3)]
    for seed in range(10):
        order_ = orders.trial_order(slots, np.random.default_rng(seed))
        assert sorted(order_) == list(range(33))
        assert all(slots[a].subject != slots[b].subject for a, b in pairwise(order_))
        for repeated in range(30, 33):
            assert order_.index(repeated) - order_.index(repeated - 30) >= orders.GAP
    assert len({tuple(orders.trial_order(slots, np.random.default_rng(s))) for s in range(9)}) == 9


@pytest.mark.parametrize(
    ("judged", "sample", "stray"),
    [
        ("12+15", "12+15", []),
        ("12+15", "1+12+15", []),
        ("12+15", "12+15+17", [17]),  # same region
        ("12+15", "12+15+23", [23]),
        ("1+4", "1+4+12", []),
        ("1+4", "1+2+4", [2]),
        ("6+12+15", "6+7+12+15", [7]),  # same muscle, and same region
        ("12+15", "6+12+15", []),
    ],
)
def test_auxiliary_aus_in_the_judged_region_are_found(judged, sample, stray):
    assert sources.stray_aus(judged, sample) == stray


def test_every_sample_of_conflict_is_a_fair_prompt():
    frame = load_protocol("conflict").samples().frame
    for judged, sample in set(zip(frame["strata"], frame["combination"], strict=True)):
        assert not sources.stray_aus(judged, sample)
        assert set(parse_aus(judged)) <= set(parse_aus(sample))


def test_an_unfair_sample_is_refused():
    frame = load_protocol("conflict").samples().frame
    rows = frame[frame["strata"] == "12+15"].copy()
    rows.loc[rows.index[3], "combination"] = "12+15+17"
    with pytest.raises(AubenchError, match="AU17 acts in the judged region"):
        trials.draw_main(rows, 2, np.random.default_rng(0))


def test_main_trials_are_of_distinct_subjects_and_follow_the_seed():
    frame = load_protocol("conflict").samples().frame
    drawn = trials.draw_main(frame, 5, np.random.default_rng(1))
    assert Counter(draft.combination for draft in drawn) == dict.fromkeys(set(frame["strata"]), 5)
    for name in set(frame["strata"]):
        assert len({draft.subject for draft in drawn if draft.combination == name}) == 5
    assert drawn == trials.draw_main(frame, 5, np.random.default_rng(1))
    assert drawn != trials.draw_main(frame, 5, np.random.default_rng(2))
    many = trials.draw_main(frame, 60, np.random.default_rng(1))  # more than the 40 subjects
    assert len({draft.sample for draft in many}) == 360


def test_known_trials_show_one_face_with_the_aus_and_the_rest_without():
    samples = load_protocol("conflict").samples()
    for k in (2, 5, 9):
        for draft in trials.draw_known(samples, [], 6, k, np.random.default_rng(k)):
            keys = {draft.target, *draft.wrong}
            assert len(keys) == k
            subject, scene, _ = draft.target.split("/")
            judged = set(parse_aus(draft.combination))
            for key in draft.wrong:
                assert key.startswith(f"{subject}/{scene}/")  # the same face in the same scene
                words = key.split("/")[2].replace("neutral", "")
                found = {int(part.split("=")[0]) for part in words.split("+") if part}
                assert not found & judged
                assert not sources.stray_aus(
                    draft.combination, "+".join(map(str, sorted(found | judged)))
                )


def test_every_model_shows_the_same_samples(study):
    models = {name: set() for name in MODELS}
    for trial in study.design.trials:
        kind = study.key.trials[trial.id].kind
        shown = [study.key.images[name] for name in trial.images]
        if kind == "gold":
            assert sorted(image.source for image in shown) == ["target", "wrong", "wrong"]
            continue
        assert sorted(image.source for image in shown) == sorted(MODELS)
        assert {image.sample for image in shown} == {study.key.trials[trial.id].sample}
        for image in shown:
            models[image.source].add(image.sample)
    assert len(set(map(frozenset, models.values()))) == 1
    kinds = Counter(entry.kind for entry in study.key.trials.values())
    assert kinds == {"main": 6, "gold": 1, "duplicate": 1}


def test_over_the_places_each_model_stands_equally_often_at_each_place(study):
    counts, follows = Counter(), Counter()
    for place in study.design.places:
        for step in place:
            trial = study.design.by_id[step.trial]
            if study.key.trials[trial.id].kind == "gold":
                continue
            names = [study.key.images[trial.images[i]].source for i in step.order]
            counts.update((trial.id, position, name) for position, name in enumerate(names))
            follows.update((trial.id, *pair) for pair in pairwise(names))
    assert set(counts.values()) == {2}  # six places, three positions
    assert set(follows.values()) == {2}


def test_an_image_is_pixels_and_nothing_else(study):
    seen = set()
    for path in (study.path / IMAGES).iterdir():
        data = path.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        kinds, at = [], 8
        while at < len(data):
            length, kind = struct.unpack(">I4s", data[at : at + 8])
            if kind == b"IHDR":
                seen.add(data[at + 8 : at + 8 + length])
            kinds.append(kind)
            at += 12 + length
        assert kinds[0] == b"IHDR" and kinds[-1] == b"IEND" and set(kinds[1:-1]) == {b"IDAT"}
        assert len(path.stem) == 32 and set(path.stem) <= set("0123456789abcdef")
    assert seen == {struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)}  # one size, one mode


def test_images_of_another_size_or_shape_are_brought_to_one():
    wide = np.zeros((40, 80, 3), np.uint8)
    small = sources.one_size(wide, 20)
    assert small.shape == (20, 20, 3)
    assert small[0, 0, 0] == 128 and small[10, 10, 0] == 0  # grey bars, then the picture
    assert sources.one_size(np.full((64, 64, 3), 7, np.uint8), 64).tolist() == [[[7] * 3] * 64] * 64


def test_the_design_tells_no_model_no_sample_and_no_kind(study):
    text = (study.path / "study.json").read_text()
    kinds = ('"gold"', '"duplicate"', '"main"', "target", "wrong")
    for word in (*MODELS, *kinds, "conflict-0", study.key.secret, "seed"):
        assert word not in text
    assert "S3" not in text  # subjects of the test split
    ids = {trial.id for trial in study.design.trials}
    kinds = [study.key.trials[name].kind for name in sorted(ids)]
    assert kinds != sorted(kinds, key=["main", "duplicate", "gold"].index)  # ids are shuffled


def test_secrets_are_for_their_owner_alone(study):
    for name in ("key.sealed.json", "server.json", "links.csv"):
        assert (study.path / name).stat().st_mode & 0o077 == 0
    server = (study.path / "server.json").read_text()
    assert not any(token in server for token in (*study.links, study.admin, study.key.secret))


def test_opaque_names_are_keyed_and_cannot_run_into_each_other():
    secret = sealing.new_secret()
    assert sealing.opaque(secret, "ab", "c") != sealing.opaque(secret, "a", "bc")
    assert sealing.opaque(secret, "a") == sealing.opaque(secret, "a")
    assert sealing.opaque(secret, "a") != sealing.opaque(sealing.new_secret(), "a")


def test_another_key_is_refused(study, tmp_path):
    assert sealing.unseal(study.path, study.design) == study.key
    path = study.path / "key.sealed.json"
    table = json.loads(path.read_text())
    table["models"] = table["models"][::-1]
    path.write_text(json.dumps(table))
    with pytest.raises(AubenchError, match="not the key"):
        sealing.unseal(study.path, study.design)
    path.unlink()
    with pytest.raises(AubenchError, match="cannot read"):
        sealing.unseal(study.path, study.design)


def test_an_edited_consent_text_is_refused(study):
    assert "18 years" in read_consent(study.path, study.design)
    with (study.path / "consent.txt").open("a") as stream:
        stream.write("and my house")
    with pytest.raises(AubenchError, match="edited"):
        read_consent(study.path, study.design)


@pytest.mark.parametrize("text", ["", "{}", '{"schema_version": 2}', "[" * 9])
def test_a_damaged_design_is_one_line(study, text):
    (study.path / "study.json").write_text(text)
    with pytest.raises(AubenchError, match="damaged"):
        read_design(study.path)


def test_criteria_are_there_for_each_combination_in_plain_words():
    criteria = read_criteria()
    assert set(criteria) == set(load_protocol("conflict").samples().frame["strata"])
    words = " ".join(
        " ".join((entry.title, entry.region, *entry.looks)) for entry in criteria.values()
    ).lower()
    jargon = ("au1", "action unit", "zygomatic", "depressor", "corrugator", "frontalis", "mentalis")
    assert not any(word in words for word in jargon)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ("alpha-net", "betta-net")}, "did you mean 'beta-net'"),
        ({"models": ("alpha-net",)}, "--models names 1; name two to nine"),
        ({"models": ("alpha-net", "alpha-net")}, "named twice"),
        ({"per_combination": 201}, "has 200 samples"),
        ({"duplicates": 13}, "13 repetitions of 12"),
        ({"protocol": "label-input"}, "stratum 'all' is no combination of AUs"),
        ({"seed": 6}, "completes the run"),  # other samples, which the runs lack
    ],
)
def test_what_does_not_fit_is_said_in_one_line(order, runs, tmp_path, changes, message):
    with pytest.raises(AubenchError, match=message) as caught:
        create(order([runs], **changes), tmp_path / "s")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_changed_image_is_refused(order, runs, tmp_path):
    root = tmp_path / "runs"
    shutil.copytree(runs, root)
    folder = root / "synfacs-conflict-beta-net"
    path = sorted((folder / "images").iterdir())[0]
    other = sorted((folder / "images").iterdir())[1]
    path.write_bytes(other.read_bytes())
    with pytest.raises(AubenchError, match="changed since it was made"):
        create(order([root]), tmp_path / "s")


def test_a_limited_run_is_named_and_one_that_was_refused_is_no_run(order, runs, tmp_path):
    root = tmp_path / "runs"
    shutil.copytree(runs, root)
    stated = root / "synfacs-conflict-alpha-net" / "run.json"
    identity = json.loads(stated.read_text())
    (root / "refused").mkdir()
    (root / "refused" / "run.json").write_text(json.dumps(identity))
    assert create(order([root]), tmp_path / "whole").trials
    stated.write_text(json.dumps(identity | {"limit": 24}))
    with pytest.raises(AubenchError, match="is a run with --limit 24"):
        create(order([root], seed=6), tmp_path / "s")


def test_two_runs_of_one_model_ask_which(order, runs, tmp_path):
    root = tmp_path / "runs"
    shutil.copytree(runs / "synfacs-conflict-beta-net", root / "again")
    with pytest.raises(AubenchError, match="several runs"):
        create(order([runs, root]), tmp_path / "s")
    given = {"beta-net": root / "again"}
    assert create(order([runs, root], runs=given), tmp_path / "s").trials == 16
    with pytest.raises(AubenchError, match="exists"):
        create(order([runs]), tmp_path / "s")


def test_a_run_of_another_protocol_is_refused(order, runs, tmp_path):
    stated = {"model": "beta-net", "protocol": "synfacs/conflict", "protocol sha256": "0"}
    RunFolder.create(tmp_path / "other", stated)
    with pytest.raises(AubenchError, match="other than conflict"):
        create(order([runs], runs={"beta-net": tmp_path / "other"}), tmp_path / "s")


def trial(data, **changes):
    data["trials"][0].update(changes)


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda d: trial(d, id=d["trials"][1]["id"]), "a trial id occurs twice"),
        (lambda d: d["criteria"].pop(d["trials"][0]["combination"]), "no criteria for"),
        (lambda d: trial(d, images=d["trials"][0]["images"][:2]), "has 2 images, not 3"),
        (lambda d: d["places"][1].pop(), "a place does not hold every trial once"),
        (lambda d: d["places"][1].append(d["places"][1][0]), "does not hold every trial once"),
        (lambda d: d["places"][0][0].update(order=[0, 1, 1]), "an order is no permutation"),
        (lambda d: d.update(models=["alpha-net"]), "models Extra inputs"),
    ],
)
def test_a_design_that_contradicts_itself_is_refused(study, edit, why):
    """Served all the same, it would give answers that no analysis can read."""
    data = json.loads((study.path / "study.json").read_text())
    edit(data)
    (study.path / "study.json").write_text(json.dumps(data))
    with pytest.raises(AubenchError, match=rf"study\.json is damaged: .*{why}"):
        read_design(study.path)


def test_a_study_without_its_consent_text_or_criteria_is_one_line(study, tmp_path):
    (study.path / "consent.txt").unlink()
    with pytest.raises(AubenchError, match=r"cannot read .*consent\.txt: No such file"):
        read_consent(study.path, study.design)
    path = tmp_path / "criteria.toml"
    with pytest.raises(AubenchError, match=r"cannot read .*criteria\.toml: No such file"):
        read_criteria(path)
    for text in (b"[12", b'["12+15"]\ntitle = "x"\n', b"\xff"):
        path.write_bytes(text)
        with pytest.raises(AubenchError, match="is no table of criteria") as caught:
            read_criteria(path)
        assert caught.value.hint == "see aubench/study/design/criteria.toml"
    path.write_text('["12+15"]\ntitle = "t"\nregion = "mouth"\nlooks = ["up", "down"]\n')
    assert read_criteria(path)["12+15"].looks == ("up", "down")


def photographs(references):
    """Samples of another data set: 12+15 of each subject, with the references given."""
    samples = load_protocol("conflict").samples()
    frame = samples.frame[samples.frame["combination"] == "12+15"].head(len(references)).copy()
    frame["subject"], frame["reference"] = zip(*references, strict=True)
    frame["target"] = [f"{name}/target" for name in frame["sample_id"]]
    return SampleSet(frame, "photos")


def test_known_trials_of_photographs_show_faces_of_the_same_person_alone():
    rows = [("ann", f"ann/{i}") for i in range(3)] + [("bob", "bob/0"), ("eve", "eve/0")]
    samples = photographs(rows)
    # One more face of ann shows brows alone, one of bob shows a mouth.
    whole = load_protocol("conflict").samples().frame
    brows = whole[whole["combination"] == "1+4"].head(1)
    mouth = whole[whole["combination"] == "12+15+17"].head(1)
    extra = pd.concat([brows, mouth]).assign(
        sample_id=["x1", "x2"],
        subject=["ann", "bob"],
        strata=["12+15", "12+15"],
        reference=["ann/0", "bob/0"],
        target=["ann/brows", "bob/mouth"],
    )
    samples = SampleSet(pd.concat([samples.frame, extra], ignore_index=True), "photos")
    for seed in range(8):
        (draft,) = trials.draw_known(samples, [], 1, 4, np.random.default_rng(seed))
        own = dict(zip(samples.frame["sample_id"], samples.frame["reference"], strict=True))
        assert draft.target == f"{draft.sample}/target" and draft.subject == "ann"
        assert len(set(draft.wrong)) == 3 and own[draft.sample] not in draft.wrong
        assert "ann/brows" in draft.wrong and all(key.startswith("ann/") for key in draft.wrong)
    with pytest.raises(AubenchError, match=r"need 4 faces of one person .*, photos has 3"):
        trials.draw_known(samples, [], 1, 5, np.random.default_rng(0))


def test_known_trials_show_persons_of_the_trials():
    samples = load_protocol("conflict").samples()
    generator = np.random.default_rng(2)
    used = trials.draw_main(samples.frame, 3, generator)
    drawn = trials.draw_known(samples, used, 6, 3, generator)
    assert {draft.subject for draft in drawn} <= {draft.subject for draft in used}
    assert not {draft.sample for draft in drawn} & {draft.sample for draft in used}


def features(image):
    """What an eye catches first: light, colour, contrast, sharpness, noise, size of the file."""
    grey = image.mean(axis=2)
    edges = np.abs(np.diff(grey, axis=0)).mean(), np.abs(np.diff(grey, axis=1)).mean()
    laplace = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1]
    laplace = laplace - grey[1:-1, :-2] - grey[1:-1, 2:]
    size = len(sources.bare_png(image))
    return [*image.mean((0, 1)), *image.std((0, 1)), *edges, np.log(laplace.var()), np.log(size)]


def told_apart(real, known):
    """Return the area under the curve of a linear discriminant, each face left out in turn."""
    table = np.array([features(image) for image in [*real, *known]])
    table = (table - table.mean(0)) / table.std(0)
    label = np.array([0.0] * len(real) + [1.0] * len(known))
    score = []
    for out in range(len(table)):
        rest = np.arange(len(table)) != out
        x = np.column_stack([np.ones(rest.sum()), table[rest]])
        ridge = np.linalg.solve(x.T @ x + 3.0 * np.eye(x.shape[1]), x.T @ (label[rest] - 0.5))
        score.append(np.r_[1.0, table[out]] @ ridge)
    score = np.array(score)
    wins = score[label == 1][:, None] > score[label == 0][None]
    return wins.mean()


def painted(generator):
    """Return a picture with the spectrum of a photograph: a head before a background."""
    lines = np.fft.fftfreq(48)
    falling = 1 / np.maximum(np.hypot(lines[:, None], lines[None]), 1 / 48)
    waves = np.fft.fft2(generator.standard_normal((48, 48, 3)), axes=(0, 1)) * falling[..., None]
    texture = np.fft.ifft2(waves, axes=(0, 1)).real
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    head = (x / 0.6) ** 2 + (y / 0.8) ** 2 < 1
    colours = generator.uniform(60, 200, (2, 3))
    flat = np.where(head[..., None], *colours[:, None, None])
    return np.clip(flat + 6 * texture / texture.std(), 0, 255).astype(np.uint8)


def test_known_faces_cannot_be_told_from_the_models_by_simple_features():
    generator = np.random.default_rng(0)
    plain, hidden = ([painted(generator) for _ in range(60)] for _ in range(2))

    def blurred(image):
        soft = np.asarray(Pillow.fromarray(image).filter(ImageFilter.GaussianBlur(1.4)))
        return np.clip(soft * 0.9 + 20, 0, 255).astype(np.uint8)

    def noisy(image):
        return np.clip(image + generator.normal(0, 14, image.shape), 0, 255).astype(np.uint8)

    for model in (blurred, noisy):
        real = [model(face) for face in plain]
        look = likeness.look_of(real, plain)
        known = [likeness.give(face, look, generator) for face in hidden]
        assert told_apart(real, hidden) > 0.9  # as they come, they are told at a glance
        assert 0.35 < told_apart(real, known) < 0.65


def test_attention_trials_take_no_sample_twice_and_end_where_none_is_left():
    samples = photographs([("ann", f"ann/{number}") for number in range(3)])
    drawn = trials.draw_known(samples, [], 3, 2, np.random.default_rng(0))
    assert len({draft.sample for draft in drawn}) == 3
    with pytest.raises(AubenchError, match=r"no sample of 12\+15 .*is left") as caught:
        trials.draw_known(samples, drawn[:1], 3, 2, np.random.default_rng(0))
    assert caught.value.hint == "ask for fewer --gold"
