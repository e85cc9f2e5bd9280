"""Generators of other people that leave, misspell, mutate: told by name, nobody else harmed."""

import json
from types import SimpleNamespace

import pytest
from foreign_plugins import write_plugin

from aubench.cli.exit_codes import run_to_end
from aubench.cli.main import cli
from aubench.errors import AubenchError
from aubench.generators import registry
from aubench.generators.conformance import Subject, check_generator
from aubench.generators.contract import GeneratorInfo
from aubench.generators.info_checks import check_networks
from aubench.plugins import PluginGroup


@pytest.fixture
def command(aubench_home, tmp_path, monkeypatch, capfd):
    """Return a function that runs a command line in this process, in an empty folder."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "300")

    def call(*words):
        capfd.readouterr()
        code = run_to_end(cli, [str(word) for word in words], "aubench")
        shown = capfd.readouterr()
        return SimpleNamespace(code=code, out=shown.out, err=shown.err, place=place)

    return call


def run(command, model, *words):
    return command(
        "run",
        "--protocol",
        "conflict",
        "--limit",
        "6",
        "--metrics",
        "pixels",
        "--model",
        model,
        "--batch-size",
        "3",
        "--out",
        "out",
        *words,
    )


BROKEN = {
    "leaves": "sys.exit('needs CUDA')\n",
    "breaks": "raise KeyboardInterrupt\n",
    "waits": "import time\nwhile True: time.sleep(0.01)\n",
    "quits": "os._exit(0)\n",
    "strings": "class G(Base): info = info('strings', trained_on='BP4D')\n",
    "asks": (
        "class G(Base):\n"
        "    info = info('asks')\n"
        "    @classmethod\n"
        "    def available(cls): sys.exit(3)\n"
    ),
    "silent": "class G(Base): pass\n",
    "typo": "class G(Base): info = info('typo', metrics_in_training=('Nano-A',))\n",
}
TOLD = {
    "leaves": "SystemExit: needs CUDA",
    "breaks": "KeyboardInterrupt",
    "waits": "it took more than 0.2 s; mend it, or set AUBENCH_IMPORT_SECONDS",
    "quits": "it called os._exit",
    "strings": "trained_on is the string 'BP4D'; write ('BP4D',)",
    "asks": "SystemExit in available(): it called for an exit with code 3",
    "silent": "has no GeneratorInfo as its info",
    "typo": "metrics_in_training has unknown 'Nano-A' (did you mean 'nano-a'?)",
}


def test_broken_packages_are_listed_and_hide_no_other(command, tmp_path, monkeypatch):
    monkeypatch.setenv("AUBENCH_IMPORT_SECONDS", "0.2")
    monkeypatch.setattr("aubench.plugins.wall.AGAIN", 0.02)
    registry.GROUP.load("oracle")  # which takes longer than that
    for name, code in BROKEN.items():
        write_plugin(tmp_path / name, monkeypatch, code, **{name: "G"})
    real, ours = PluginGroup.names, {*BROKEN, "oracle", "copy-reference"}

    def names(group):
        return [n for n in real(group) if n in ours or group.group != registry.GROUP.group]

    monkeypatch.setattr(PluginGroup, "names", names)
    listed = command("models", "--json")
    assert listed.code == 0
    reasons = {row["name"]: row["reason"] for row in json.loads(listed.out)}
    assert reasons["oracle"] is None and reasons["copy-reference"] is None
    for name, told in TOLD.items():
        assert told in reasons[name] and "\n" not in reasons[name]
    assert command("models", "show", "copy-reference").code == 0
    for name in BROKEN:
        ended = run(command, name)
        assert ended.code == 2 and ended.err.count("\n") == 1 and name in ended.err, ended.err
        assert not (ended.place / "out" / "record.json").exists()


EXITS = {
    "exit 0": ("sys.exit(0)", "SystemExit"),
    "exit text": ("sys.exit('usage: model.py')", "usage: model.py"),
    "os exit": ("os._exit(0)", "it called os._exit"),
    "no key": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "parser": ("__import__('argparse').ArgumentParser().parse_args(['--help'])", "SystemExit"),
}


@pytest.mark.parametrize("exit_", EXITS)
@pytest.mark.parametrize("where", ["load", "begin", "generate", "weights_sha256"])
def test_no_run_without_a_record_ends_well(command, tmp_path, monkeypatch, where, exit_):
    method = {
        "load": "    @classmethod\n    def load(cls, weights, **options):\n",
        "begin": "    def begin(self, plan):\n",
        "generate": (
            "    calls = 0\n"
            "    def generate(self, batch):\n"
            "        self.calls += 1\n"
            "        if self.calls < 2: return super().generate(batch)\n"
        ),
        "weights_sha256": "    @property\n    def weights_sha256(self):\n",
    }[where]
    statement, told = EXITS[exit_]
    code = f"class G(Base):\n    info = info('left')\n{method}        {statement}\n"
    write_plugin(tmp_path / "plug", monkeypatch, code, left="G")
    ended = run(command, "left")
    last = ended.err.splitlines()[-1]
    assert ended.code == 2 and last.startswith("error: model 'left' ") and told in last
    assert not (ended.place / "out" / "record.json").exists()
    if where == "generate":
        assert "at sample conflict-" in last
        verdicts = list(check_generator(Subject("left", adversarial=False, count=2)))
        assert any(v.passed is False and told in v.detail for v in verdicts)


KINDS = """
class Noise(Base):
    info = info("noise")
    kept = None
    def generate(self, batch):
        made = super().generate(batch)
        if Noise.kept is None or Noise.kept.shape != made.shape:
            Noise.kept = np.empty_like(made)
        Noise.kept[:] = np.frombuffer(os.urandom(made.size), np.uint8).reshape(made.shape)
        return Noise.kept


class Buffer(Base):
    info = info("buffer")
    kept = None
    def generate(self, batch):
        made = super().generate(batch)
        if self.kept is None or self.kept.shape != made.shape:
            self.kept = np.empty_like(made)
        self.kept[:] = made
        return self.kept


class Writer(Base):
    info = info("writer", inputs=frozenset({"text", "au", "reference"}))
    def generate(self, batch):
        made = super().generate(batch)
        for request in batch:
            request.reference[:] = 0
            request.aus[:] = 1
            request.intensities[:] = 5
        return made


class Global(Base):
    info = info("global")
    @classmethod
    def load(cls, weights, **options):
        import torch
        os.chdir("/")
        torch.set_default_dtype(torch.float64)
        sys.stdout = None
        return cls()


class Masked(Base):
    info = info("masked")
    def generate(self, batch):
        return np.ma.masked_less(super().generate(batch), 100)
"""


def test_the_suite_judges_answers_and_not_memory(tmp_path, monkeypatch):
    names = ("noise", "buffer", "writer", "global", "masked")
    points = {name: name.capitalize() for name in names}
    write_plugin(tmp_path / "plug", monkeypatch, KINDS, **points)

    def failed(name):
        verdicts = check_generator(Subject(name, adversarial=False, count=2))
        return {v.name for v in verdicts if v.passed is False}

    assert failed("noise") == {"determinism", "batch", "order", "names", "reload"}
    assert failed("buffer") == set() == failed("global")
    assert failed("writer") == {"requests"}
    assert failed("masked") == {"images"}


def test_what_a_generator_changes_stays_with_it(command, tmp_path, monkeypatch):
    write_plugin(tmp_path / "plug", monkeypatch, KINDS, **{"global": "Global"})
    ended = command(
        *("run", "--protocol", "conflict", "--limit", "6", "--metrics", "pixels,au"),
        *("--model", "global", "--out", "out"),
    )
    assert ended.code == 0, ended.err
    assert (ended.place / "out" / "record.json").is_file() and "record out" in ended.out


NOISY = """
print("at import")
class G(Base):
    info = info("noisy")
    def generate(self, batch):
        import ctypes
        print("by Python")
        os.system("echo by a child")
        os.write(1, b"by the system\\n")
        ctypes.CDLL(None).printf(b"by C\\n")
        return super().generate(batch)
"""


def test_json_is_one_document_whoever_writes(command, tmp_path, monkeypatch):
    write_plugin(tmp_path / "plug", monkeypatch, NOISY, noisy="G")
    ended = run(command, "noisy", "--json")
    assert ended.code == 0 and json.loads(ended.out)["record"]["model"]["name"] == "noisy"
    for line in ("at import", "by Python", "by a child", "by the system", "by C"):
        assert line in ended.err.splitlines()


@pytest.mark.parametrize("name", ["My Model", "a/b", "../../evil", "Модель", "-dash", "x" * 42])
def test_a_name_that_is_none_for_a_file_is_refused_at_once(command, tmp_path, monkeypatch, name):
    code = "class G(Base): info = info('fine')\n"
    file = write_plugin(tmp_path / "plug", monkeypatch, code, fine="G")
    points = next(file.parent.glob("*.dist-info")) / "entry_points.txt"
    points.write_text(f"[aubench.generators]\n{name} = {file.stem}:G\n")
    ended = run(command, name) if name != "-dash" else run(command, "fine", f"--model={name}")
    assert ended.code == 2 and "is no name for a file" in ended.err
    assert list(ended.place.iterdir()) == []


FIELDS = {
    "name": "fine",
    "inputs": frozenset({"text"}),
    "size": 64,
    "training": "none",
    "trained_on": (),
    "metrics_in_training": (),
    "licence": "MIT",
    "citation": "none",
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"size": "128"}, "size is '128'"),
        ({"size": 12.5}, "size is 12.5"),
        ({"size": True}, "size is True"),
        ({"size": -1}, "size is -1"),
        ({"trained_on": "BP4D"}, r"trained_on is the string 'BP4D'; write \('BP4D',\)"),
        ({"metrics_in_training": "nano-a"}, "metrics_in_training is the string"),
        ({"metrics_in_training": ["nano-a"]}, "should be a tuple"),
        ({"trained_on": (1,)}, "trained_on one is 1"),
        ({"inputs": "text"}, "inputs is the string 'text'"),
        ({"inputs": frozenset({"Text"})}, r"unknown 'Text' \(did you mean 'text'"),
        ({"licence": None}, "licence is None"),
        ({"control": "yes"}, "control is 'yes'"),
        ({"name": "A b"}, "no name for a file"),
        ({"name": None}, "name is None"),
    ],
)
def test_types_and_names_are_checked_when_an_info_is_made(change, told):
    GeneratorInfo(**FIELDS)
    with pytest.raises(AubenchError, match=told):
        GeneratorInfo(**{**FIELDS, **change})


def test_networks_in_training_are_those_that_metric_ids_name():
    known = ("nano-a", "me-graphau:resnet50", "text-nano", "text-mine", "nano-id", "mp-face")
    check_networks("m", [*known, "lpips", "inception-2015-12-05"])
    for name, near in (("Nano-A", "nano-a"), ("nano_a", "nano-a"), ("LPIPS", "lpips")):
        with pytest.raises(AubenchError, match=rf"'{name}' .did you mean '{near}'"):
            check_networks("m", [name])


def test_a_card_of_images_is_checked_alike(tmp_path):
    from aubench_baselines.precomputed import read_card

    path = tmp_path / "card.toml"
    path.write_text('metrics_in_training = ["nano_a"]\n')
    with pytest.raises(AubenchError, match=rf"{path}: .*did you mean 'nano-a'"):
        read_card(path)
