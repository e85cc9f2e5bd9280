"""Every command and every block of code in README.md, CONTRIBUTING.md and docs/ still works.

Nothing is copied: the blocks are read from the pages. What is marked ``<!-- not run: reason -->``
is parsed by the real commands (or compiled) instead; its number is bounded.
"""

import json
import os
import re
import sys
import tomllib
from pathlib import Path

import click
import documents
import photographs
import pytest
import yaml
from documents import PAGES, blocks, calls, parse, run_line

ALL = [block for page in PAGES for block in blocks(page)]
SHELL = [block for block in ALL if block.language == "sh"]
LANGUAGES = {"sh", "python", "toml", "yaml", "json", "csv", "text"}
LEFT_OUT = 155
"""Command lines that may stay unrun: trainings, full protocols, licensed data, other machines."""
ALONE = {"docs/bp4d.md"}
"""Pages that have a test of their own, which looks at what came of the commands."""
PLACEHOLDERS = {"my-model", "mymodel", "MODEL", "NAME"}


@pytest.fixture(scope="module")
def shared_runs(tmp_path_factory):
    """The ``runs`` folder of all pages: a run that two pages print is made once."""
    return tmp_path_factory.mktemp("documents") / "runs"


@pytest.fixture
def scratch(shared_runs, tmp_path, monkeypatch):
    """An empty folder to run a page in; ``runs`` in it is shared by the pages."""
    shared_runs.mkdir(exist_ok=True)
    (tmp_path / "runs").symlink_to(shared_runs)
    monkeypatch.chdir(tmp_path)
    bin_folder = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


@pytest.fixture
def lab(scratch, mp_face, aubench_home, monkeypatch):
    """Photographs in the folder, and a cache of the lab's own, so that no other test finds them."""
    photographs.write(scratch)
    home = scratch / "home"
    home.mkdir()
    for part in ("synfacs", "weights"):
        (aubench_home / part).mkdir(exist_ok=True)
        (home / part).symlink_to((aubench_home / part).resolve())
    monkeypatch.setenv("AUBENCH_HOME", str(home))


@pytest.fixture
def any_path(monkeypatch):
    """Paths in documents need not exist when commands are only parsed."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: value)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({b.page for b in SHELL if b.reason is None} - ALONE))
def test_commands_of_a_page_run_from_top_to_bottom(page, scratch, mp_face, request):
    if page == "docs/data.md":
        request.getfixturevalue("lab")
    for block in blocks(page):
        if block.language == "sh" and block.reason is None:
            for line in block.commands:
                code, output = run_line(line)
                assert code == 0, f"{block.place}: {line}\n{output}"


@pytest.mark.parametrize("page", sorted({b.page for b in ALL if b.language == "python"}))
def test_python_of_a_page_runs_or_at_least_compiles(page, scratch, mp_face):
    names = {"__name__": page}
    for block in blocks(page):
        if block.language == "python":
            code = compile(block.text, block.place, "exec")
            if block.reason is None:
                exec(code, names)


def test_data_blocks_are_well_formed():
    readers = {"toml": tomllib.loads, "yaml": yaml.safe_load, "json": json.loads}
    for block in ALL:
        if block.language in readers:
            assert readers[block.language](block.text), block.place


def test_every_block_names_a_language_that_is_checked():
    assert {block.place: block.language for block in ALL if block.language not in LANGUAGES} == {}
    for page in PAGES:
        text = documents.FENCE.sub("", (documents.ROOT / page).read_text(encoding="utf-8"))
        assert "```" not in text, f"{page}: a fence is not closed"
        assert not re.search(r"^(    |\t)(aubench|python3?|pip|tox) ", text, re.M), page


def test_what_is_not_run_says_why_and_stays_bounded():
    unrun = [block for block in SHELL if block.reason is not None]
    assert all(len(block.reason.split()) >= 3 for block in unrun), [b.place for b in unrun]
    run, left = (
        sum(len(b.commands) for b in SHELL if (b.reason is None) is ran) for ran in (True, False)
    )
    assert left <= LEFT_OUT
    assert run >= 60


@pytest.mark.parametrize("page", sorted({block.page for block in SHELL}))
def test_every_command_has_a_real_name_real_options_and_real_values(page, any_path):
    for block in blocks(page):
        for line in block.commands if block.language == "sh" else []:
            for words in calls(line):
                try:
                    context = parse(words)
                except click.exceptions.Exit:
                    continue  # --help
                except Exception as error:
                    pytest.fail(f"{block.place}: aubench {' '.join(words)}: {error}")
                check_names(context, block.place)


def check_names(context, place):
    """Names that click takes as plain words: models, protocols, presets, weights."""
    from aubench.generators.registry import generator_class, listings
    from aubench.networks.external_weights import entries
    from aubench.protocols.protocol import protocol_names

    values, path = context.params, context.command_path.split()[1:]
    models = {row.name for row in listings()} | PLACEHOLDERS
    model = values.get("model") or values.get(
        "name" if path[0] in ("models", "check-generator") else ""
    )
    if isinstance(model, str) and path != ["models", "new"]:
        assert model in models, f"{place}: no model {model}"
    if values.get("protocol") and values.get("data", "synfacs") == "synfacs":
        assert values["protocol"] in {*protocol_names("synfacs"), *PLACEHOLDERS}, place
    if path in (["weights", "fetch"], ["weights", "add"]):
        named = values.get("names") or [values["name"]]
        assert {*named} <= {*entries(), *PLACEHOLDERS}, place
    if path == ["train"] and values.get("preset") and model not in PLACEHOLDERS:
        assert values["preset"] in generator_class(model).presets, place


@pytest.mark.parametrize("page", [page for page in PAGES if documents.inline(page)])
def test_commands_in_prose_exist(page):
    missing = {
        phrase: gone for phrase in documents.inline(page) if (gone := documents.look_up(phrase))
    }
    assert missing == {}


def test_the_checks_themselves_can_fail(any_path):
    assert calls("X=1 aubench run --model a && aubench data list | head; pip x") == [
        ["run", "--model", "a"],
        ["data", "list"],
    ]
    assert calls('aubench text-au "$(aubench describe 12 | head -1)" # a note') == [
        ["describe", "12"],
        ["text-au", "INNER"],
    ]
    assert calls("accelerate launch --no-python aubench train vqauface") == [["train", "vqauface"]]
    for wrong in (
        ["rum"],
        ["run", "--protocol", "unseen"],
        ["run", "--modle", "x"],
        ["run", "--model", "x", "--protocol", "y", "--limit", "one"],
        ["data", "build", "bp4d"],
        ["data"],
    ):
        with pytest.raises((click.ClickException, documents.AubenchError)):
            parse(wrong)
    with pytest.raises(AssertionError, match="no model"):
        check_names(parse(["run", "--model", "vqaface", "--protocol", "unseen"]), "here")
    with pytest.raises(AssertionError):
        check_names(parse(["train", "vqauface", "--preset", "huge"]), "here")
    assert documents.look_up("data build|show --size N") == []
    assert documents.look_up("data build|shew") == ["shew"]
    assert documents.look_up("report --tabel 3") == ["--tabel"]


def test_a_failing_line_is_seen(scratch):
    assert run_line("aubench describe 99")[0] == 2
    assert run_line("aubench describe 12 | false")[0] == 1
    code, output = run_line("aubench describe 6+12+15")
    assert code == 0 and "constructs: 6+12+15" in output
