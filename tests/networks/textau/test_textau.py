"""The text classifier: shipped weights, held-out wordings, damage, and what it cannot be asked."""

import json
import shutil

import numpy as np
import pytest
import torch

from aubench.errors import AubenchError
from aubench.facs import labels_of
from aubench.facs.describe import describe
from aubench.networks.textau import load_text_au
from aubench.networks.textau.checks import check_language, check_text
from aubench.networks.textau.classifier import WEIGHTS, TextNetwork, load, preset
from aubench.networks.textau.corpus import HELD_OUT, PARTS, Worded, unseen_sets
from aubench.networks.textau.report import f1, measure, read_report
from aubench.storage.files import sha256_file


@pytest.mark.parametrize(("name", "least"), [("nano", 0.95), ("nano-dictionary", 0.85)])
def test_shipped_classifier_reaches_its_card_on_held_out_wordings(name, least):
    model = load_text_au(name)
    sets = unseen_sets([], 300)
    labels = np.stack([labels_of(aus) for aus in sets])
    p = model.probabilities([describe(aus, variant=HELD_OUT).text for aus in sets])
    assert f1(p, labels) >= least  # the paper reports 0.731
    seen = model.probabilities([describe(aus, variant=0).text for aus in sets])
    assert f1(seen, labels) >= 0.95
    assert model.card["scores"]["F1, held-out wordings"] >= 0.73


def test_probabilities_do_not_depend_on_company():
    model = load_text_au()
    texts = [describe((6, 12)).text, describe((1, 4, 15, 17, 23)).text, describe(()).text]
    together = model.probabilities(texts)
    alone = np.concatenate([model.probabilities([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert together.shape == (3, 12) and together.dtype == np.float32
    assert together[2].max() < 0.5


def test_no_texts_have_no_probabilities():
    assert load_text_au().probabilities([]).shape == (0, 12)


def test_encode_gives_states_and_mask():
    hidden, mask = load_text_au().encode(["a smile", "the chin is raised and the lips press"])
    assert hidden.shape[:2] == mask.shape and hidden.shape[2] == preset("nano").width
    assert mask.dtype == bool and mask[0].sum() < mask[1].sum()
    hidden, mask = load_text_au().encode([""])
    assert np.isfinite(hidden).all() and mask.any()


@pytest.mark.parametrize("damage", ["truncate", "foreign", "digest", "absent"])
def test_damaged_weights_are_refused(tmp_path, damage):
    shutil.copytree(WEIGHTS, tmp_path / "w")
    file, card = (
        tmp_path / "w" / "nano-dictionary.safetensors",
        tmp_path / "w" / "nano-dictionary.card.json",
    )
    data = json.loads(card.read_text())
    if damage == "absent":
        file.unlink()
    elif damage == "foreign":
        from safetensors.torch import save_file

        from aubench.storage.files import sha256_file

        save_file({"something": torch.zeros(3)}, file)
        card.write_text(json.dumps({**data, "sha256": sha256_file(file)}))
    elif damage == "truncate":
        file.write_bytes(file.read_bytes()[:1000])
    else:
        card.write_text(json.dumps({**data, "sha256": "0" * 64}))
    with pytest.raises(AubenchError):
        load("nano-dictionary", "cpu", tmp_path / "w")


def test_unknown_preset_suggests():
    with pytest.raises(AubenchError, match="did you mean 't5-large'"):
        preset("t5-lage")


def test_shipped_weights_stay_what_other_weights_name():
    model = load_text_au("nano-dictionary")
    assert model.id == "nano@92712e5bde36"
    assert sha256_file(WEIGHTS / "nano-dictionary.tokenizer.json").startswith("da6b970d283a")


def test_shipped_report_is_what_the_shipped_weights_do():
    """One part anew, the others are as costly; its figures by AU to the last digit."""
    from aubench.datasets.synfacs.synfacs_dataset import train_combinations
    from aubench.facs import parse_aus

    report = read_report(WEIGHTS / "nano-dictionary.report.json")
    corpus = Worded([parse_aus(name) for name in train_combinations()], "")
    name = PARTS[3]
    assert set(corpus.parts()) == set(report)
    again = measure(load_text_au("nano-dictionary").probabilities, {name: corpus.parts()[name]})[
        name
    ]
    assert again["texts"] == report[name]["texts"] == 1000
    for au, value in report[name]["AUs"].items():
        assert again["AUs"][au] == pytest.approx(value, abs=2e-3)  # a text may sit on the threshold


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("He grins from ear to ear.", True),
        ("smile", True),
        ("The corners of his lips are pulled back and up", True),
        ("A surprised person with raised eyebrows, café in the back", True),
        ("The dog chased a ball through wet grass yesterday", True),
        ("Die Mundwinkel gehen nach oben und die Wangen heben sich.", False),
        ("Las comisuras de los labios se elevan hacia arriba", False),
        ("Les coins des lèvres sont tirés vers le haut", False),
        ("Gli angoli della bocca si sollevano", False),
        ("Углы губ подняты", False),
        ("口角が上がる", False),
        ("1234 !", False),
    ],
)
def test_language_check(text, english):
    assert (check_language(text) is None) is english


def test_every_description_of_ours_is_english_and_within_the_limit():
    tokens = load_text_au().tokens
    for aus in [(), *unseen_sets([], 100)]:
        for variant in range(5):
            assert check_text(describe(aus, variant=variant).text, tokens) == []


def test_text_over_the_limit_says_from_which_word_it_is_cut():
    model = load_text_au("nano-dictionary")
    text = "The lips press together firmly. " * 80
    (line,) = check_text(text, model.tokens)
    assert "480 tokens and 320 are read" in line and "cut from word 268 on" in line
    assert "'press together firmly. The lips press …'" in line
    ids = model.tokens.ids(text)
    kept = model.tokens.ids(" ".join(text.split()[:267]))
    assert len(ids) == 320 and ids == kept
    assert model.tokens.cut("a smile") == (len(model.tokens.ids("a smile")), None)


def call(*words):
    from aubench.cli.main import main

    with pytest.raises(SystemExit) as done:
        main(list(words))
    return done.value.code


def test_command_prints_what_the_classifier_says(capsys):
    text = describe((6, 12), variant=0).text
    assert call("text-au", text) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 12 and not err
    p = load_text_au().probabilities([text])[0]
    for line, value in zip(lines, p, strict=True):
        assert line.startswith("*") == (value >= 0.5) and f"{value:.3f}" in line
    assert [line.split()[1] for line in lines if line.startswith("*")] == ["AU6", "AU12"]
    assert call("text-au", text, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["active"] == [6, 12] and data["classifier"] == load_text_au().id
    assert list(data["probabilities"].values()) == pytest.approx(p, abs=1e-6)


def test_command_on_bad_input(capsys, tmp_path):
    assert call("text-au", "  ") == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: the text is empty; describe a face in English"
    ]
    assert call("text-au", "Углы губ подняты") == 0
    out, err = capsys.readouterr()
    assert err.startswith("warning: the text may not be English") and len(out.splitlines()) == 12
    assert call("text-au", "a smile", "--encoder", "t5-large") == 2
    assert "train-text-au --encoder t5-large" in capsys.readouterr().err
    assert call("text-au", "a smile", "--weights", str(tmp_path)) == 2
    assert "holds no card" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("t5-small", 35_330_816),
        ("t5-base", 109_628_544),
        ("t5-large", 334_939_648),
    ],
)
def test_paper_scale_shapes(name, count):
    """Encoders of the true size, without memory: d_model, layers and feed-forward decide it."""
    shape = preset(name)
    with torch.device("meta"):
        network = TextNetwork(shape).eval()
        out = network.classify(torch.empty(2, shape.width))
    assert sum(p.numel() for p in network.encoder.parameters()) == count
    w, h = shape.width, shape.hidden
    head = w * h + h + 2 * (h * h + h) + h * 12 + 12
    assert sum(p.numel() for p in network.classify.parameters()) == head
    assert sum(isinstance(m, torch.nn.Linear) for m in network.classify) == 4
    assert out.shape == (2, 12)


@pytest.mark.slow
def test_t5_small_runs():
    """T5-small stands for the family: its true shape, random weights."""
    network = TextNetwork(preset("t5-small")).eval()
    count = sum(p.numel() for p in network.encoder.parameters())
    assert count == 35_330_816  # the encoder of t5-small
    with torch.inference_mode():
        out = network(torch.randint(1, 32000, (2, 9)), torch.ones(2, 9, dtype=torch.long))
    assert out.shape == (2, 12)


def test_what_was_trained_is_told_as_a_table_by_the_first_process_alone(
    tmp_path, monkeypatch, capsys
):
    """The training has tests of its own; the shipped report stands in for what it writes."""
    asked = []

    def train(settings, folder, command, **more):
        asked.append((settings, command))
        folder.mkdir(exist_ok=True)
        shutil.copy(WEIGHTS / "nano-dictionary.report.json", folder / "report.json")
        return folder / "nano.safetensors"

    monkeypatch.setattr("aubench.networks.textau.train.train", train)
    words = ("train-text-au", "--preset", "nano", "--limit", "8", "--seed", "3")
    assert call(*words, "--out", str(tmp_path / "out")) == 0
    out = capsys.readouterr().out
    report = json.loads((WEIGHTS / "nano-dictionary.report.json").read_text())["parts"]
    mean = next(line for line in out.splitlines() if line.startswith("mean"))
    assert mean.split()[1:] == [f"{part['F1']:.3f}" for part in report.values()]
    assert f"wrote {tmp_path / 'out' / 'nano.safetensors'}, its tokenizer" in out
    settings, command = asked[0]
    assert (settings.limit, settings.seed) == (8, 3)
    assert command.startswith("aubench train-text-au --encoder nano ")
    assert "--limit 8" in command and "--seed 3" in command
    monkeypatch.setenv("RANK", "1")  # as `accelerate launch` sets it
    assert call(*words, "--out", str(tmp_path / "out")) == 0
    assert capsys.readouterr().out == ""
    monkeypatch.delenv("RANK")
    assert call(*words, "--encoder", "t5-small") == 2
    assert "--preset is the former name of --encoder; give one of them" in capsys.readouterr().err
    (tmp_path / "out" / "report.json").write_text("[]")
    with pytest.raises(AubenchError, match=r"report\.json is not a report of a text classifier"):
        read_report(tmp_path / "out" / "report.json")
