"""VQ-AUFace, training: equations, resume after a kill, accumulation, data, export, ablations."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn
from vqauface import losses
from vqauface.ablation import OPTIONS, ROWS, codec_of
from vqauface.data import ArrayPictures, Faces, FilePictures, open_faces, reference_rows
from vqauface.encoders import load_encoders
from vqauface.fit import fit, make_loop, planned
from vqauface.generator import VQAUFace
from vqauface.presets import preset
from vqauface.rqvae import RQVAE, embed
from vqauface.settings import SCHEDULES, settings_for
from vqauface.weights import export, load

from aubench.cli.main import cli
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.generator import Ablatable, Trainable, Training, WeightSource
from aubench.record import read_record


def pixels(count=40, seed=0, size=32):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def faces(images=None, mark="test"):
    images = pixels() if images is None else images
    n, rng = len(images), np.random.default_rng(1)
    return Faces(
        ArrayPictures(images), ArrayPictures(images[:5]), np.arange(n) % 5,
        [("A smile.", "The brows are lowered.")] * n,
        rng.integers(0, 2, (n, 12)).astype(np.float32), mark, "test",
    )  # fmt: skip


def loop(out, stage, name="tiny", given=None, data=None, **fixed):
    shape, settings = settings_for(name, stage, given or {}, **fixed)
    if stage > 1 and not (out / "stage1.checkpoint.pt").is_file():
        loop(out, 1, name, given, data).run()
    return make_loop(settings, shape, out, data or faces(), "cpu")


# --- equations -----------------------------------------------------------------------------------


def test_equations_one_to_four_in_closed_form():
    x, y = torch.full((2, 3, 4, 4), 0.5), torch.full((2, 3, 4, 4), 0.25)
    assert float(losses.reconstruction(x, y)) == pytest.approx(0.25 + 0.0625)
    assert float(losses.reconstruction(x, y, 2.0, 0.0)) == pytest.approx(0.5)
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.5])
    assert float(losses.generator_loss(fake)) == pytest.approx(1.25)
    assert float(losses.discriminator_loss(real, fake)) == pytest.approx(
        0.5 * ((0 + 0.5) / 2 + (0 + 1.5) / 2)
    )


def test_equation_two_is_what_the_quantiser_computes():
    p = preset("tiny")
    model = RQVAE(p).train()
    model(torch.randn(32, 3, 32, 32))
    books = model.books().clone()
    z = model.encode(torch.randn(8, 3, 32, 32)).detach()
    _, codes, found = model.quantise(z)
    torch.testing.assert_close(found, losses.commitment(z, embed(books, codes)))


def test_equation_five_compares_features_of_the_detector():
    from aubench.detectors import load_detector

    detector = load_detector("nano-a")
    whole, told = losses.anatomical("nano-a", None, "cpu", False, torch.float32)
    assert told == detector.id
    x = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    y = (x * 0.8).requires_grad_(True)
    with torch.no_grad():
        a, b = (detector.features((v + 1) / 2) for v in (x, y))
    found = whole(x, y)
    torch.testing.assert_close(found.detach(), (a - b).square().mean())
    found.backward()
    assert float(y.grad.abs().max()) > 0
    assert float(whole(x, x)) == 0
    unit, _ = losses.anatomical("nano-a", None, "cpu", True, torch.float32)
    a, b = (nn.functional.normalize(v, dim=-1) for v in (a, b))
    torch.testing.assert_close(unit(x, y).detach(), (a - b).square().mean() * a.shape[-1])


def test_equation_six_without_weights_names_the_remedy(tmp_path):
    with pytest.raises(AubenchError, match="--set perceptual_file="):
        losses.perceptual("vgg16", None, "cpu")
    with pytest.raises(AubenchError, match="no VGG16 weights at"):
        losses.perceptual("lpips-vgg", str(tmp_path / "x.pth"), "cpu")
    with pytest.raises(AubenchError, match="unknown perceptual loss"):
        losses.perceptual("vgg19", None, "cpu")


def test_equation_six_is_vgg16_without_its_last_two_layers(monkeypatch):
    """A narrow VGG16 in the true one's place: the loss is that of its layers, one by one."""
    import torchvision

    def small(weights=None):
        network = nn.Module()
        network.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        network.avgpool = nn.AdaptiveAvgPool2d(7)
        network.classifier = nn.Sequential(
            nn.Linear(196, 9), nn.ReLU(), nn.Dropout(), nn.Linear(9, 8), nn.ReLU(), nn.Dropout(),
            nn.Linear(8, 10),
        )  # fmt: skip
        return network

    monkeypatch.setattr(torchvision.models, "vgg16", small)
    torch.manual_seed(0)
    distance = losses.perceptual("vgg16", "random", "cpu")
    torch.manual_seed(0)
    network = small().eval()
    x, y = (torch.rand(2, 3, 32, 32) * 2 - 1 for _ in range(2))

    def features(v):
        mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        v = ((v + 1) / 2 - mean[:, None, None]) / spread[:, None, None]
        return network.classifier[:5](network.avgpool(network.features(v)).flatten(1))

    torch.testing.assert_close(distance(x, y), (features(x) - features(y)).square().mean())
    assert float(distance(x, x)) == 0


def test_adaptive_weight_balances_gradients_at_the_last_layer():
    last = nn.Parameter(torch.tensor([1.0, 2.0]))
    rest, fooled = (last * torch.tensor([3.0, 4.0])).sum(), (last * torch.tensor([0.0, 2.0])).sum()
    assert float(losses.adaptive_weight(rest, fooled, last)) == pytest.approx(2.5, rel=1e-5)
    assert float(losses.adaptive_weight(rest, fooled, last, limit=1.5)) == pytest.approx(1.5)


def test_losses_join_by_reconstruction_quality_and_stay():
    rule = losses.Quality(ready=0.5)
    steps = next(i for i in range(100) if rule.see(0.1))
    smooth = 0.1 + 0.9 * 0.95 ** (steps + 1)
    assert rule.smooth == pytest.approx(smooth) and smooth < 0.5 < 0.1 + 0.9 * 0.95**steps
    assert rule.see(50.0)


def test_usage_counts_entries_of_each_level():
    usage = losses.Usage(torch.zeros(2, 4, dtype=torch.long))
    usage.add(torch.tensor([[[0, 1], [0, 2]], [[0, 3], [0, 0]]]))
    found = usage.take()
    assert found == {"used 0": 0.25, "used 1": 1.0, "perplexity 0": 1.0, "perplexity 1": 4.0}
    assert usage.take()["used 0"] == 0


def test_dead_entries_are_revived():
    p = replace(preset("tiny"), entries=8)
    x = torch.randn(64, 3, 32, 32)

    def distinct(dead):
        torch.manual_seed(0)
        model = RQVAE(p, dead=dead, decay=0.5).train()
        model(x)
        book = model.quantiser.layers[0]._codebook
        for kept in (book.embed, book.embed_avg):
            kept[0, 2:] = 1e3  # out of reach of all
        for _ in range(8):
            model(x)
        return len(model.eval().codes(x)[..., 0].unique())

    assert distinct(0) <= 2 < distinct(1)


def test_the_discriminator_learns_and_the_codec_answers_it(tmp_path):
    given = {"adaptive": "yes", "adversarial": "0.5"}
    one = loop(tmp_path, 1, given=given, steps=3)
    before = {k: v.clone() for k, v in one.critic.state_dict().items()}
    first = one.step()  # the rule looks at the steps before
    assert "adv" not in first
    shown = one.step()
    assert {"adv", "adv weight", "critic"} <= shown.keys() and shown["adv weight"] > 0
    assert any(not torch.equal(v, before[k]) for k, v in one.critic.state_dict().items())


# --- the loop ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stage"), [("tiny", 1), ("tiny", 2), ("tiny-flat", 2), ("tiny", 3)]
)
def test_resumed_training_has_the_same_loss_curve(tmp_path, name, stage):
    loop(tmp_path, 1, name).run()  # so that both have the same first stage
    whole = loop(tmp_path, stage, name)
    whole.run()
    (tmp_path / f"stage{stage}.checkpoint.pt").unlink()
    if stage == 1:
        assert not whole.checkpoint.is_file()
    first = loop(tmp_path, stage, name)
    first.run(stop=2)
    second = loop(tmp_path, stage, name)
    second.resume()
    assert second.step_number == 2
    second.run()
    assert second.log == whole.log and len(whole.log) == 4
    for key, value in whole.average.items():
        assert torch.equal(second.average[key], value), key
    with pytest.raises(AubenchError, match=r"other settings .rate"):
        loop(tmp_path, stage, name, {"rate": "0.5"}).resume()
    with pytest.raises(AubenchError, match=r"other settings .data"):
        loop(tmp_path, stage, name, data=faces(mark="other")).resume()
    second.checkpoint.write_bytes(b"x")
    with pytest.raises(AubenchError, match="damaged"):
        loop(tmp_path, stage, name).resume() if stage != 1 else second.resume()


def write_folder(folder, count=20, size=40):
    """Write samples.csv and images; subject A has a neutral image, B has none."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    lines = ["image,subject," + ",".join(f"AU{au}" for au in AUS)]
    for i, image in enumerate(pixels(count, size=size)):
        Image.fromarray(image).save(folder / f"{i:02d}.png")
        labels = rng.integers(0, 2, 12)
        labels[0] = 1
        if i == 6:
            labels[:] = 0
        lines.append(f"{i:02d}.png,{'AB'[i % 2]}," + ",".join(map(str, labels)))
    (folder / "samples.csv").write_text("\n".join(lines) + "\n")
    return folder


TRAIN = ["train", "vqauface", "--preset", "tiny"]


def test_killed_training_goes_on_with_the_same_numbers(tmp_path):
    """kill -9 in the middle of stage I; what the second call logs is what an unbroken one does."""
    data = write_folder(tmp_path / "data")
    words = [*TRAIN, "--stage", "1", "--data", str(data), "--steps", "24", "--set", "batch=8",
             "--set", "save_every=1"]  # fmt: skip
    code = "from aubench.cli.main import main; main()"
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([sys.executable, "-c", code, *words, "--out", str(killed)],
                               stderr=subprocess.DEVNULL)  # fmt: skip
    log = killed / "stage1.log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.is_file() and len(log.read_text().splitlines()) >= 3):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = len(log.read_text().splitlines())
    assert 3 <= done < 24
    for out in (killed, whole):
        found = CliRunner().invoke(cli, [*words, "--out", str(out)], catch_exceptions=False)
        assert found.exit_code == 0
    lines = [(out / "stage1.log.jsonl").read_text() for out in (killed, whole)]
    assert lines[0] == lines[1] and len(lines[0].splitlines()) == 24


def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path):
    """Stage II has no loss that couples images; parts and whole agree but for rounding."""
    given = {"precision": "float32", "drop_text": "0"}
    found = []
    for parts in ("1", "4"):
        two = loop(tmp_path, 2, given={**given, "accumulate": parts, "warm": "0", "clip": "0"})
        two.net.changed = 1.0
        # every sample masks alike, so that the mean of parts is the mean of the whole
        real = two.draw
        two.draw = lambda rows, draw, real=real: replace(
            real(rows, draw), masked=torch.ones(len(rows), 4, dtype=torch.bool)
        )
        shown = two.step()
        found.append(
            (shown, [p.grad.clone() for p in two.model.parameters() if p.grad is not None])
        )
    assert found[0][0]["token"] == pytest.approx(found[1][0]["token"], rel=1e-5)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_stage_one_learns(tmp_path):
    data = faces(np.full((8, 32, 32, 3), 200, np.uint8))
    one = loop(tmp_path, 1, given={"adversarial": "0", "log_every": "20"}, data=data, steps=80)
    first = one.step()["l1"]
    one.run()
    assert one.log[-1]["l1"] < 0.5 * first


@pytest.mark.parametrize("name", ["tiny", "tiny-flat"])
def test_stage_two_learns_its_texts(tmp_path, name):
    """Two faces told apart by their text alone: after training each text has its own tokens."""
    from vqauface.sampling import Sampling, decode

    images = np.repeat(np.stack([np.full((32, 32, 3), v, np.uint8) for v in (40, 220)]), 8, 0)
    images[:, ::4] //= 2
    data = replace(
        faces(images), references=ArrayPictures(images[:1]), rows=np.zeros(16, np.int64),
        texts=[("A smile.",)] * 8 + [("The brows are lowered.",)] * 8,
    )  # fmt: skip
    plain = {"adversarial": "0", "rate": "0.004", "warm": "5", "save_every": "500"}
    loop(tmp_path, 1, name, plain, data, steps=40).run()
    given = {"rate": "0.01", "warm": "5", "changed": "1", "log_every": "20", "save_every": "500",
             "sheet_every": "40"}  # fmt: skip
    two = loop(tmp_path, 2, name, given, data, steps=80)
    two.run()
    assert two.log[-1]["token"] < 0.6 * two.log[0]["token"]
    two.model.load_state_dict(two.average)
    two.model.eval()
    condition = two.condition(np.array([0, 15]), ["A smile.", "The brows are lowered."])
    codes = decode(two.model, two.books, condition, [1, 2], Sampling(3, 0.0, 1.0))
    found, wanted = (
        two.codec.decode(embed(two.books, part).sum(2)).detach().mean((1, 2, 3))
        for part in (codes, two.target[[0, 15]].long())
    )
    assert float(wanted[1] - wanted[0]) > 0.3
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.15)
    sheet = tmp_path / "sheets" / "stage2-000080.png"
    with Image.open(sheet) as picture:
        assert picture.size == (8 * 32, 3 * 32)


def test_logs_are_tensorboards(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    one = loop(tmp_path, 1)
    one.run()
    events = EventAccumulator(str(tmp_path / "logs" / "stage1"))
    events.Reload()
    told = [(e.step, e.value) for e in events.Scalars("stage1/l1")]
    assert [step for step, _ in told] == [1, 2, 3, 4]
    assert told[-1][1] == pytest.approx(one.log[-1]["l1"], rel=1e-5)
    assert "stage1/perplexity_0" in events.Tags()["scalars"]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    """Each computes half of every batch; the loss agrees with that of one process."""
    data = write_folder(tmp_path / "data")
    words = [*TRAIN, "--data", str(data), "--stage", "1", "--set", "precision=float32",
             "--set", "adversarial=0", "--set", "batch=8", "--steps", "3"]  # fmt: skip
    single, pair = tmp_path / "single", tmp_path / "pair"
    script = tmp_path / "go.py"
    script.write_text("from aubench.cli.main import main\nmain()\n")
    found = CliRunner().invoke(cli, [*words, "--out", str(single)], catch_exceptions=False)
    assert found.exit_code == 0
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2",
         "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
         "--main_process_port", "0", str(script), *words, "--out", str(pair)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    curves = [
        [json.loads(line)["l1"] for line in (out / "stage1.log.jsonl").read_text().splitlines()]
        for out in (single, pair)
    ]
    assert curves[0][0] == pytest.approx(curves[1][0], rel=0.05) and len(curves[1]) == 3


# --- settings and data ---------------------------------------------------------------------------


def test_appendix_d_is_the_paper_preset():
    first, second, _ = SCHEDULES["paper"]
    assert (first.rate, first.batch, first.steps, first.adamw) == (3e-4, 240, 150_000, False)
    assert (second.rate, second.batch, second.epochs, second.adamw) == (3e-4, 16, 8, False)
    assert second.counted(302_169).steps == 8 * 18_886
    assert (first.perceptual, first.detector) == ("vgg16", "me-graphau:resnet50:mefl")


def test_settings_are_checked(tmp_path):
    with pytest.raises(AubenchError, match=r"no setting 'bacth' \(did you mean 'batch'"):
        settings_for("nano", 1, {"bacth": "3"})
    with pytest.raises(AubenchError, match="--set batch=many is no value of batch"):
        settings_for("nano", 1, {"batch": "many"})
    with pytest.raises(AubenchError, match="batch is 0"):
        settings_for("nano", 1, {"batch": "0"})
    with pytest.raises(AubenchError, match="float16 needs a GPU"):
        loop(tmp_path, 1, given={"precision": "float16"})
    with pytest.raises(AubenchError, match="cannot be cut into 32 parts"):
        loop(tmp_path, 1, given={"accumulate": "32"})
    shape, settings = settings_for("nano", 1, {"widths": "32,64,64", "betas": "0.5,0.9"}, steps=7)
    assert shape.steps == 6 and shape.widths == (32, 64, 64)  # decoding steps are others
    assert settings.betas == (0.5, 0.9) and settings.steps == 7
    assert settings_for("nano", 1, {"decoding_steps": "9"})[0].steps == 9


def test_folders_are_read_with_the_papers_reference_rule(tmp_path):
    data = open_faces(str(write_folder(tmp_path / "data")), 32, None, 1, 0)
    assert len(data) == 20 and data.targets.take([3]).shape == (1, 32, 32, 3)
    assert isinstance(data.targets, FilePictures) and len(data.references) == 2
    assert data.references.names == ("01.png", "06.png")  # B's first, A's neutral one
    assert [data.references.names[r] for r in data.rows[:2]] == ["06.png", "01.png"]
    assert len(data.texts[0]) == 6 and data.texts[0][0] != ""
    other = open_faces(str(tmp_path / "data"), 24, None, 1, 0)
    assert other.fingerprint != data.fingerprint


def test_reference_is_neutral_or_the_first():
    labels = np.array([[1] * 12, [0] * 12, [1] * 12, [np.nan] * 12, [0] * 12], np.float32)
    rows = reference_rows(["a", "a", "b", "b", "a"], labels, 0)
    assert rows[0] in (1, 4) and rows[0] == rows[1] == rows[4] and list(rows[2:4]) == [2, 2]
    drawn = {int(reference_rows(["a"] * 5, labels, seed)[0]) for seed in range(20)}
    assert drawn == {1, 4}


FAULTS = [
    ("AU12", "AU13", r"has no column 'AU12'"),
    ("05.png", "55.png", r"row 7: no image .*55.png"),
    (",1,", ",2,", r"row 2: AU\d+ is '2'; 0, 1, or 9"),
]


@pytest.mark.parametrize(("old", "new", "expected"), FAULTS)
def test_faults_of_a_folder_name_file_and_row(tmp_path, old, new, expected):
    folder = write_folder(tmp_path / "data")
    path = folder / "samples.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(AubenchError, match=expected):
        open_faces(str(folder), 32, None, 1, 0)


def test_images_of_another_shape_name_the_remedy(tmp_path):
    folder = write_folder(tmp_path / "data", size=24)
    with pytest.raises(AubenchError, match=r"00.png has 24 x 24 .*aubench data align"):
        open_faces(str(folder), 32, None, 1, 0).targets.take([0])
    (folder / "00.png").write_bytes(b"no image")
    with pytest.raises(AubenchError, match=r"cannot read the image .*00.png"):
        open_faces(str(folder), 24, None, 1, 0).targets.take([0])
    with pytest.raises(AubenchError, match=r"no data 'synfac' .did you mean 'synfacs'"):
        open_faces("synfac", 32, None, 1, 0)
    with pytest.raises(AubenchError, match=r"neither samples.csv nor list/"):
        open_faces(str(tmp_path), 32, None, 1, 0)


def test_lists_of_me_graphau_are_read(tmp_path):
    folder = tmp_path / "bp4d"
    (folder / "list").mkdir(parents=True)
    for part, who in (("train", "F001"), ("test", "M001")):
        (folder / "img" / who).mkdir(parents=True)
        for k, image in enumerate(pixels(3, size=32)):
            Image.fromarray(image).save(folder / "img" / who / f"{k}.png")
        stem = folder / "list" / f"BP4D_{part}"
        Path(f"{stem}_img_path_fold1.txt").write_text("".join(f"{who}/{k}.png\n" for k in range(3)))
        rows = ["1 0 0 0 0 0 0 0 0 0 0 9", "0 " * 11 + "0", "0 0 0 1 0 0 1 0 0 0 0 0"]
        Path(f"{stem}_label_fold1.txt").write_text("\n".join(rows) + "\n")
    data = open_faces(str(folder), 32, None, 1, 0)
    assert len(data) == 3 and len(data.references) == 1
    np.testing.assert_array_equal(data.references.take([0])[0], pixels(3, size=32)[1])
    assert np.isnan(data.labels[0, 11]) and data.labels[2, 6] == 1


# --- from the command line to a generator --------------------------------------------------------


def test_trained_weights_make_faces(tmp_path):
    data = write_folder(tmp_path / "data")
    words = [*TRAIN, "--data", str(data), "--out", str(tmp_path / "out"), "--set", "input=labels"]
    found = CliRunner().invoke(cli, words, catch_exceptions=False)
    weights = tmp_path / "out" / "tiny.safetensors"
    assert found.exit_code == 0 and found.output.strip().endswith(f"weights {weights}")
    card = json.loads((tmp_path / "out" / "tiny.card.json").read_text())
    assert card["preset"]["input"] == "labels" and card["data"]["folder"] == "data"
    assert card["commands"][0] == "aubench train vqauface --preset tiny --stage 1 --data data"
    assert "--set" not in card["commands"][1] and len(card["log"]) == 3
    model = VQAUFace.load(WeightSource(weights), device="cpu", dtype="float32")
    assert model.info.inputs == {"au", "reference"} and "text" in VQAUFace.info.inputs
    assert model.info.trained_on == ("data/train",) and model.info.metrics_in_training == ()
    assert VQAUFace.info.trained_on == ("synfacs/train",)
    from aubench.generator import Request

    def asked(on):
        labels = np.full(12, on, np.uint8)
        return Request(f"s{on}", "", labels, None, pixels(1)[0], 5, 32)

    both = model.generate([asked(0), asked(1)])
    assert both.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(model.generate([asked(1)])[0], both[1])


def test_weights_round_trip_and_damage(tmp_path):
    two = loop(tmp_path, 2, "tiny-flat")
    two.run()
    file = export(tmp_path)
    codec, transformer, shape, card, digest = load(file)
    assert shape == preset("tiny-flat") and card["sha256"] == digest
    assert "not the paper's model" in card["scale"]
    for key, value in transformer.state_dict().items():
        torch.testing.assert_close(value, two.average[key], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(codec.books(), two.books.half().float())
    data = file.read_bytes()
    file.write_bytes(data[:500])
    with pytest.raises(AubenchError, match="sha256"):
        load(file)
    file.write_bytes(data)
    path = file.with_name("tiny-flat.card.json")
    changed = json.loads(path.read_text())
    changed["preset"]["hidden"] = 64
    path.write_text(json.dumps(changed))
    with pytest.raises(AubenchError, match="does not hold VQ-AUFace"):
        load(file)
    path.write_text("{}")
    with pytest.raises(AubenchError, match="not a card"):
        load(file)


def test_stages_must_fit(tmp_path):
    training = Training("tiny", str(write_folder(tmp_path / "data")), tmp_path / "out", stage=2)
    with pytest.raises(AubenchError, match=r"no stage I at .*train --stage 1 first"):
        fit(training)
    fit(replace(training, stage=1))
    with pytest.raises(AubenchError, match="has another shape"):
        fit(replace(training, options={"entries": "32"}))
    fit(training)
    for name in ("stage1.checkpoint.pt", "stage1.log.jsonl"):
        (tmp_path / "out" / name).unlink()
    fit(replace(training, stage=1, options={"rate": "0.002"}))
    with pytest.raises(AubenchError, match="belongs to another stage I"):
        export(tmp_path / "out")


def test_ablations_are_the_papers_rows():
    assert isinstance(VQAUFace, Trainable) and isinstance(VQAUFace, Ablatable)
    assert [row.table for row in ROWS].count("Table 3") == 10
    assert len({row.name for row in ROWS}) == len(ROWS) == 11
    left = {OPTIONS[row.name].get("without", "") for row in ROWS if row.table == "Table 3"}
    assert left == {"", "appearance", "structure", "vae", "appearance+structure+vae"}
    assert sum(codec_of(row) == "plain" for row in ROWS) == 5
    for row in ROWS:
        assert ("nano-a" in row.metrics_in_training) == (codec_of(row) == "anatomical")


def test_rows_share_first_stages_and_differ_in_what_is_left_out(tmp_path):
    data = write_folder(tmp_path / "data")
    options = {"codec.anatomical": "0.5", "codec.steps": "1"}
    training = Training("tiny", str(data), tmp_path / "out", None, 1, 0, "cpu", options)
    chosen = [row for row in ROWS if row.name in {"plain-no-vae", "plain-all", "labels"}]
    made = [VQAUFace.fit_row(row, training) for row in chosen]
    shapes = [json.loads(p.with_suffix(".card.json").read_text())["preset"] for p in made]
    assert [(s["without"], s["input"]) for s in shapes] == [
        ("", "text"), ("vae", "text"), ("", "labels")
    ]  # fmt: skip
    firsts = {p.parent.name: (p.parent / "stage1.checkpoint.pt").resolve() for p in made}
    assert firsts["plain-all"] == firsts["plain-no-vae"] != firsts["labels"]
    told = [
        torch.load(firsts[name], weights_only=True)["settings"] for name in ("plain-all", "labels")
    ]
    assert [t["anatomical"] for t in told] == [0.0, 0.5] and told[0]["steps"] == 1
    before = made[0].stat().st_mtime_ns
    assert VQAUFace.fit_row(chosen[0], training) == made[0]
    assert json.loads(made[0].with_suffix(".card.json").read_text())["sha256"]
    assert made[0].stat().st_mtime_ns >= before


def test_ablate_command_refuses_unknown_rows_and_lists_them():
    found = CliRunner().invoke(cli, ["ablate", "vqauface", "--list"])
    assert len(found.output.splitlines()) == 11 and "Table 5" in found.output
    for words, expected in (
        (["vqauface", "--rows", "plain-vae"], "no row 'plain-vae'"),
        (["oracle"], "has no ablations"),
        (["vqauface", "--preset", "nanno"], "did you mean 'nano'"),
    ):
        done = CliRunner().invoke(cli, ["ablate", *words])
        assert isinstance(done.exception, AubenchError) and expected in str(done.exception)


@pytest.mark.slow
def test_ablate_trains_scores_and_prints_its_rows(tmp_path):
    """The records have the rows' names and inputs; the label row has the protocol of labels."""
    data, out = write_folder(tmp_path / "data"), tmp_path / "out"
    words = ["ablate", "vqauface", "--preset", "tiny", "--rows", "plain-no-vae,labels",
             "--data", str(data), "--limit", "8", "--steps", "1", "--set", "codec.steps=1",
             "--set", "batch=8", "--out", str(out)]  # fmt: skip
    found = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert found.exit_code == 0
    assert "Table 3, test2k" in found.output and "Table 5, label-input" in found.output
    place = out / "records" / "synfacs"
    names = {"label-input": "vqauface-labels", "test2k": "vqauface-plain-no-vae"}
    records = [read_record(place / board / f"{name}.json") for board, name in names.items()]
    assert [r.model.name for r in records] == list(names.values())
    assert [r.model.inputs for r in records] == [["au", "reference"], ["reference", "text"]]
    assert [r.model.metrics_in_training for r in records] == [["nano-a"], []]
    assert records[0].provenance.target_source == "labels" and records[0].counts.limited
    assert (
        records[1].model.training
        == "ablation, Table 3: without anatomical loss, without VAE tokens"
    )
    assert len({r.model.weights_sha256 for r in records}) == 2


def test_encoders_are_frozen_and_see_an_image_once(tmp_path):
    given = {"appearance": "nano-id", "structure": "clip", "clip": "tiny", "clip_file": "random"}
    two = loop(tmp_path, 2, "tiny-flat", given)
    before = {k: v.clone() for k, v in two.encoders.clip.state_dict().items()}
    calls = []
    real = two.encoders.features
    two.encoders.features = lambda image: calls.append(len(image)) or real(image)
    two.run()
    assert sum(calls) == 5  # references, not samples
    assert all(torch.equal(v, before[k]) for k, v in two.encoders.clip.state_dict().items())
    assert not any(p.requires_grad for p in two.encoders.clip.parameters())
    shape = preset("tiny-flat")
    assert load_encoders(shape, "cpu").ids.keys() == {"text encoder"}


def test_planned_settings_take_the_seed_once():
    training = Training("tiny", "synfacs", Path("x"), 1, 9, 0)
    assert planned(training, 1)[1].seed == SCHEDULES["tiny"][0].seed
    assert planned(replace(training, seed=8), 1)[1].seed == 8
    assert planned(training, 2)[1].steps == 9
    assert asdict(planned(training, 2)[0]) == asdict(preset("tiny"))


def test_stage_one_draws_from_targets_and_references():
    images = pixels(6)
    found = faces(images).either(np.array([7, 0, 5, 6]))
    np.testing.assert_array_equal(found, images[[1, 0, 5, 0]])
