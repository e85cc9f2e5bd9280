"""The public interface: declared, light, documented, and what it says."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import aubench

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", aubench.__all__)
def test_every_name_is_there_and_documented(name):
    value = getattr(aubench, name)
    assert value is not None and name in dir(aubench)
    assert f"`{name}`" in (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    if callable(value):
        assert value.__module__.startswith("aubench.") and value.__doc__


def test_what_type_checkers_see_is_what_is_imported():
    tree = ast.parse((ROOT / "aubench" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {a.name: node.module for node in block.body for a in node.names}
    assert seen == aubench._MODULES
    assert {*seen, "__version__"} == set(aubench.__all__)


def test_the_page_names_nothing_that_is_not_there():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    names = {name for line in rows for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert names == set(aubench.__all__)


def test_importing_the_package_imports_nothing_else():
    code = (
        "import sys, aubench\n"
        "ours = [m for m in sys.modules if m.startswith('aubench.')]\n"
        "heavy = {'numpy', 'torch', 'pydantic', 'pandas'} & set(sys.modules)\n"
        "assert not ours and not heavy, (ours, heavy)\n"
        "aubench.Generator, aubench.AubenchError\n"
        "assert not {'numpy', 'torch', 'pandas'} & set(sys.modules)\n"
        "aubench.nothing"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "has no attribute 'nothing'" in done.stderr.splitlines()[-1], done.stderr


def test_the_package_says_that_it_is_typed():
    assert (Path(aubench.__file__).parent / "py.typed").is_file()
