"""Images of edited code are never scored as those of the new one."""

import json
import os
import sys
from importlib import import_module

import pytest
from foreign_plugins import forget, write_plugin

from aubench.errors import AubenchError
from aubench.generators import code_identity as module
from aubench.generators.code_identity import code_identity
from aubench.generators.contract import Generator
from aubench.run.execute import RunConfig, execute
from aubench.storage.run_folder import ledger_line, read_line

CODE = """
from foreign_shade import SHADE


class G(Base):
    info = info("shaded")
    def generate(self, batch):
        made = super().generate(batch)
        made[:, :8] = SHADE
        return made
"""


@pytest.fixture
def shaded(aubench_home, tmp_path, monkeypatch):
    """Write a plug-in of two modules; returns the file of the one that the other imports."""
    file = write_plugin(tmp_path / "plug", monkeypatch, CODE, shaded="G")
    shade = file.with_name("foreign_shade.py")
    shade.write_text("SHADE = 10\n")
    yield shade
    forget(monkeypatch, file)
    forget(monkeypatch, shade)


def edit(path, text, monkeypatch):
    """Change a module as somebody does between two commands."""
    path.write_text(text)
    for name in ("foreign_shaded", "foreign_shade"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def config(out, **more):
    return RunConfig("shaded", "conflict", out, limit=6, metrics=("pixels",), **more)


def test_an_edited_module_is_another_run(shaded, tmp_path, monkeypatch):
    out = tmp_path / "run"
    first = execute(config(out))
    kept = {p: p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file() and p.name != ".lock"}
    edit(shaded, "SHADE = 200\n", monkeypatch)
    with pytest.raises(AubenchError, match=r"run with code of the model = \w+, now .*--fresh"):
        execute(config(out))
    assert {p: p.read_bytes() for p in kept} == kept
    second = execute(config(out, fresh=True))
    assert second.model.code_sha256 != first.model.code_sha256
    assert abs(second.score("rms").value - first.score("rms").value) > 1
    edit(shaded, "SHADE = 10\n", monkeypatch)
    assert execute(config(tmp_path / "again")).model.code_sha256 == first.model.code_sha256


def test_what_failed_by_former_code_is_not_mixed_with_what_is_mended(shaded, tmp_path, monkeypatch):
    """The way that a repair goes: a batch, an error, an edit, the same command."""
    plug, out = shaded.with_name("foreign_shaded.py"), tmp_path / "run"
    good = plug.read_text()
    edit(
        plug,
        good.replace(
            "made[:", "self.n = vars(self).get('n', 0) + 1; 1 / (2 - self.n)\n        made[:"
        ),
        monkeypatch,
    )
    with pytest.raises(AubenchError, match="ZeroDivisionError at sample"):
        execute(config(out, batch_size=3))
    assert len(list((out / "images").iterdir())) == 3
    edit(plug, good, monkeypatch)
    with pytest.raises(AubenchError, match="code of the model"):
        execute(config(out, batch_size=3))


def test_a_line_of_the_ledger_by_other_code_counts_for_nothing(shaded, tmp_path):
    out = tmp_path / "run"
    expected = execute(config(out)).content()
    lines = (out / "ledger.jsonl").read_text().splitlines()
    tag = json.loads((out / "run.json").read_text())["code"]
    assert {read_line(line)[3] for line in lines} == {tag}
    rows = [{**json.loads(line), "code": "0" * 16} for line in lines[:2]]
    for row in rows:
        del row["crc"]
    path = out / "images" / f"{rows[0]['id']}.png"
    before = path.stat().st_mtime_ns
    (out / "ledger.jsonl").write_text(
        "\n".join([*map(ledger_line, rows), *lines[2:], ""])  # as if two were of older code
    )
    assert execute(config(out)).content() == expected
    assert path.stat().st_mtime_ns > before


@pytest.mark.parametrize("name", ["torch", "diffusers", "aubench", "foreign_shaded"])
def test_a_version_is_part_of_the_identity(shaded, tmp_path, monkeypatch, name):
    out = tmp_path / "run"
    execute(config(out))
    if name == "aubench":
        monkeypatch.setattr(module, "__version__", "99.0")
    elif name == "foreign_shaded":
        monkeypatch.setattr(type(module.GROUP), "package", lambda *_: (name, "99.0"))
    else:
        real = module._installed
        monkeypatch.setattr(module, "_installed", lambda n: "99.0" if n == name else real(n))
    with pytest.raises(AubenchError, match=rf"version of {name} = \S+, now 99.0"):
        execute(config(out))


def test_what_the_digest_is_made_of(shaded):
    seen = code_identity("shaded").sha256

    def changes(path, text="1\n"):
        nonlocal seen
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        former, seen = seen, code_identity("shaded").sha256
        return seen != former

    folder = shaded.parent
    os.utime(shaded, (1, 1))
    assert code_identity("shaded").sha256 == seen  # content, not time
    assert not changes(folder / "neighbour.py")  # which nobody imports
    assert not changes(folder / "__pycache__" / "foreign_shade.py")
    assert changes(shaded, "SHADE = 10\nimport deeper\nimport torch\n")
    assert changes(folder / "deeper" / "__init__.py")
    assert changes(folder / "deeper" / "settings.yaml")
    assert not changes(folder / "deeper" / "weights.bin")  # weights have a digest of their own
    assert not changes(folder / "deeper" / ".hidden" / "x.py")


def test_our_own_generators_have_one_too():
    """All of a package, and its version only where it is another than ours."""
    found = code_identity("copy-reference")
    assert found.versions.keys() == {"aubench", "torch", "diffusers"}
    assert found.sha256 == code_identity("oracle").sha256 != code_identity("vqauface").sha256
    assert len(found.tag) == 16 and found.tag != code_identity("vqauface").tag


def test_a_package_in_a_namespace_is_found(tmp_path, monkeypatch):
    """The folder of the namespace has no file of its own."""
    package = tmp_path / "company" / "model"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "plug.py").write_text("1\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("company", "company.model", "company.model.plug"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import_module("company.model.plug")
    cls = type("Model", (Generator,), {"__module__": "company.model.plug"})
    before = module.code_digest(cls)
    (package / "plug.py").write_text("2\n")
    assert module.code_digest(cls) != before
    with pytest.raises(AubenchError, match="the code of 'nowhere' is in no file"):
        module.code_digest(type("Typed", (Generator,), {"__module__": "nowhere"}))
