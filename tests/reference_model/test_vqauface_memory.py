"""VQ-AUFace: the memory that a stage is estimated to need, and how a batch is cut by it."""

from dataclasses import replace

import pytest
import torch
from vqauface.networks.rqvae import decoder, encoder
from vqauface.presets import preset
from vqauface.settings import settings_for
from vqauface.training import fit as fitting
from vqauface.training.fit import fit
from vqauface.training.memory import MIB, estimate, free_memory, kept_bytes
from vqauface_nets import FLAT, books_of, condition
from vqauface_parts import loop, write_folder

from aubench.errors import AubenchError
from aubench.generators.contract import Training


def paper(stage, images):
    shape, settings = settings_for("paper", stage, {})
    return estimate(settings, shape, images)


def test_activations_are_counted_without_memory_as_a_processor_keeps_them():
    """What autograd keeps of the real networks equals the count on ``meta``."""
    shape = replace(preset("tiny-flat"), attend=True)
    counts = []
    for place in ("cpu", "meta"):
        with torch.device(place):
            down, up = encoder(shape), decoder(shape)
            image = torch.zeros(2, 3, shape.size, shape.size)
            latent = torch.zeros(2, shape.code, shape.grid, shape.grid, requires_grad=True)
        pairs = (down, image), (up, latent)
        counts.append([kept_bytes(lambda net=net, x=x: net(x)) for net, x in pairs])
    for real, counted in zip(*counts, strict=True):
        assert counted == pytest.approx(real, rel=0.06)


def test_stage_two_keeps_what_was_estimated():
    from vqauface.training.stage_two import Objective, transformer

    shape, settings = settings_for("tiny-flat", 2, {"precision": "float32"})
    told = estimate(settings, shape, 4)
    c = condition(FLAT, 4, length=FLAT.length)
    masked = torch.ones(4, FLAT.tokens, dtype=torch.bool)
    objective = Objective(transformer(FLAT), 1.0)
    real = kept_bytes(
        lambda: objective(c, books_of(FLAT), c.codes, masked, torch.zeros(4, dtype=torch.bool))
    )
    assert told.image * 4 == pytest.approx(real, rel=0.25)


def test_the_papers_batch_is_cut_by_the_memory_of_a_card():
    first = paper(1, 30)  # 240 on eight cards
    assert first.image >= 842 * MIB  # what was measured of stage I at 256 px, at least
    assert first.images * first.image >= 24.6 * 2**30
    parts = [first.parts(gib * 2**30) for gib in (140, 40, 24, 16)]
    assert parts[0] == 1 and parts == sorted(parts) and parts[2] >= 2
    each = -(-first.images // parts[2])
    assert first.fixed + each * first.image < 24 * 2**30
    assert first.parts(2**30) == 30 and first.parts(None) == 1
    assert "30 images at" in first.line(2, 24 * 2**30, False)
    assert "accumulate=2, 15 images at a time" in first.line(2, 24 * 2**30, False)
    assert "as stated" in first.line(2, None, True)
    assert estimate(*reversed(settings_for("nano", 1, {})), 32) is None
    assert free_memory(torch.device("cpu")) is None


def test_the_estimate_comes_before_the_first_step(tmp_path, capsys, monkeypatch):
    one = loop(tmp_path, 1, "tiny-flat", {"accumulate": "none"})
    monkeypatch.setattr(one, "advance", lambda rows, draw: pytest.fail("no step was wanted"))
    with pytest.raises(pytest.fail.Exception, match="no step"):
        one.run()
    line = capsys.readouterr().err.strip()
    assert line.startswith("stage 1: 16 images at") and line.endswith(
        "free memory unknown: accumulate=1, 16 images at a time"
    )
    monkeypatch.setattr("vqauface.training.loop.free_memory", lambda device: 4 * MIB)
    assert loop(tmp_path / "small", 1, "tiny-flat", {"accumulate": "none"}).parts > 1


def test_out_of_memory_names_the_setting_and_the_training_goes_on_with_it(tmp_path, monkeypatch):
    one = loop(tmp_path, 1, "tiny-flat", {"accumulate": "2"})
    one.run(stop=2)

    def full(rows, draw):
        raise torch.OutOfMemoryError("tried to allocate")

    monkeypatch.setattr(one, "advance", full)
    with pytest.raises(AubenchError) as error:
        one.run()
    assert str(error.value) == (
        "stage 1, step 3: out of memory on this machine with accumulate=2, 8 images at a time; "
        "--set accumulate=4; the same command then goes on"
    )
    again = loop(tmp_path, 1, "tiny-flat", {"accumulate": "4"})
    again.resume()
    assert again.step_number == 2 and again.parts == 4
    last = loop(tmp_path / "last", 1, "tiny-flat", {"accumulate": "16"})
    monkeypatch.setattr(last, "advance", full)
    with pytest.raises(AubenchError, match=r"1 images at a time; a card with more memory"):
        last.run()


@pytest.mark.parametrize(("preset", "stages"), [("paper", (1, 2)), ("tiny", (1, 2, 3))])
def test_the_papers_preset_ends_after_its_two_stages(tmp_path, monkeypatch, preset, stages):
    """The real ``fit``, each of its stages with the tiny preset's settings."""
    real, seen = fitting.planned, []

    def planned(training, stage):
        seen.append(stage)
        return real(replace(training, preset="tiny"), stage)

    monkeypatch.setattr(fitting, "planned", planned)
    training = Training(preset, str(write_folder(tmp_path / "data")), tmp_path / "out", steps=1)
    fit(training)
    made = {path.name[5] for path in (tmp_path / "out").glob("stage*.checkpoint.pt")}
    assert made == set(map(str, stages)) and set(seen) == set(stages)
    if preset == "paper":
        fit(replace(training, stage=3))
        assert (tmp_path / "out/stage3.checkpoint.pt").is_file()
