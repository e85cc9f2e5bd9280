"""The house keeps its shape: short signatures, tests that mirror the tree, a page that is true."""

import ast
import re

import pytest
from documents import ROOT

PACKAGE = ROOT / "aubench"
MODULES = sorted(PACKAGE.rglob("*.py"))
LOOPS = {
    f"{package}/rendering/{name}.py"
    for package in ("synfacs", "synfacs2")
    for name in ("kernels", "raster")
}
"""Loops that numba compiles take flat arrays, each by name."""


def parameters(function):
    given = function.args
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def test_no_function_has_more_than_eight_parameters():
    long = []
    for path in MODULES:
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and name not in LOOPS:
                long += [f"{name}: {node.name}"] if len(parameters(node)) > 8 else []
    assert long == []


def test_no_module_but_a_data_sets_own_asks_which_data_set_it_is():
    asked = re.compile(r"""[!=]= *["']synfacs["']""")
    assert [str(p) for p in MODULES if asked.search(p.read_text("utf-8"))] == []


def test_no_folder_holds_more_files_than_a_reader_takes_in():
    many = {}
    for folder in {path.parent for path in MODULES}:
        files = [p.name for p in folder.glob("*.py") if p.name != "__init__.py"]
        if len(files) > 13:
            many[folder.relative_to(PACKAGE).as_posix()] = len(files)
    assert many == {}


def test_every_folder_of_tests_is_called_after_what_it_tests():
    tested = {p.name for p in PACKAGE.iterdir() if p.is_dir()}
    others = {
        "baselines",
        "reference_model",
        "docs",
        "packaging",
        "endurance",
        "benchmarks",
        "data",
        "helpers",
        "stranger",
    }
    folders = {p.name for p in (ROOT / "tests").iterdir() if p.is_dir()} - {"__pycache__"}
    assert folders <= tested | others
    assert not list((ROOT / "tests").glob("test_*.py"))


@pytest.mark.parametrize(
    "name",
    sorted(
        re.findall(r"`([\w/]+(?:\.py|/))`", (ROOT / "docs" / "architecture.md").read_text("utf-8"))
    ),
)
def test_what_the_page_on_architecture_names_exists(name):
    places = (ROOT, PACKAGE, *(p for p in PACKAGE.iterdir() if p.is_dir()))
    assert any((place / name).exists() for place in places), name
