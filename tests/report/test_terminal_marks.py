"""What tells best from second without colours, and in which scale a score is shown."""

import pytest

from aubench.records.record import read_record
from aubench.report.tables.boards import read_boards
from aubench.report.tables.paper_tables import build
from aubench.report.tables.terminal import board_columns, board_grid
from aubench.storage.files import shipped

HOME = shipped("leaderboards")
NAMES = ("ganimation", "sd15-lora", "vqauface", "copy-reference")


@pytest.fixture(scope="module")
def records():
    return [read_record(HOME / "synfacs" / "unseen" / f"{name}.json") for name in NAMES]


def marked(records, metric):
    grid = board_grid("b", records, board_columns(records, (metric,)))
    return {str(row[0]).rstrip("†"): str(row[1]) for row in grid.rows}


def test_best_and_second_model_are_marked_and_no_control(records):
    cells = marked(records, "fid")
    values = {r.model.name: r.score("fid").value for r in records if not r.model.control}
    first, second, third = sorted(values, key=values.get)
    assert cells[first].endswith("¹") and cells[second].endswith("²")
    assert cells[third][-1] == "]" and cells["copy-reference (control)"][-1] == "]"


def test_a_single_model_is_not_the_best_of_anything(records):
    alone = [r for r in records if r.model.name in ("vqauface", "copy-reference")]
    assert "¹" not in "".join(marked(alone, "fid").values())


def test_the_papers_kid_stands_in_the_scale_of_the_measured_one():
    table = build(3, read_boards("synfacs", HOME))
    kids = [column for column in table.columns if column.title == "KID"]
    assert [column.unit for column in kids] == ["×10³", "×10³"]
    at = table.columns.index(kids[0])
    printed = {row.label: row.cells[at].value for row in table.rows}
    assert printed["AnyFace"] == pytest.approx(175)


def test_compare_shows_kid_as_the_tables_do(aubench, small_runs):
    done = aubench(
        "compare", small_runs["oracle"], small_runs["copy-reference"], "--out", "c", check=0
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("kid "))
    told = float(line.split("↓")[1].split()[1])
    raw = read_record(small_runs["copy-reference"] / "record.json").score("kid").value
    assert "×10³" in line and told == pytest.approx(1000 * raw, rel=1e-2)


@pytest.mark.parametrize("columns", ["80", "60"])
def test_a_narrow_terminal_keeps_the_status_of_models_first(aubench, columns):
    lines = aubench("models", check=0, COLUMNS=columns).stdout.splitlines()
    assert lines[0].split()[:2] == ["model", "status"]
    assert all(len(line) <= int(columns) for line in lines)
