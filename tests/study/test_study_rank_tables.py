"""The audit of published tables: the paper's, true ones, and spoilt ones."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aubench.cli.main import main
from aubench.errors import AubenchError
from aubench.study.analysis.rank_tables import (
    audit,
    denominators,
    on_grid,
    paper_table,
    read_rank_table,
    table_from_rows,
)


def of_rankings(seed, raters, items, k, decimals, rows=3):
    generator = np.random.default_rng(seed)
    lines = [["row", *(f"model {i}" for i in range(k))]]
    means = []
    for row in range(rows):
        utility = generator.gumbel(size=(raters * items, k)) + generator.normal(size=k)
        scores = (np.argsort(np.argsort(utility, axis=1), axis=1) + 1).sum(axis=0)
        values = [Decimal(int(s)) / Decimal(raters * items) for s in scores]
        lines.append([f"row {row}", *(f"{value:.{decimals}f}" for value in values)])
        means.append(values)
    whole = [sum(column) / Decimal(rows) for column in zip(*means, strict=True)]
    lines.append(["Mean", *(f"{value:.{decimals}f}" for value in whole)])
    return lines


def faults(table, raters=None, items=None):
    return [finding for finding in audit(table, raters, items) if finding.fault]


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10**6),
    st.integers(2, 40),
    st.integers(1, 8),
    st.integers(2, 8),
    st.integers(2, 4),
)
def test_a_table_of_complete_rankings_has_no_fault(seed, raters, items, k, decimals):
    table = table_from_rows("t", of_rankings(seed, raters, items, k, decimals))
    assert faults(table, raters, items) == []
    if raters * items <= 60:
        assert raters * items in denominators(table, 60)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(0, 3), st.integers(20, 400))
def test_a_changed_value_breaks_its_row(seed, column, change):
    rows = of_rankings(seed, 15, 5, 4, 3)
    rows[1][column + 1] = f"{Decimal(rows[1][column + 1]) + Decimal(change) / 1000:.3f}"
    found = faults(table_from_rows("t", rows), 15, 5)
    assert any(finding.where == "row 0" and "sums to" in finding.what for finding in found)


def test_the_paper_s_table_as_it_stands():
    table = paper_table()
    assert table.k == 5 and len(table.rows) == 6
    assert table.rows["AU6 + AU12 + AU15"][0] == Decimal("4.242")
    found = faults(table, 15, 5)
    sums = {finding.where: finding.what for finding in found if "sums to" in finding.what}
    assert set(sums) == {
        "AU1 + AU4",
        "AU6 + AU12 + AU15",
        "AU6 + AU12 + AU15 + AU17",
        "AU1 + AU2 + AU4",
    }
    assert "14.852" in sums["AU6 + AU12 + AU15"] and "-0.148" in sums["AU6 + AU12 + AU15"]
    (grid,) = [finding for finding in found if finding.where == "grid"]
    assert "19 of 30 values are no mean of 15 raters × 5 items" in grid.what
    assert denominators(table, 800) == [425, 500, 575, 800]
    assert not any("outside" in finding.what for finding in found)
    notes = [finding.what for finding in audit(table, 15, 5) if not finding.fault]
    assert any("agrees with the rows" in note for note in notes)
    assert any("885 (59 rankings each)" in note for note in notes)
    assert any("1/500 grid" in note for note in notes)


@pytest.mark.parametrize(
    ("value", "n", "ties", "expected"),
    [
        ("3.413", 75, False, True),
        ("3.414", 75, False, False),
        ("3.5", 1, False, False),
        ("3.5", 1, True, True),
        ("3.50", 2, False, True),
        ("0.333", 3, False, True),
        ("0.334", 3, False, False),
        ("2.5", 4, False, True),
        ("2.13", 8, False, True),
        ("2.12", 8, False, True),  # 2.125, rounded either way
    ],
)
def test_the_grid_of_possible_means(value, n, ties, expected):
    decimals = len(value.split(".")[1])
    from fractions import Fraction

    half = Fraction(1, 2 * 10**decimals)
    assert on_grid(Decimal(value), n, half, ties=ties) is expected


def test_values_outside_the_scale_and_wrong_means_are_found():
    rows = [["", "a", "b"], ["x", "2.6", "0.4"], ["y", "1.5", "1.5"], ["Mean", "2.1", "1.4"]]
    found = {finding.where: finding.what for finding in faults(table_from_rows("t", rows))}
    assert "outside 1 to 2" in found["x, a"] and "outside 1 to 2" in found["x, b"]
    assert "is 1.4, the mean of its rows is 0.95" in found["mean of b"]


def test_tables_in_markdown_csv_and_tsv_are_the_same(tmp_path):
    rows = of_rankings(1, 10, 3, 4, 3)
    texts = {
        "a.csv": "\n".join(",".join(row) for row in rows),
        "a.tsv": "\n".join("\t".join(row) for row in rows),
        "a.md": "\n".join(
            "| " + " | ".join(row) + " |" for row in [rows[0], ["---"] * 5, *rows[1:]]
        ),
    }
    tables = []
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        tables.append(read_rank_table(tmp_path / name))
    assert tables[0].rows == tables[1].rows == tables[2].rows
    assert tables[0].means == tables[2].means and tables[0].models == tables[2].models


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rank table"),
        ("a,b\n1,2\n", "no rank table"),
        ("x,a,b\nr,1,two\n", "row 'r', column 'b': 'two' is no number"),
        ("x,a,b\nr,1,nan\n", "no number"),
        ("x,a,b\nr,1\n", "line 2 has 2 cells where the header has 3"),
        ("|x|a|b|\n|-|-|-|\n|r|1|\n", "row 'r' has 1 values"),
        ("x,a,a\nr,1,2\n", "two columns 'a'"),
        ("x,a,b\nr,1,2\nr,1,2\n", "occurs twice"),
        ("x,a,b\nMean,1,2\n", "no row but 'Mean'"),
    ],
)
def test_what_is_no_table_is_said_in_one_line(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(AubenchError, match=message):
        read_rank_table(path)


def test_check_on_the_command_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["study", "check", "--paper", "--strict"])
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert out.count("FAULT") == 5 and "14.852" in out
    path = tmp_path / "t.csv"
    path.write_text("\n".join(",".join(row) for row in of_rankings(3, 12, 4, 3, 2)))
    with pytest.raises(SystemExit) as ended:
        main(["study", "check", str(path), "--raters", "12", "--items", "4", "--strict"])
    assert ended.value.code == 0
    assert "nothing here contradicts" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["study", "check"])
    assert ended.value.code == 2
