"""VQ-AUFace, training: resume after a kill, accumulation, learning, two processes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from vqauface.networks.rqvae import embed
from vqauface_parts import TRAIN, faces, loop, write_folder

from aubench.cli.main import cli
from aubench.datasets.labelled_faces import ArrayPictures
from aubench.errors import AubenchError


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
    with pytest.raises(AubenchError, match=r"another training \(rate was 0.001, now 0.5\)"):
        loop(tmp_path, stage, name, {"rate": "0.5"}).resume()
    with pytest.raises(AubenchError, match=r"another training \(data was test, now other\)"):
        loop(tmp_path, stage, name, data=faces(mark="other")).resume()
    second.checkpoint.write_bytes(b"x")
    with pytest.raises(AubenchError, match="damaged"):
        loop(tmp_path, stage, name).resume() if stage != 1 else second.resume()


def test_killed_training_goes_on_with_the_same_numbers(tmp_path):
    """kill -9 in the middle of stage I; what the second call logs is what an unbroken one does."""
    data = write_folder(tmp_path / "data")
    words = [
        *TRAIN,
        "--stage",
        "1",
        "--data",
        str(data),
        "--steps",
        "24",
        "--set",
        "batch=8",
        "--set",
        "save_every=1",
    ]
    code = "from aubench.cli.main import main; main()"
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words, "--out", str(killed)], stderr=subprocess.DEVNULL
    )
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
        logged = two.step()
        found.append(
            (logged, [p.grad.clone() for p in two.model.parameters() if p.grad is not None])
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
        faces(images),
        references=ArrayPictures(images[:1]),
        rows=np.zeros(16, np.int64),
        texts=[("A smile.",)] * 8 + [("The brows are lowered.",)] * 8,
    )
    plain = {"adversarial": "0", "rate": "0.004", "warm": "5", "save_every": "500"}
    loop(tmp_path, 1, name, plain, data, steps=40).run()
    given = {
        "rate": "0.01",
        "warm": "5",
        "changed": "1",
        "log_every": "20",
        "save_every": "500",
        "sheet_every": "40",
    }
    two = loop(tmp_path, 2, name, given, data, steps=80)
    two.run()
    assert two.log[-1]["token"] < 0.6 * two.log[0]["token"]
    two.model.load_state_dict(two.average)
    two.model.eval()
    condition = two.condition(np.array([0, 15]), ["A smile.", "The brows are lowered."])
    codes = decode(two.model, two.codebooks, condition, [1, 2], Sampling(3, 0.0, 1.0))
    found, wanted = (
        two.codec.decode(embed(two.codebooks, part).sum(2)).detach().mean((1, 2, 3))
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


def curve(out, stage, name):
    lines = (out / f"stage{stage}.log.jsonl").read_text().splitlines()
    return [json.loads(line)[name] for line in lines]


def together(words, port):
    """Run a training as two processes that speak through gloo, as launchers start them."""
    code = (
        "from aubench.cli.main import main; from accelerate import Accelerator; "
        "assert Accelerator(cpu=True).num_processes == 2; main()"
    )
    told = {
        **os.environ,
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, *words],
            stderr=subprocess.PIPE,
            text=True,
            stdout=subprocess.DEVNULL,
            env={**told, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in (0, 1)
    ]
    for process in running:
        _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said[-3000:]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    """Each computes half of every batch; the losses of every step are those of one process.

    The loss of tokens is a mean over masked ones, of which the halves hold unequal numbers: 1 %.
    Stage I draws its first codebooks from other images in another order: 2 %.
    """
    data = write_folder(tmp_path / "data")
    words = [*TRAIN, "--data", str(data), "--set", "precision=float32", "--set", "batch=8"]
    first = [*words, "--stage", "1", "--set", "adversarial=0", "--steps", "3"]
    second = [*words, "--stage", "2", "--steps", "5"]
    single, pair, other = tmp_path / "single", tmp_path / "pair", tmp_path / "other"
    for part in (first, second):
        found = CliRunner().invoke(cli, [*part, "--out", str(single)], catch_exceptions=False)
        assert found.exit_code == 0
    pair.mkdir()
    for path in single.glob("stage1*"):
        shutil.copy(path, pair)
    together([*second, "--out", str(pair)], free_port())
    for name, tolerance in (("probe", 1e-4), ("token", 1e-2)):
        alone, shared = curve(single, 2, name), curve(pair, 2, name)
        assert len(shared) == 5 and len(set(alone)) == 5
        assert shared == pytest.approx(alone, rel=tolerance)
    together([*first, "--out", str(other)], free_port())
    assert curve(other, 1, "l1") == pytest.approx(curve(single, 1, "l1"), rel=0.02)
