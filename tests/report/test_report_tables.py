"""The paper's tables: reported values, measured ones, what is best, and the renderers."""

import csv
import io
import json
import re
import shutil
import subprocess

import pytest

from aubench.comparison.pairs import Difference, enter, read_pairs
from aubench.errors import AubenchError
from aubench.report.figures import draw
from aubench.report.tables import latex
from aubench.report.tables.boards import read_boards
from aubench.report.tables.paper import load_paper
from aubench.report.tables.paper_tables import build
from aubench.report.tables.table import Cell, Column, Row, Table, ranked
from aubench.storage.files import shipped

HOME = shipped("leaderboards")


@pytest.fixture
def boards(tmp_path):
    """Of the leaderboards vqauface and the controls; a function that edits a record and reads."""
    shutil.copytree(HOME / "synfacs", tmp_path / "boards" / "synfacs")
    for path in (tmp_path / "boards").rglob("*.json"):
        model = json.loads(path.read_text())["model"]
        if not model["control"] and model["name"] != "vqauface":
            path.unlink()

    def call(protocol=None, name=None, model=None, edit=None):
        folder = tmp_path / "boards"
        if name:
            path = folder / "synfacs" / protocol / f"{name}.json"
            data = json.loads((path.parent / f"{model or name}.json").read_text())
            data["model"]["name"] = name
            if edit:
                edit(data)
            path.write_text(json.dumps(data))
        return read_boards("synfacs", folder)

    call.folder = tmp_path / "boards"
    return call


# Sums over each column, added up from the paper's text and not from the file.
SUMS = {
    3: {"fid": 1143.231, "kid": 1.288, "is": 14.382, "lpips": 6.063, "aaad": 7.558},
    4: {
        "vqauface": 28.714,
        "anyface": 11.027,
        "ganimation": 22.804,
        "uniportrait": 22.216,
        "sd15-lora": 20.02,
    },
    5: {"fid": 141.15, "kid": 0.165, "is": 2.058, "lpips": 0.86, "aaad": 1.065},
    6: {"fid": 125.784, "kid": 0.139, "is": 2.064, "lpips": 0.78, "aaad": 1.213},
}


@pytest.mark.parametrize("number", SUMS)
def test_reported_values_add_up_to_the_papers(number):
    table = load_paper().of(number)
    for key, expected in SUMS[number].items():
        assert sum(row.values.get(key, 0) for row in table.rows) == pytest.approx(expected)


def test_the_paper_agrees_with_itself_where_it_repeats_itself():
    paper = load_paper()
    full = next(row for row in paper.of(3).rows if row.key == "vqauface-anatomical-all").values
    assert paper.of(5).rows[0].values == full == paper.of(6).rows[0].values
    *rows, mean = paper.of(4).rows
    for method, value in mean.values.items():
        assert sum(row.values[method] for row in rows) / 6 == pytest.approx(value, abs=5e-4)
    off = {row.key for row in rows if abs(sum(row.values.values()) - 15) > 1e-9}
    assert off == {"1+4", "6+12+15", "6+12+15+17", "1+2+4"}  # as a note of the table says
    facts = {fact.key: fact.value for fact in paper.facts}
    share = 100 * facts["conflicting images"] / facts["images of BP4D-AUText"]
    assert share == pytest.approx(facts["share of conflicting images"], abs=0.05)


def test_the_empty_cell_of_the_paper_is_kept_empty_with_its_reason(boards):
    table = build(3, boards(), "reported")
    row = next(row for row in table.rows if row.key == "sd15-lora")
    assert row.cells[-1].value is None and "second best" in row.cells[-1].notes[0]
    assert [row.key for row in table.rows if any(c.value is None for c in row.cells)] == [row.key]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("values = { fid = 171.677, ", "values = { ", "row 'anyface'"),
        ("number = 6", "number = 5", "tables"),
        (
            'key = "anyface"\nlabel = "AnyFace"\nsection',
            'key = "ganimation"\nlabel = "x"\nsection',
            "two rows",
        ),
        ("digits = 3", "digits = 'x'", "digits"),
        ("[source]", "[source", "not TOML"),
    ],
)
def test_a_damaged_file_of_the_paper_is_named(tmp_path, old, new, message):
    text = (HOME / "paper.toml").read_text()
    assert old in text
    (tmp_path / "paper.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(AubenchError, match=message):
        load_paper(tmp_path / "paper.toml")


def test_measured_values_are_the_records_and_stand_in_columns_of_their_own(boards):
    found = boards()
    table = build(3, found, "both")
    assert [c.source for c in table.columns] == ["reported"] * 5 + ["measured"] * 6
    row = next(row for row in table.rows if row.key == "vqauface-anatomical-all")
    record = found.of("test2k")["vqauface"]
    assert row.cells[0].value == 63.604
    assert row.cells[5].value == record.score("fid").value
    assert row.cells[5].interval == record.score("fid").ci
    assert row.cells[5].id == record.score("fid").id
    note = " ".join(table.general)
    for word in (
        "efficientnet-lite0",
        "N = 2,000",
        "synfacs/test2k",
        record.protocol.sha256[:12],
        "BP4D-AUText",
        "not to be compared",
    ):
        assert word in note
    assert any("nano-a" in text for text in row.notes)
    with pytest.raises(ValueError, match="measured cell under reported"):
        Table(
            3,
            "t",
            "c",
            (Column("fid", "FID", "reported"),),
            (Row("x", (Cell(1.0, source="measured"),)),),
        )


def test_rows_of_other_ids_are_marked_and_not_ranked_together(boards):
    def worse(data):
        for score in data["scores"]:
            if score["metric"] == "fid":
                score["value"], score["id"] = 1.0, "fid|inception-2015-12-05|clean"

    found = boards("test2k", "other", "vqauface", worse)
    table = build(3, found, "measured")
    rows = {row.key: row for row in table.rows}
    assert "inception" in rows["other"].cells[0].notes[0]
    assert rows["other"].cells[0].rank == rows["vqauface-anatomical-all"].cells[0].rank == 0
    assert {rows["other"].cells[3].rank, rows["vqauface-anatomical-all"].cells[3].rank} == {
        1
    }  # equal values
    assert all(cell.rank == 0 for row in table.rows if row.control for cell in row.cells)


@pytest.mark.parametrize("number", [3, 5, 6])
def test_what_stands_under_a_name_of_the_paper_is_said(number):
    """A nano under the name of Stable Diffusion must not pass for it."""
    boards = read_boards("synfacs", HOME)
    table = build(number, boards, "measured")
    (line,) = [note for note in table.general if note.startswith("Measured under the paper's")]
    paper = {row.label for row in load_paper().of(number).rows}
    for row in table.rows:
        record = next(
            (r for b in boards.records.values() for r in b.values() if r.model.name == row.key),
            None,
        )
        if number == 3 and record and row.label in paper:
            assert f"{row.label} is {row.key} ({record.model.training}" in line
        assert not row.control or row.label not in line
    if number == 3:
        assert "VQ-AUFace w/o anatomical loss, all tokens is vqauface-plain-all (" in line
    if number == 6:
        assert "VQ-AUFace is vqauface (nano preset" in line


def test_ablations_and_label_input_fill_the_papers_rows(boards):
    def better(data):
        for score in data["scores"]:
            if score["metric"] == "aaad":
                score["value"] = 0.99

    found = boards("test2k", "vqauface-anatomical-no-structure", "vqauface", better)
    row = next(
        r for r in build(3, found, "both").rows if r.key == "vqauface-anatomical-no-structure"
    )
    assert row.cells[4].value == 0.574 and row.cells[9].value == 0.99 and row.cells[9].rank == 1
    found = boards("test2k", "vqauface-anatomical-all", "vqauface")
    rows = {row.key: row for row in build(3, found, "both").rows}
    assert rows["vqauface"].section == "further models"
    assert rows["vqauface-anatomical-all"].cells[0].value == 63.604
    assert rows["vqauface-anatomical-all"].cells[5].value is not None
    path = boards.folder / "synfacs" / "label-input"
    data = json.loads((path / "oracle.json").read_text())
    data["model"] |= {"name": "vqauface-labels", "control": False}
    (path / "vqauface-labels.json").write_text(json.dumps(data))
    table = build(5, read_boards("synfacs", boards.folder), "both")
    labels = next(row for row in table.rows if row.key == "labels")
    assert labels.cells[0].value == 77.546 and labels.cells[5].value is not None
    assert any("target=labels" in note for note in labels.cells[9].notes)


def test_ties_come_from_paired_differences_of_these_very_images(boards):
    found = boards("test2k", "rival", "vqauface", lambda d: d["scores"][0].update(value=63.0))
    table = build(3, found, "measured")
    rival = next(row for row in table.rows if row.key == "rival")
    assert rival.cells[0].rank == 2 and not rival.cells[0].tied
    assert any("ties are not known: rival" in text for text in table.general)
    images = found.of("test2k")["vqauface"].provenance.images_sha256

    def marked(low, high, digest):
        pair = Difference(
            first="rival",
            second="vqauface",
            first_images=digest,
            second_images=images,
            metrics={"fid": (0.6, low, high)},
        )
        enter(boards.folder / "synfacs" / "test2k", [pair])
        table = build(3, read_boards("synfacs", boards.folder), "measured")
        return next(row for row in table.rows if row.key == "rival").cells[0].tied

    assert marked(-0.1, 1.3, images)
    assert not marked(0.1, 1.3, images)
    assert not marked(-0.1, 1.3, "0" * 64)  # other images than the record's
    path = boards.folder / "synfacs" / "test2k"
    assert sum("rival" in (p.first, p.second) for p in read_pairs(path).pair) == 1
    (path / "pairs.toml").write_text("[[pair]]\nfirst = 1")
    with pytest.raises(AubenchError, match=r"pairs\.toml is damaged"):
        read_boards("synfacs", boards.folder)


def small(*values, higher=False, across=False):
    cells = [
        Cell(v, metric="fid", id="fid|x", higher=higher, digits=2, source="measured")
        for v in values
    ]
    if across:
        columns = tuple(Column(str(i), f"m{i}", "measured", higher) for i in range(len(cells)))
        return Table(4, "t", "c", columns, (Row("r", tuple(cells)),), across=True)
    rows = tuple(Row(f"r{i}", (cell,), key=f"r{i}") for i, cell in enumerate(cells))
    return Table(3, "t", "c", (Column("fid", "FID", "measured", higher),), rows)


@pytest.mark.parametrize(
    ("values", "higher", "ranks"),
    [
        ((3.0, 1.0, 2.0), False, [0, 1, 2]),
        ((3.0, 1.0, 2.0), True, [1, 0, 2]),
        ((1.001, 1.004, 2.0), False, [1, 1, 2]),
        ((1.0, None, 2.0), False, [1, 0, 2]),
        ((1.0,), False, [0]),
    ],
)
@pytest.mark.parametrize("across", [False, True])
def test_ranks(values, higher, ranks, across):
    table = ranked(small(*values, higher=higher, across=across))
    assert [cell.rank for row in table.rows for cell in row.cells] == ranks


def test_a_study_fills_table_4(tmp_path):
    from aubench.study.analysis.results import StudyResults

    models, combinations = ("vqauface", "mine"), ("12+15",)
    cells = [
        {
            "model": m,
            "combination": c,
            "auchs": 1.5,
            "low": 1.25,
            "high": 1.75,
            "raters": 9,
            "items": 3,
        }
        for m in models
        for c in (*combinations, "mean")
    ]
    results = StudyResults.model_validate(
        {
            "study": "pilot",
            "study_sha256": "ab" * 32,
            "created": "2026-01-01",
            "simulated": True,
            "protocol": {
                "name": "conflict",
                "version": "1.0",
                "sha256": "c" * 64,
                "dataset": "synfacs",
            },
            "models": models,
            "combinations": combinations,
            "interval": "crossed bootstrap",
            "raters": {
                "places": 9,
                "consented": 9,
                "finished": 9,
                "withdrawn": 0,
                "excluded": 0,
                "analysed": 9,
            },
            "cells": cells,
            "agreement": [],
            "worths": [],
            "exclusions": [],
            "tied": 0,
            "high": 2,
            "comparisons": [],
            "letters": {},
            "friedman": None,
            "without_exclusion": {},
            "self_tau": None,
        }
    )
    results.write(tmp_path / "auchs.json")
    table = build(4, read_boards("synfacs", None, tmp_path / "auchs.json"), "both")
    row = next(row for row in table.rows if row.key == "12+15")
    # The paper's five models score 1 to 5, the study's two 1 to 2: both are shares of wins.
    shares = [cell.value for cell in row.cells]
    assert shares == pytest.approx([0.75, 0.1, 0.6035, 0.5565, 0.49, 0.5, 0.5])
    assert row.cells[5].interval == (0.25, 0.75)
    assert "simulated" in table.columns[5].notes[0]
    assert all(column.notes for column in table.columns)  # no column without a mark
    assert "share of pairwise wins" in table.title and "k = 2 models" in " ".join(table.general)
    printed = build(4, read_boards("synfacs", None, tmp_path / "auchs.json"), "reported")
    assert printed.rows[0].cells[0].value == 4.0 and "share" not in printed.title
    assert row.cells[0].rank == 1 and row.cells[2].rank == 2


TABLES = range(1, 7)


@pytest.mark.parametrize("form", [draw.markdown, draw.html_table, draw.csv_table, latex.latex])
def test_the_same_records_give_the_same_bytes(form, tmp_path):
    """Also from a copy in another place, listed by the disk in another order."""
    shutil.copytree(HOME / "synfacs", tmp_path / "synfacs")
    for path in sorted((tmp_path / "synfacs").rglob("*.json"), reverse=True):
        path.write_bytes(path.read_bytes())
    here, there = read_boards("synfacs"), read_boards("synfacs", tmp_path)
    for number in TABLES:
        assert form(build(number, here)) == form(build(number, there))


def test_every_renderer_shows_every_value():
    found = read_boards("synfacs")
    for number in TABLES:
        table = build(number, found)
        cells = [cell for row in table.rows for cell in row.cells if cell.value is not None]
        outputs = [draw.markdown(table), draw.html_table(table), latex.latex(table)]
        for cell in cells:
            shown = draw.plain(cell).partition(" [")[0]
            assert all(shown.replace(",", "") in text.replace(",", "") for text in outputs)
        lines = list(csv.DictReader(io.StringIO(draw.csv_table(table))))
        assert len(lines) == len(table.rows) * len(table.columns)
        assert [float(x["value"]) for x in lines if x["value"]] == [c.value for c in cells]


def test_latex_is_sound_without_a_tex():
    """Braces balance, every line has as many cells as the preamble has columns."""
    for number in TABLES:
        text = latex.latex(build(number, read_boards("synfacs")))
        assert len(re.findall(r"(?<!\\)\{", text)) == len(re.findall(r"(?<!\\)\}", text))
        spec = re.search(r"\\begin\{tabular\}\{(.*)\}\n", text).group(1)
        bare = re.sub(
            r"@\{[^}]*\}|>\{[^}]*\}|S\[[^\]]*\]|p\{[^}]*\}",
            lambda m: "" if m[0][0] in "@>" else "c",
            spec,
        )
        body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
        for line in body.splitlines():
            if not line.endswith(r"\\"):
                continue
            spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
            assert len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) == len(bare), line
        assert r"\toprule" in text and r"\midrule" in text and r"\bottomrule" in text
        text.encode("ascii")


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex on this machine")
def test_latex_compiles(tmp_path):
    style = subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True, text=True)
    if style.returncode:
        pytest.skip("this TeX lacks siunitx")
    found = read_boards("synfacs")
    tables = [build(number, found) for number in TABLES]
    hard = small(-1.0, 20000.0, 3.5)
    hard = Table(3, r"50 % of $x_1$ & #2 {a} ~b^c \d", "<|>", hard.columns, hard.rows, ("“é” ≈",))
    (tmp_path / "all.tex").write_text(latex.document([*tables, ranked(hard)]), encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "all.pdf").read_bytes().startswith(b"%PDF")
    assert "(7 pages" in done.stdout


def test_command(aubench, tmp_path):
    done = aubench("report", "--table", 3, "--format", "latex", "--reported", check=0)
    assert done.stdout == latex.latex(build(3, read_boards("synfacs"), "reported"))
    shown = aubench("report", "--table", 6, check=0).stdout
    assert "63.604" in shown and "‡ reported by the paper" in shown
    aubench("report", "--table", 5, "--format", "csv", "-o", "t.csv", check=0)
    assert (tmp_path / "t.csv").read_text().count("\n") > 10
    for words, message in [
        (("--format", "csv"), "needs --table"),
        (("--table", 7), "7 is not in the range"),
        (("--table", 4, "--measured"), "nothing measured for table 4"),
        (("--table", 3, "--protocol", "unseen"), "do not go with --table"),
        (("--table", 3, "--document"), "--format latex"),
        (("--table", 3, "--data", "nothing", "--measured"), "nothing measured for table 3"),
    ]:
        failed = aubench("report", *words, check=2)
        assert message in failed.stderr and failed.stderr.count("\n") == 1
