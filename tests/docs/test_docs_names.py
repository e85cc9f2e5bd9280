"""Names in the documents are names of something: files, modules, functions, extras."""

import re
import tomllib
from importlib import import_module

import pytest
from documents import FENCE, PAGES, ROOT

PLACES = "aubench|baselines|reference_model|tests|docs|protocols|leaderboards"
PATH = re.compile(rf"`((?:{PLACES})/[\w./-]+)`")
DOTTED = re.compile(r"`((?:aubench|vqauface|aubench_baselines)(?:\.\w+)+)(?:\(\))?`")
MODULE = re.compile(r"python3? -m ((?:aubench|vqauface|aubench_baselines)[\w.]*)")
EXTRA = re.compile(r"aubench\[([\w,]+)\]")
ENVIRONMENT = re.compile(r"tox -e ([\w-]+)")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def whole(page):
    return (ROOT / page).read_text("utf-8")


def resolve(name):
    """Return what a dotted name stands for: a module, or something inside one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("page", [page for page in PAGES if PATH.search(whole(page))])
def test_files_that_are_named_exist(page):
    named = PATH.findall(FENCE.sub("", whole(page)))
    gone = {path for path in named if "/NAME/" not in path and not (ROOT / path).exists()}
    assert gone == set()


@pytest.mark.parametrize(
    "page", [page for page in PAGES if DOTTED.search(whole(page)) or MODULE.search(whole(page))]
)
def test_modules_and_functions_that_are_named_exist(page):
    for name in {*DOTTED.findall(whole(page)), *MODULE.findall(whole(page))}:
        if not name.endswith((".toml", ".svg", ".sqlite")):  # files of that name
            resolve(name)


def test_extras_and_environments_that_are_named_exist():
    environments = set(re.findall(r"^\[testenv:([\w-]+)\]", (ROOT / "tox.ini").read_text(), re.M))
    for page in PAGES:
        for extras in EXTRA.findall(whole(page)):
            assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"]), page
        assert set(ENVIRONMENT.findall(whole(page))) <= environments | {"py"}, page


def test_a_name_of_nothing_is_seen():
    assert resolve("aubench.metrics.statistics.resampling.paired_difference")
    for wrong in ("aubench.metrics.bootstrop", "aubench.metrics.statistics.resampling.paired"):
        with pytest.raises((AttributeError, ModuleNotFoundError)):
            resolve(wrong)
