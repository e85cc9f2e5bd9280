"""Legibility: the table of expressions, a CLIP of random weights, and scores by hand."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aubench.errors import AubenchError
from aubench.facs import AUS, labels_of, parse_aus
from aubench.facs.expressions import AMBIGUOUS, NONE, load_expressions
from aubench.metrics.evaluation_data import EvaluationData
from aubench.metrics.faces.legibility import read_as
from aubench.metrics.registry import metric
from aubench.networks.external_weights import MissingWeightsError
from aubench.networks.legibility import load_legibility, model_folder
from aubench.networks.network_choice import NetworkChoice

TABLE = load_expressions()


def expression(aus):
    number = TABLE.number(frozenset(parse_aus(aus)))
    return TABLE.names[number] if number >= 0 else {NONE: None, AMBIGUOUS: "ambiguous"}[number]


@pytest.mark.parametrize(
    ("aus", "name"),
    [
        ("neutral", "neutral"),
        ("6+12", "happy"),
        ("1+4+15", "sad"),
        ("1+2+4", "fearful"),
        ("4+7+24", "angry"),
        ("1+2", "surprised"),
        ("10", "disgusted"),
        ("14", "contemptuous"),
        ("1+2+12", "happily surprised"),
        ("6+10+12", "happily disgusted"),
        ("4+6+12", "happily sad"),
        ("4+7+15", "sadly angry"),
        ("4+10+15", "sadly disgusted"),
        ("4+10+17", "angrily disgusted"),
        ("1+2+10", "disgustedly surprised"),
        ("4+7+10", "hateful"),
        ("6+12+15+17", "suppressed smile"),
        ("7", None),
        ("12+14+1", None),
        ("4+7+10+17", "ambiguous"),
    ],
)
def test_combinations_mean_what_the_sources_say(aus, name):
    assert expression(aus) == name


@given(st.sets(st.sampled_from(AUS)))
@settings(max_examples=150, deadline=None)
def test_only_the_most_demanding_fitting_prototypes_decide(aus):
    fitting = [row for row in TABLE.prototypes if row.core <= aus <= row.core | row.extra]
    best = {r.expression for r in fitting if len(r.core) == max(len(q.core) for q in fitting)}
    number = TABLE.number(frozenset(aus))
    if len(best) == 1:
        assert best == {TABLE.names[number]}
    else:
        assert number == (AMBIGUOUS if best else NONE)
    assert TABLE.intended(labels_of(aus)[None])[0] == number


def test_every_row_states_its_source_and_what_it_says():
    assert {row.expression for row in TABLE.prototypes} == set(TABLE.names)
    assert all(len(row.source) > 5 and row.published for row in TABLE.prototypes)
    questions = TABLE.questions()
    assert len(questions) == len(TABLE.names) == 17
    assert len({q for asked in questions for q in asked}) == sum(map(len, questions))


GOOD = """
templates = ["a photo of {}."]
[[expressions]]
name = "calm"
prompts = ["a calm face"]
[[expressions]]
name = "happy"
prompts = ["a happy face"]
[[prototypes]]
expression = "calm"
required = "neutral"
published = "none"
source = "definition"
[[prototypes]]
expression = "happy"
required = "12"
published = "12"
source = "somebody 2000"
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("a photo of {}.", "a photo.", "must hold one"),
        ('required = "12"', 'required = "9"', "unknown AU '9'"),
        ('required = "12"', 'required = "12"\nallowed = "6+12"', "AU12 is both"),
        ('required = "12"', 'required = "neutral"', "required for calm and happy"),
        ('expression = "happy"', 'expression = "jolly"', "unknown expression 'jolly'"),
        ('expression = "happy"', 'expression = "calm"', "'happy' has no prototype"),
        ('source = "somebody 2000"', "", "prototypes.1.source"),
        ("published", "publshed", "prototypes.0"),
        ('name = "happy"', 'name = "calm"', "twice"),
        ("[[expressions]]", "[[expressions", "not TOML"),
    ],
)
def test_a_wrong_table_is_one_line_that_names_the_fault(tmp_path, old, new, message):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    assert load_expressions(path).names == ("calm", "happy")
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(AubenchError, match=message) as caught:
        load_expressions(path)
    assert "mine.toml" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(AubenchError, match="cannot read"):
        load_expressions(tmp_path / "none.toml")


def clip_folder(folder, **small):
    """Write a CLIP of random weights as transformers does; ViT-B/32's true shape by default."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    letters = sorted(ByteLevel.alphabet())
    marks = ["<|startoftext|>", "<|endoftext|>"]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *marks]
    text = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, **small}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=small, projection_dim=512))
    model.save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": marks[0],
        "eos_token": marks[1],
        "unk_token": marks[1],
        "pad_token": marks[1],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


TINY = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return clip_folder(tmp_path_factory.mktemp("models") / "tiny-clip", **TINY)


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    load_legibility.cache_clear()
    monkeypatch.setattr("aubench.networks.extractors.extractor.MICRO_BATCH", 4)
    yield
    load_legibility.cache_clear()


def pictures(tmp_path, n, side):
    """Smooth coloured images, as PNG and as uint8 [N, side, side, 3]."""
    rng = np.random.default_rng(1)
    out = []
    for i in range(n):
        small = Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8))
        small.resize((side, side), Image.Resampling.BICUBIC).save(tmp_path / f"{i}.png")
        out.append(np.asarray(Image.open(tmp_path / f"{i}.png")))
    return np.stack(out)


def as_clip_answers(folder, images, table):
    """What CLIPModel itself makes of the questions, in its documented way."""
    from transformers import CLIPModel, CLIPProcessor

    model, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)
    model.eval()
    logits = []
    pixels = processor(images=[Image.fromarray(image) for image in images], return_tensors="pt")
    with torch.inference_mode():
        for asked in table.questions():
            words = processor(text=asked, padding=True, return_tensors="pt")
            out = model(**pixels, **words)
            mean = out.text_embeds.mean(0)
            logits.append(model.logit_scale.exp() * out.image_embeds @ (mean / mean.norm()))
    return torch.stack(logits, 1).softmax(1).numpy(), pixels["pixel_values"].numpy()


def check_against_transformers(folder, tmp_path, table=TABLE):
    images = pictures(tmp_path, 2, 128)
    network = load_legibility(str(folder), expressions=table)
    found = network(images)["probabilities"]
    expected, pixels = as_clip_answers(folder, images, table)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.std(0).max() > 1e-5  # it looks at the images
    ours = network.pixels(torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float()).numpy()
    np.testing.assert_array_equal(ours, pixels)
    # And Pillow's own resizing, within two grey levels of 256.
    mean, std = np.array(network.processor.image_mean), np.array(network.processor.image_std)
    for image, seen in zip(images, ours, strict=True):
        pillow = Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC)
        back = (seen.transpose(1, 2, 0) * std + mean) * 255
        gap = np.abs(back - np.asarray(pillow, np.float64))
        assert gap.max() <= 2.001 and gap.mean() < 0.3
    return network


def test_a_tiny_clip_answers_as_transformers_does(tiny, tmp_path):
    network = check_against_transformers(tiny, tmp_path)
    assert network.name == "legibility"
    assert network.id.startswith("tiny-clip@") and "17 expressions" in network.id
    images = pictures(tmp_path, 5, 64)
    whole = network(images)["probabilities"]
    np.testing.assert_array_equal(network(images[4:])["probabilities"], whole[4:])
    np.testing.assert_allclose(whole.sum(1), 1, rtol=1e-5)


@pytest.mark.slow
def test_a_clip_of_the_shape_of_vit_b_32_answers_as_transformers_does(tmp_path):
    folder = clip_folder(tmp_path / "clip-vit-base-patch32")
    (tmp_path / "few.toml").write_text(GOOD)
    network = check_against_transformers(folder, tmp_path, load_expressions(tmp_path / "few.toml"))
    assert sum(p.numel() for p in network.model.parameters()) == 151_277_313


def test_a_folder_that_is_no_whole_clip_is_refused(tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    def broken(name, change):
        folder = shutil.copytree(tiny, tmp_path / name)
        change(folder)
        load_legibility.cache_clear()
        with pytest.raises(AubenchError, match=name) as caught:
            load_legibility(str(folder))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def without(folder):
        state = load_file(folder / "model.safetensors")
        state.pop("visual_projection.weight")
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    def other_kind(folder):
        (folder / "config.json").write_text('{"model_type": "bert"}')

    assert "missing" in broken("lacks-a-tensor", without)
    assert "type bert" in broken("other-kind", other_kind)
    broken("cut-short", lambda f: (f / "model.safetensors").write_bytes(b"123"))
    broken("no-weights", lambda f: (f / "model.safetensors").unlink())
    broken("no-words", lambda f: [f.joinpath(n).unlink() for n in ("vocab.json", "merges.txt")])


def test_a_changed_model_or_table_has_another_digest(tiny, tmp_path):
    first = load_legibility(str(tiny))
    folder = shutil.copytree(tiny, tmp_path / "tiny-clip")
    state = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(state[:-4] + b"\0\0\0\0")
    second = load_legibility(str(folder))
    assert first.sha256 != second.sha256 and first.id != second.id
    (tmp_path / "mine.toml").write_text(GOOD)
    third = load_legibility(str(tiny), expressions=load_expressions(tmp_path / "mine.toml"))
    assert third.sha256 != first.sha256 and third.names == ("calm", "happy")


def test_nothing_is_downloaded(tmp_path, monkeypatch):
    import socket

    def no_network(*_, **__):
        raise AssertionError("went to the network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    with pytest.raises(MissingWeightsError, match="hf download somebody/some-clip"):
        model_folder("somebody/some-clip")
    NetworkChoice(legibility="somebody/some-clip").check()  # missing is a reason, not an error
    for wrong in ("./nowhere", "/nowhere/at/all", "a/b/c", "what is this?"):
        with pytest.raises(AubenchError, match="--legibility-model") as caught:
            NetworkChoice(legibility=wrong).check()
        assert not isinstance(caught.value, MissingWeightsError)
    with pytest.raises(AubenchError, match="unknown extractor"):
        NetworkChoice(extractor="inception").check()


def test_reading_by_hand():
    p = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.0, 0.0, 0.0]])
    right, chance = read_as(p, np.array([0, 1, 0]))
    assert right.tolist() == [True, False, False] and chance.tolist() == [0.7, 0.3, 0.0]
    with pytest.raises(ValueError, match="not asked"):
        read_as(p, np.array([0, 1, 3]))
    with pytest.raises(ValueError, match="2 expressions"):
        read_as(p, np.array([0, 1]))


def scored(combinations, generated, targets, kept=None):
    labels = np.stack([labels_of(parse_aus(name)) for name in combinations])
    n = len(labels)
    data = EvaluationData(
        {"legibility": {"probabilities": generated}},
        {"legibility": {"probabilities": targets}},
        np.arange(n) if kept is None else kept,
        labels,
        labels.astype(np.float32),
        [f"S{i % 3}" for i in range(n)],
        {},
        {},
        "r",
        "",
        {"legibility": "some-clip@1|17 expressions 2 0123"},
        "labels",
        ["all"] * n,
    )
    return {row.metric: row for row in metric("legibility").score(data)}


def test_scores_count_what_shows_an_expression_and_say_what_was_left_out():
    combinations = ["12", "6+12", "neutral", "7", "4+7+10+17", "1+2"]
    happy, neutral, surprised = (TABLE.names.index(n) for n in ("happy", "neutral", "surprised"))
    answers = np.full((6, 17), 0.01, np.float32)
    answers[[0, 1, 2, 5], [happy, happy, happy, surprised]] = 0.84
    perfect = np.full((6, 17), 0.01, np.float32)
    perfect[[0, 1, 2, 5], [happy, happy, neutral, surprised]] = 0.84
    rows = scored(combinations, answers, perfect)
    accuracy, p = rows["legibility"], rows["legibility_p"]
    assert accuracy.value == 0.75 and accuracy.n == 4 and not accuracy.informative
    assert p.value == pytest.approx((3 * 0.84 + 0.01) / 4) and not p.informative
    assert "perception by a model" in accuracy.note and "targets reach 1.000" in accuracy.note
    assert "chance 0.059" in accuracy.note and "one answer to all 0.500" in accuracy.note
    assert "2 of 6 samples left out, 1 of them ambiguous" in accuracy.note
    assert accuracy.id == "legibility|some-clip@1|17 expressions 2|n=4"
    assert accuracy.ci is not None
    failed = scored(combinations, answers[1:], perfect, np.arange(1, 6))
    assert failed["legibility"].value == 0.5 and failed["legibility"].n == 4


def test_no_expression_at_all_or_no_model_is_a_dash_with_its_reason():
    p = np.full((2, 17), 1 / 17, np.float32)
    rows = scored(["7", "1"], p, p)
    assert rows["legibility"].value is None and "2 of 2 samples left out" in rows["legibility"].note
    m = SimpleNamespace(
        generated={}, generated_rows=np.arange(2), unavailable={"legibility": "no model"}
    )
    rows = metric("legibility").score(m)
    assert [row.value for row in rows] == [None, None] and not rows[0].informative
    assert rows[0].note == "no model"


@pytest.mark.slow
def test_the_option_brings_it_into_a_run(tiny, tmp_path):
    from aubench.run.execute import RunConfig, execute

    config = RunConfig(
        "oracle",
        "conflict",
        tmp_path / "run",
        limit=8,
        metrics=("legibility",),
        legibility_model=str(tiny),
    )
    record = execute(config)
    row = record.score("legibility")
    assert row.value is not None and f"targets reach {row.value:.3f}" in row.note
    assert row.id.startswith("legibility|tiny-clip@")
    assert record.provenance.networks["legibility"].startswith("tiny-clip@")
    assert (tmp_path / "run" / "features" / "legibility.safetensors").is_file()
