"""The documentation as a site: it builds without a warning, loads nothing from outside."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest
from documents import ROOT

DOCS = ROOT / "docs"
PARTS = ("Definition", "Estimator", "Range", "Bias", "Source", "When not to believe it")
METRICS = sorted(
    path.stem
    for path in (DOCS / "metrics").glob("*.md")
    if path.stem not in ("index", "extractors")
)
BUILD = """
import sys
from mkdocs.__main__ import cli
try:
    cli(sys.argv[1:])
finally:
    heavy = {"torch", "pandas", "transformers"} & set(sys.modules)
    assert not heavy, f"the build imported {heavy}"
"""


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "mkdocs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as ``tox -e docs`` builds it: strict, so that a warning is an error."""
    place = tmp_path_factory.mktemp("documentation") / "site"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            BUILD,
            "build",
            "--strict",
            "--config-file",
            str(DOCS / "mkdocs" / "mkdocs.yml"),
            "--site-dir",
            str(place),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return place


def pages(site):
    return {p.relative_to(site).as_posix(): p.read_text("utf-8") for p in site.rglob("*.html")}


@pytest.mark.slow
def test_every_page_of_the_folder_is_on_the_site(site):
    built = set(pages(site))
    for path in DOCS.rglob("*.md"):
        assert path.relative_to(DOCS).with_suffix(".html").as_posix() in built, path
    assert {"index.html", "project/contributing.html", "project/leaderboards.html"} <= built


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site):
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//|<link[^>]+href=\"(?:https?:)?//"
    )
    for name, text in pages(site).items():
        assert not loads.search(text), name
    for path in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )[\"']?(https?:)?//", path.read_text("utf-8")), path


@pytest.mark.slow
def test_the_reference_holds_docstrings_and_options(site):
    text = pages(site)
    assert "aubench.generators.contract.Generator" in text["reference/generators.html"]
    assert "Biased upwards at finite N" in text["reference/metrics.html"]
    assert "--check-determinism" in text["reference/commands.html"]


def test_the_page_of_commands_has_every_command_and_option(hooks):
    import click

    from aubench.cli.main import COMMANDS, cli

    page = hooks.commands_page()
    for name in COMMANDS:
        section = page.split(f"\n## aubench {name}\n")[1].split("\n## ")[0]
        command = cli.get_command(click.Context(cli), name)
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert all(opt in section for opt in parameter.opts), (name, parameter.opts)


def test_links_are_turned_to_where_the_page_stands(hooks):
    def seen(text, source="README.md", page="index.md"):
        return hooks.relinked(text, source, page)

    assert seen("[a](docs/data.md#x)") == "[a](data.md#x)"
    assert seen("![a](docs/images/b.webp)") == "![a](images/b.webp)"
    assert seen("[a](CONTRIBUTING.md)") == "[a](project/contributing.md)"
    assert seen("[a](LICENSE) and [b](https://c.org/d)") == "a and [b](https://c.org/d)"
    assert (
        seen("[a](docs/data.md)", "CONTRIBUTING.md", "project/contributing.md") == "[a](../data.md)"
    )


@pytest.mark.parametrize("name", METRICS)
def test_the_page_of_a_metric_has_its_six_parts_once(name):
    text = (DOCS / "metrics" / f"{name}.md").read_text("utf-8")
    found = re.findall(r"^\*\*([^*]+)\.\*\*", text, re.M)
    assert [part for part in found if part in PARTS] == [p for p in PARTS if p in found]
    assert set(PARTS) <= set(found)
    for part in PARTS:
        body = re.search(rf"^\*\*{part}\.\*\*(.*?)(?=^\*\*|\Z)", text, re.M | re.S)[1]
        assert len(body.split()) >= 3, f"{name}: {part} says nothing"
    assert f"({name}.md)" in (DOCS / "metrics" / "index.md").read_text("utf-8")


def test_the_project_names_one_version():
    import tomllib

    from aubench import __version__

    stated = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.M)[1]
    assert stated == cited == __version__
    assert f"version {stated}" in (ROOT / "README.md").read_text("utf-8")


def test_the_readme_keeps_its_two_commands_and_small_pictures():
    text = (ROOT / "README.md").read_text("utf-8")
    assert (
        "-c constraints.txt . && aubench weights fetch lpips-alexnet mp-face; aubench run --model"
        in text
    )
    assert "pip install -c constraints.txt tox tox-uv && tox\n" in text
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(pictures) >= 2
    assert sum((ROOT / name).stat().st_size for name in pictures) <= 150_000
