"""A generator in a process of its own: the same images, and no target in reach."""

import json
import re
import sys
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from aubench.errors import AubenchError
from aubench.generators import registry
from aubench.generators.contract import Request, SampleFailure, Unsupported
from aubench.generators.sandbox_process import MODULES
from aubench.plugins import PluginGroup
from aubench.run.sandbox import Wanted, sandboxed
from aubench.storage.files import home

PLUGIN = """
import os
import sys
from pathlib import Path

import numpy as np

from aubench.generators.contract import Generator, GeneratorInfo, SampleFailure, Unsupported

WAYS = {}


def way(function):
    WAYS[function.__name__] = function
    return function


@way
def renderer():
    import aubench.synfacs.render


@way
def dataset():
    from aubench.datasets.registry import find_dataset


@way
def protocol():
    from aubench.protocols.protocol import load_protocol


@way
def runpy_of_the_renderer():
    import runpy
    runpy.run_path(str(HERE / "aubench/synfacs/render.py"))


@way
def cache():
    Path(OTHER_HOME, "secret.png").read_bytes()


@way
def cache_by_descriptor():
    os.open(os.path.join(OTHER_HOME, "secret.png"), os.O_RDONLY)


@way
def cache_by_link():
    Path("link").symlink_to(OTHER_HOME)
    Path("link/secret.png").read_bytes()


@way
def listing():
    os.listdir(OTHER_HOME)


@way
def program():
    import subprocess
    subprocess.run(["true"])


@way
def shell():
    os.system("true")


@way
def fork():
    os.fork()


@way
def network():
    import socket
    socket.create_connection(("127.0.0.1", 9))


@way
def memory_of_the_caller():
    open(f"/proc/{os.getppid()}/mem", "rb")


@way
def cache_by_hard_link():
    os.link(os.path.join(OTHER_HOME, "secret.png"), "copy")


@way
def cache_by_a_folder_above():
    above = os.open(os.path.dirname(OTHER_HOME), os.O_RDONLY)
    os.open(os.path.basename(OTHER_HOME) + "/secret.png", os.O_RDONLY, dir_fd=above)


class Boxed(Generator):
    info = GeneratorInfo(
        name="boxed", inputs=frozenset({"text", "au", "reference"}), size=16, training="none",
        trained_on=(), metrics_in_training=("nano-a",), licence="MIT", citation="none",
    )

    @classmethod
    def load(cls, weights, *, device, dtype, **options):
        global HERE, OTHER_HOME
        HERE, OTHER_HOME = Path(options.pop("here", ".")), options.pop("home", "")
        if "fault" in options:
            raise RuntimeError("no weights here")
        print("said while loading")
        return cls()

    @property
    def weights_sha256(self):
        return "a" * 64

    def generate(self, batch):
        text = batch[0].text
        if text in WAYS:
            try:
                WAYS[text]()
            except (ImportError, PermissionError) as error:
                raise SampleFailure(batch[0].sample_id, str(error)) from error
        if text == "unsupported":
            raise Unsupported(batch[0].sample_id, "not for this")
        if text == "die":
            os._exit(3)
        if text == "list":
            return [1]
        if text == "objects":
            return np.array([print], dtype=object)
        if text == "raise":
            raise ValueError("out of ideas")
        images = np.stack([r.reference // 2 + r.aus.sum() + r.seed % 5 for r in batch])
        assert "targets" not in os.environ["AUBENCH_HOME"]
        return images.astype(np.uint8)
"""
WAYS = re.findall(r"^@way\ndef (\w+)", PLUGIN, re.MULTILINE)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory, aubench_home):
    """A sandboxed generator; starting a process costs seconds, so there is one for all tests."""
    place = tmp_path_factory.mktemp("plugin")
    (place / "boxed_plugin.py").write_text(PLUGIN)
    secret = home() / "secret.png"
    secret.write_bytes(b"a face")
    site = place / "boxed-1.dist-info"
    site.mkdir()
    (site / "METADATA").write_text("Metadata-Version: 2.1\nName: boxed\nVersion: 1\n")
    (site / "entry_points.txt").write_text("[aubench.generators]\nboxed = boxed_plugin:Boxed\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(place)
        of_group, group = PluginGroup._points, registry.GROUP.group
        point = EntryPoint("boxed", "boxed_plugin:Boxed", group)
        ours = {"boxed": {"boxed": point}}
        patch.setattr(
            PluginGroup,
            "_points",
            lambda self: of_group(self) | (ours if self.group == group else {}),
        )
        import aubench

        options = {"here": str(next(iter(aubench.__path__)) + "/.."), "home": str(home())}
        made = [sandboxed(Wanted("boxed", None, "cpu", options))]

        def living():
            if made[-1]._child.process.poll() is not None:
                made.append(sandboxed(Wanted("boxed", None, "cpu", options)))
            return made[-1]

        yield living
        for one in made:
            one.close()
    secret.unlink()
    sys.modules.pop("boxed_plugin", None)


@pytest.fixture
def box(boxes):
    return boxes()


def request(text="", seed=3):
    reference = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    return Request("0" * 24, text, np.ones(12, np.uint8), None, reference, seed, 16)


def test_images_info_and_digest_come_through(box):
    batch = [request(seed=3), request(seed=9)]
    expected = [r.reference // 2 + 12 + r.seed % 5 for r in batch]
    np.testing.assert_array_equal(box.generate(batch), np.stack(expected).astype(np.uint8))
    assert box.info.metrics_in_training == ("nano-a",) and box.info.inputs >= {"text", "au"}
    assert box.weights_sha256 == "a" * 64
    with pytest.raises(Unsupported, match="not for this"):
        box.generate([request("unsupported")])


@pytest.mark.parametrize("way", WAYS)
def test_no_way_to_targets_is_open(box, way):
    with pytest.raises(SampleFailure, match="out of reach in a sandbox"):
        box.generate([request(way)])
    assert len(box.generate([request()])) == 1  # and the process goes on


def test_what_is_no_image_is_refused_and_a_death_is_told(box):
    for text, match in (
        ("list", "returned list, not an array"),
        ("objects", "sent no images"),
        ("raise", "raised ValueError in its sandbox: out of ideas"),
        ("die", "model 'boxed' died in its sandbox"),
    ):
        with pytest.raises(AubenchError, match=match):
            box.generate([request(text)])


def test_every_module_out_of_reach_exists():
    from importlib.util import find_spec

    assert all(find_spec(name) for name in MODULES)


def test_controls_are_shown_targets_and_stay_outside(aubench):
    words = ("run", "--model", "oracle", "--protocol", "conflict", "--limit", 6, "--sandbox")
    done = aubench(*words, "--out", "run", check=2)
    assert "control 'oracle' is shown targets; run it without --sandbox" in done.stderr


def test_a_run_in_a_sandbox_has_the_same_images_and_is_not_mixed_with_another(aubench, tmp_path):
    words = ("run", "--model", "stranger", "--protocol", "label-input", "--limit", 6)
    words += ("--metrics", "pixels", "--workers", 1)
    aubench(*words, "--out", "plain", check=0)
    aubench(*words, "--out", "boxed", "--sandbox", check=0)
    records = [
        json.loads((tmp_path / name / "record.json").read_text()) for name in ("plain", "boxed")
    ]
    assert records[0]["provenance"]["images_sha256"] == records[1]["provenance"]["images_sha256"]
    assert "sandbox = None, now True" in aubench(*words, "--out", "plain", "--sandbox").stderr
