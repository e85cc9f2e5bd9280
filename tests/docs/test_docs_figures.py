"""Figures that pages repeat are those of the shipped records, to the last digit printed."""

import re

import pytest
from documents import ROOT

from aubench.metrics.registry import facts_of
from aubench.records.record import read_record
from aubench.storage.files import shipped

NAME = re.compile(r"`([a-z0-9-]+)`")
VALUE = re.compile(r"-?\d+\.\d+")
HEADS = {
    "FID": "fid",
    "LPIPS": "lpips",
    "AAAD": "aaad",
    "AAAD, 2nd detector": "aaad_second",
    "AU F1": "au_f1",
    "AUC": "au_auc",
    "identity": "identity",
}
ABLATIONS = {
    "all tokens": "vqauface-anatomical-all",
    "without appearance": "vqauface-anatomical-no-appearance",
    "without structure": "vqauface-anatomical-no-structure",
    "without VAE": "vqauface-anatomical-no-vae",
    "without all": "vqauface-anatomical-no-tokens",
}
ABLATIONS |= {
    f"{row}, no anatomical loss": name.replace("anatomical", "plain")
    for row, name in ABLATIONS.items()
}


def record(protocol, name):
    return read_record(shipped("leaderboards") / "synfacs" / protocol / f"{name}.json")


def tables(page):
    """Return the tables of a page as lists of rows of cells, heads first."""
    text = (ROOT / page).read_text("utf-8")
    blocks = re.findall(r"(?:^\|.*\|\n)+", text, re.M)
    rows = [[line.strip("|").split("|") for line in block.splitlines()] for block in blocks]
    return [[[cell.strip() for cell in row] for row in table] for table in rows]


def told(found, metric, cell):
    """Return whether a cell holds a score as printed, with its interval if it gives one."""
    row = found.score(metric)
    numbers = [float(word) for word in VALUE.findall(cell)]
    places = {len(word.partition(".")[2]) for word in VALUE.findall(cell)}
    expected = [row.value, *(row.ci or ())][: len(numbers)]
    half = 0.5000001 * 10.0 ** -min(places | {facts_of(metric).digits})
    return (
        len(numbers) in (1, 3)
        and len(numbers) == len(expected)
        and all(abs(seen - true) <= half for seen, true in zip(numbers, expected, strict=True))
    )


def wrong(table, where):
    """Return the cells that are no figures of their records, and how many were looked at."""
    heads = [HEADS.get(re.sub(r" [↑↓]$", "", head)) for head in table[0]]
    bad, seen = [], 0
    for row in table[2:]:
        place = where(row[0])
        for metric, cell in zip(heads, row, strict=True):
            if place and metric and cell:
                seen += 1
                if not told(record(*place), metric, cell):
                    bad.append((row[0], metric, cell))
    return bad, seen


def of_readme(cell):
    name = NAME.search(cell)
    return ("unseen", name[1]) if name else None


def of_ablations(cell):
    return ("test2k", ABLATIONS[cell]) if cell in ABLATIONS else None


def of_lora(cell):
    return (cell.strip("`"), "sd15-lora") if cell in ("`test2k`", "`unseen`") else None


@pytest.mark.parametrize(
    ("page", "first", "where", "least"),
    [
        ("README.md", "FID ↓", of_readme, 35),
        ("docs/vqauface.md", "row", of_ablations, 50),
        ("docs/sd15-lora.md", "N = 2,000, seed 0", of_lora, 14),
    ],
)
def test_tables_repeat_the_records(page, first, where, least):
    (table,) = [t for t in tables(page) if first in t[0] and "LPIPS" in " ".join(t[0])]
    bad, seen = wrong(table, where)
    assert bad == [] and seen >= least


def test_a_wrong_digit_is_seen():
    (table,) = [t for t in tables("README.md") if "FID ↓" in t[0]]
    assert table[2][2].startswith("62.24")
    table[2][2] = table[2][2].replace("62.24", "62.25")
    table[3][5] = table[3][5].replace("[0.704", "[0.705")
    assert [cell[1] for cell in wrong(table, of_readme)[0]] == ["fid", "aaad_second"]
