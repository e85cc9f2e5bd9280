"""The site of the leaderboards: its files, what a browser makes of them; the generated README."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from aubench.errors import AubenchError
from aubench.records.record import read_record
from aubench.report.leaderboards.leaderboard import add_record
from aubench.report.leaderboards.readme import generate
from aubench.report.leaderboards.site import build
from aubench.storage.files import shipped

HOME = shipped("leaderboards")


class Links(HTMLParser):
    """Everything a page refers to, and whether its tags close."""

    EMPTY = ("meta", "link", "img", "input", "br")

    def __init__(self):
        super().__init__()
        self.found, self.stack = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.EMPTY:
            self.stack.append(tag)
        self.found += [value for name, value in attrs if name in {"href", "src"}]

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


@pytest.fixture
def copy(tmp_path):
    """A copy of the shipped leaderboards."""
    folder = tmp_path / "boards"
    shutil.copytree(HOME, folder)
    return folder


def test_the_readme_is_current():
    """If this fails, `aubench leaderboard readme` writes it anew."""
    assert (HOME / "README.md").read_text(encoding="utf-8") == generate(HOME)


def test_a_new_record_changes_the_readme(copy, tmp_path):
    data = json.loads((copy / "synfacs" / "test2k" / "oracle.json").read_text())
    data["model"] |= {"name": "newcomer", "control": False}
    (tmp_path / "record.json").write_text(json.dumps(data))
    add_record(tmp_path / "record.json", copy)
    text = (copy / "README.md").read_text()
    assert "| newcomer | — | **0.00**" in text and text == generate(copy)
    assert not (copy / "synfacs" / "test2k" / "newcomer.webp").exists()
    data["model"]["name"] = "../../evil"
    (tmp_path / "record.json").write_text(json.dumps(data))
    with pytest.raises(AubenchError, match="no name for a file"):
        add_record(tmp_path / "record.json", copy)


def test_a_run_brings_its_contact_sheet(copy, small_runs, tmp_path):
    shutil.copytree(small_runs["oracle"], tmp_path / "run")
    path = tmp_path / "run" / "record.json"
    data = json.loads(path.read_text())
    data["counts"] |= {"limited": False, "asked": 1200, "unsupported": 1176}
    path.write_text(json.dumps(data))
    path.with_suffix(".sha256").unlink()  # the run's own seal
    target = add_record(path, copy, replace=True).path
    sheet = target.with_suffix(".webp").read_bytes()
    assert sheet[8:12] == b"WEBP" and len(sheet) < 200_000
    build(tmp_path / "site", copy)
    assert (tmp_path / "site" / "records" / "synfacs-conflict-oracle.webp").read_bytes() == sheet


def test_every_link_leads_to_a_file_and_none_outside(copy, tmp_path):
    pages = build(tmp_path / "site", copy)
    records = list(copy.glob("*/*/*.json"))
    assert len(pages) == len(records) + 1 and len(records) > 10
    for page in pages:
        parser = Links()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.stack == []
        for link in parser.found:
            assert link == "data:," or (page.parent / link).is_file(), link
    for path in (tmp_path / "site").rglob("*"):
        if path.suffix in {".html", ".css", ".js"}:
            assert not re.search(r"https?://|@import|fetch\(|url\(", path.read_text())


def test_a_page_tells_all_that_its_record_does(copy, tmp_path):
    site = tmp_path / "site"
    build(site, copy)
    record = read_record(copy / "synfacs" / "conflict" / "vqauface.json")
    text = (site / "records" / "synfacs-conflict-vqauface.html").read_text()
    wanted = [
        record.protocol.sha256,
        record.provenance.images_sha256,
        record.model.weights_sha256,
        record.provenance.hardware,
        "6+12+15+17",
        "AU23",
        "per generated image",
        "synfacs-conflict-vqauface.webp",
        *(row.id for row in record.scores),
    ]
    for word in wanted:
        assert word in text
    again = json.loads((site / "records" / "synfacs-conflict-vqauface.json").read_text())
    assert again == record.model_dump(mode="json")


def test_hostile_records_stay_text(copy, tmp_path):
    path = copy / "synfacs" / "test2k" / "nearest.json"
    data = json.loads(path.read_text())
    data["model"] |= {"name": "../<script>alert(1)</script>", "training": '"><img src=x>'}
    data["scores"][0]["note"] = "<b>"
    path.write_text(json.dumps(data))
    pages = build(tmp_path / "site", copy)
    assert all((tmp_path / "site") in page.resolve().parents for page in pages)
    for page in pages:
        assert "<script>alert" not in page.read_text() and "<img src=x" not in page.read_text()


def test_the_same_records_give_the_same_site_and_nothing_else_is_replaced(copy, tmp_path):
    def contents(folder):
        return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    one, two = tmp_path / "one", tmp_path / "two"
    build(one, copy)
    (copy / "synfacs" / "unseen" / "shuffled.json").unlink()
    build(two, copy)
    build(one, copy)
    assert contents(one) == contents(two)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(AubenchError, match="holds files of something else"):
        build(tmp_path / "mine", copy)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "x"
    with pytest.raises(AubenchError, match="no records"):
        build(tmp_path / "three", tmp_path / "mine")


def test_command(aubench, tmp_path):
    done = aubench("leaderboard", "build", "--out", "site", check=0)
    assert "index.html" in done.stdout and (tmp_path / "site" / "index.html").is_file()
    check = ("leaderboard", "readme", "--check")
    assert "is current" in aubench(*check, "--leaderboards", HOME, check=0).stdout
    shutil.copytree(HOME, tmp_path / "boards")
    (tmp_path / "boards" / "synfacs" / "conflict" / "oracle.json").unlink()
    stale = aubench(*check, "--leaderboards", "boards", check=1)
    assert "is not current" in stale.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return build(tmp_path_factory.mktemp("site"), HOME)


def test_sorting_and_filtering(look, site):
    page = look(site[0])
    board = 'section[data-protocol="test2k"] '
    heads = page.locator(board + "thead th")
    column = next(i for i, text in enumerate(heads.all_inner_texts()) if text.startswith("FID"))
    head = heads.nth(column)

    def values():
        cells = page.locator(f"{board}tbody tr td:nth-child({column + 1})")
        return [float(v) for v in cells.evaluate_all("cells => cells.map(c => c.dataset.value)")]

    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending" and values() == sorted(values())
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True) and len(values()) >= 5

    def choose(name, value):
        page.evaluate(
            "([name, value]) => { const e = document.getElementById(name); e.value = value;"
            " e.dispatchEvent(new Event('input')); }",
            [name, value],
        )

    def shown(what):
        return [e.inner_text() for e in page.locator(what).all() if e.is_visible()]

    choose("protocol", "unseen")
    assert shown("section.board h2") == ["synfacs/unseen"]
    choose("protocol", "")
    choose("metric", head.get_attribute("data-id"))
    assert shown("section.board h2") == ["synfacs/test2k"]
    assert len(shown("section.board thead th")) == 2
    choose("metric", "")
    choose("search", "vqa")
    names = shown("tbody th a")
    assert names and all("vqa" in name for name in names)
    page.locator("#controls").click()
    choose("search", "oracle")
    assert shown("section.board h2") == [] and shown("#nothing")


def test_light_and_dark(look, site):
    def back(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = "rgb(255, 255, 255)", "rgb(13, 17, 23)"
    assert back(look(site[0])) == light
    page = look(site[0], dark=True)
    assert back(page) == dark
    page.locator("#theme").click()
    assert back(page) == light
    page.goto(Path(site[1]).as_uri())  # the choice lasts on other pages
    assert back(page) == light


@pytest.mark.parametrize("number", [0, 1])
def test_a_phone_scrolls_tables_and_not_the_page(look, site, number):
    page = look(site[number], width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    wide = "[...document.querySelectorAll('.scroll')].some((e) => e.scrollWidth > e.clientWidth)"
    assert page.evaluate(wide)
    if number == 1:
        pictures = "[...document.images].every((i) => i.complete && i.naturalWidth > 0)"
        assert page.evaluate(pictures) and page.locator("img").count()
