"""Tables that people write: one reader, whoever wrote them; nothing is read wrong in silence."""

import csv
import io
import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
from aubench_baselines.precomputed import list_csv
from aubench_baselines.sd15_lora.data import folder_faces
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aubench.datasets.imported.given_texts import read_file
from aubench.datasets.readers.folder import FolderReader
from aubench.errors import AubenchError
from aubench.facs.coding import parse_intensity, parse_occurrence
from aubench.networks.textau.corpus import read_labelled_texts
from aubench.storage.tables import parse_number, read_table
from aubench.study.analysis.rank_tables import read_rank_table

FACES = """image,subject,note,AU1,AU2,AU12,I12
a/0.png,s0,ok,1,0,0,
a/1.png,s0,ok,0,1,1,3
a/2.png,s1,ok,1,9,1,2.5
a/3.png,s1,ok,0,0,0,0
"""
IMAGES = "sample_id,path\nu-0,x/0.png\nu-1,x/1.png\nu-2,x/2.png\n"
TEXTS = "key,text\nd/0,lips part\nd/1,a broad smile\nd/0,brows rise\n"
LABELLED = "text,AU1,AU12\nlips part,0,9\na broad smile,0,1\nbrows rise,1,0\n"
COMBINED = "text,combination\nlips part,neutral\na broad smile,6+12\n"
CAPTIONS = "file_name,text\n0.png,lips part\n1.png,a broad smile\n"
RANKS = "row,ours,theirs\n12,1.25,1.75\n15,1.5,1.5\nMean,1.375,1.625\n"


def _faces(path):
    found = FolderReader().read(path)
    return [
        (s.subject, s.names, s.labels.tolist(), np.nan_to_num(s.intensities, nan=-1).tolist())
        for s in found.sequences
    ]


def _images(path):
    found = list_csv(path)
    return {name: place.name for name, place in found.files.items()}, found.twice


def _texts(path):
    return read_file(path, "d", ["d/0", "d/1"]).to_numpy().tolist()


def _labelled(path):
    texts, labels = read_labelled_texts(path)
    return texts, labels.tolist()


def _captions(path):
    folder = path.parent
    for name in ("0.png", "1.png"):
        (folder / name).touch()
    if path.name != "metadata.csv":
        path.replace(folder / "metadata.csv")
    return folder_faces(folder, 8, 0).words


def _ranks(path):
    found = read_rank_table(path)
    return found.models, found.rows, found.means


READERS = {
    "faces": (_faces, FACES),
    "images": (_images, IMAGES),
    "texts": (_texts, TEXTS),
    "labels": (_labelled, LABELLED),
    "combinations": (_labelled, COMBINED),
    "captions": (_captions, CAPTIONS),
    "ranks": (_ranks, RANKS),
}


def _lines(text, change):
    return "\n".join(change(line) for line in text.splitlines()) + "\n"


def _quoted(text):
    return _lines(text, lambda line: ",".join(f'"{cell}"' for cell in line.split(",")))


SPELLINGS = {
    "as it is": lambda t: t.encode(),
    "a byte order mark": lambda t: t.encode("utf-8-sig"),
    "UTF-16": lambda t: t.encode("utf-16"),
    "UTF-16, the other end first": lambda t: b"\xfe\xff" + t.encode("utf-16-be"),
    "UTF-32": lambda t: t.encode("utf-32"),
    "line ends of Windows": lambda t: t.replace("\n", "\r\n").encode(),
    "line ends of old Macs": lambda t: t.replace("\n", "\r").encode(),
    "semicolons": lambda t: t.replace(",", ";").encode(),
    "tabs": lambda t: t.replace(",", "\t").encode(),
    "the separator said": lambda t: f"sep=;\n{t.replace(',', ';')}".encode(),
    "the separator said in quotation marks": lambda t: f'"sep=,"\n{t}'.encode(),
    "two byte order marks": lambda t: f"\ufeff{t}".encode("utf-8-sig"),
    "the separator said, UTF-16": lambda t: f"sep=,\r\n{t}".encode("utf-16"),
    "decimal commas": lambda t: t.replace(",", ";").replace(".5\n", ",5\n").encode(),
    "decimal commas, tabs": lambda t: t.replace(",", "\t").replace("1.25", "1,25").encode(),
    "all cells quoted": lambda t: _quoted(t).encode(),
    "blanks around cells": lambda t: t.replace(",", " , ").encode(),
    "no line end at the end": lambda t: t.rstrip("\n").encode(),
    "empty lines": lambda t: t.replace("\n", "\n\n").encode(),
    "lines of separators": lambda t: f"{t},,,,,\n,,\n".encode(),
    "an empty column": lambda t: _lines(t, lambda line: line + ",").encode(),
    "floats of pandas": lambda t: re.sub(r",([019])(?=[,\n])", r",\1.0", t).encode(),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("kind", READERS)
def test_one_table_in_many_spellings(tmp_path, kind, spelling):
    read, text = READERS[kind]
    (tmp_path / "plain.csv").write_text(text)
    wanted = read(tmp_path / "plain.csv")
    (tmp_path / "t.csv").write_bytes(SPELLINGS[spelling](text))
    assert read(tmp_path / "t.csv") == wanted


def _at(line, change):
    """Return what changes one line, counted from 1."""

    def spoil(text):
        lines = text.splitlines()
        lines[line - 1] = change(lines[line - 1])
        return ("\n".join(lines) + "\n").encode()

    return spoil


def _swallow(text):
    """Open a quotation mark in the second cell of line 2 and close it in that of line 3."""
    lines = [line.split(",") for line in text.splitlines()]
    lines[1][1], lines[2][1] = f'"{lines[1][1]}', f'{lines[2][1]}"'
    return ("\n".join(map(",".join, lines)) + "\n").encode()


FAULTS = {
    "an extra cell": (_at(3, lambda line: line.replace(",", ",x,", 1)), "line 3 has"),
    "an extra cell at the end": (_at(3, lambda line: line + ",1"), "line 3 has"),
    "a comma for a point": (_at(2, lambda line: line + ",5"), "line 2 has"),
    "a short line": (_at(3, lambda line: line.rpartition(",")[0]), "line 3 has"),
    "another separator": (_at(3, lambda line: line.replace(",", ";")), "line 3 has 1 cell "),
    "an open quotation mark": (_at(3, lambda line: f'"{line}'), "line 3 has a quotation mark"),
    "a quotation mark inside": (_at(3, lambda line: f'{line[:1]}"{line[1:]}'), "line 3 has a q"),
    "two stray quotation marks": (_swallow, "line 2 opens a cell"),
    "after a line said": (lambda t: b"sep=,\n" + _at(3, lambda x: x + ",1")(t), "line 4 has"),
    "after empty lines": (lambda t: b"\n\n" + _at(2, lambda x: x + ",1")(t), "line 4 has"),
    "one column twice": (_at(1, lambda x: x.replace(",", f",{x.split(',')[-1]},", 1)), ""),
    "a name over two lines": (
        _at(1, lambda x: f'"{x[:2]}\n' + x[2:].replace(",", '",', 1)),
        "line 1 opens",
    ),
    "Latin-1": (lambda t: _at(3, lambda x: x + "é")(t).decode().encode("latin-1"), "line 3 is not"),
    "zeros": (lambda t: t.encode() + b"\0\0", "is not text"),
    "a cut UTF-16": (lambda t: t.encode("utf-16")[:-1], "is not UTF-16 text"),
    "a spreadsheet": (lambda t: b"PK\x03\x04" + t.encode(), "a spreadsheet or an archive"),
    "a picture": (lambda t: b"\x89PNG\r\n\x1a\n" + t.encode(), "line 1 is not UTF-8 text"),
    "a long cell": (_at(2, lambda x: x + "x" * 131_073), "line 2 cannot be read"),
    "nothing": (lambda t: b"", ""),
    "a header alone": (lambda t: t.splitlines()[0].encode(), ""),
    "another header": (_at(1, lambda x: x[1:]), ""),
}


@pytest.mark.parametrize(
    ("kind", "fault"),
    # a rank table has whatever names its models have
    [p for p in itertools.product(READERS, FAULTS) if p != ("ranks", "another header")],
)
def test_a_table_at_fault_is_refused_and_the_line_named(tmp_path, kind, fault):
    read, text = READERS[kind]
    spoil, wanted = FAULTS[fault]
    path = tmp_path / "metadata.csv"
    path.write_bytes(spoil(text))
    with pytest.raises(AubenchError) as caught:
        read(path)
    assert str(path) in str(caught.value) and wanted in str(caught.value)
    assert caught.value.hint and "\n" not in str(caught.value)


def _folder(path):
    path.mkdir()


def _dangling(path):
    path.symlink_to(path.with_name("gone.csv"))


def _loop(path):
    path.symlink_to(path)


@pytest.mark.parametrize("make", [_folder, _dangling, _loop, lambda path: None])
@pytest.mark.parametrize("kind", READERS)
def test_what_is_no_file_is_refused(tmp_path, kind, make):
    make(tmp_path / "metadata.csv")
    with pytest.raises(AubenchError, match="cannot read"):
        READERS[kind][0](tmp_path / "metadata.csv")
    with pytest.raises(AubenchError, match="cannot read"):
        read_table(tmp_path / ("x" * 300))


def test_an_index_of_pandas_is_no_column_and_a_nameless_value_is_an_error(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(",image,subject,AU1\n0,a.png,s,1\n1,b.png,s,0\n")
    assert read_table(path).columns == ("image", "subject", "AU1")
    path.write_text("Unnamed: 0,image,subject,Unnamed: 3,AU1\n0,a.png,s,,1\n1,b.png,s,,0\n")
    assert read_table(path).columns == ("image", "subject", "AU1")
    path.write_text("image,subject,,AU1\na.png,s,,1\nb.png,s,why,0\n")
    with pytest.raises(AubenchError, match=r"line 3 has 'why' in cell 3, whose column has no name"):
        read_table(path)


def test_texts_in_several_lines_with_commas_are_texts(tmp_path):
    (tmp_path / "t.csv").write_text('text,combination\n"a smile, broad,\nand brows, up","6, 12"\n')
    texts, labels = read_labelled_texts(tmp_path / "t.csv")
    assert texts == ["a smile, broad, and brows, up"] and sum(labels[0]) == 2


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("AU1,AU01", "1,0", "two columns for AU1: AU1 and AU01"),
        ("AU1,au_1", "1,0", "two columns for AU1"),
        ("AU12,I12,AU12_r", "1,5,0.2", "two columns for the intensity of AU12: I12 and AU12_r"),
        ("AU12,I12,AU12_intensity", "1,5,5", "two columns for the intensity of AU12"),
        ("AU12_c", "1", "'AU12_c' would be no AU"),
        ("AU12", "C", "line 2: AU12 is 'C'; write 0, 1, or 9 for unknown; an intensity .* I12"),
        ("AU12", "0.5", "line 2: AU12 is '0.5'"),
        ("AU12", "1_0", "line 2: AU12 is '1_0'"),
        ("AU12,I12", "1,F", "line 2: I12 is 'F'; write 0 to 5, A to E, or nothing"),
        ("AU12,I12", "1,6", "line 2: I12 is '6'"),
        ("AU12,I12", "1,inf", "line 2: I12 is 'inf'"),
        ("AU12,I12", '1,"3,5"', "line 2: I12 is '3,5'"),
    ],
)
def test_columns_and_codes_of_aus(tmp_path, header, row, message):
    path = tmp_path / "faces.csv"
    path.write_text(f"image,subject,{header}\na.png,s,{row}\n")
    with pytest.raises(AubenchError, match=message):
        FolderReader().read(path)


@pytest.mark.parametrize(
    ("cell", "occurrence", "intensity"),
    [
        *((word, -1, math.nan) for word in ("", " ", "9", "9.0", "-1", "-1.0", "nan", "NaN", "NA")),
        *((word, -1, math.nan) for word in ("n/a", "#N/A", "<NA>", "NULL", "?", "9,0")),
        *((word, 0, 0) for word in ("0", "0.0", " 0 ", "+0", "-0.0", "0,0", "0e0", "\xa00")),
        *((word, 1, 1) for word in ("1", "1.", "1.0", "1,00", "01", "1E0")),
        *((word, None, 3.5) for word in ("3.5", "3,5", "35e-1", " 3.50 ")),
        *((word, None, i) for i, word in enumerate("ABCDE", 1)),
        *((word, None, i) for i, word in enumerate("abcde", 1)),
        ("TRUE", 1, None),
        ("False", 0, None),
        *((word, None, None) for word in ("6", "-2", "inf", "1_0", "0x1", "\u0661", "none", "-")),
        *((word, None, None) for word in ("1,000,0", "3;5", "F", "AB", "1 0", "--1", "1e999")),
    ],
)
def test_numbers_as_pandas_and_spreadsheets_write_them(cell, occurrence, intensity):
    for parse, wanted in ((parse_occurrence, occurrence), (parse_intensity, intensity)):
        if wanted is None:
            with pytest.raises(ValueError, match="'"):
                parse(cell, ";")
        else:
            assert parse(cell, ";") == pytest.approx(wanted, nan_ok=True)
    if "," in cell:
        with pytest.raises(ValueError, match="is no number"):
            parse_number(cell, ",")


CELLS = st.text(st.sampled_from('ab ,;\t"\n1.é'), max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=4),
    separator=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
@example(rows=[['"', "", ""]], separator=",", end="\n", encoding="utf-8")
def test_what_a_library_writes_is_read_back_or_refused(
    tmp_path_factory, rows, separator, end, encoding
):
    stream = io.StringIO()
    csv.writer(stream, delimiter=separator, lineterminator=end).writerows([["x", "y", "z"], *rows])
    path = tmp_path_factory.mktemp("t") / "t.csv"
    path.write_bytes(stream.getvalue().encode(encoding))
    wanted = [[cell.strip() for cell in row] for row in rows]
    found = error = None
    try:
        found = read_table(path)
    except AubenchError as caught:
        error = str(caught)
    if found is None:
        assert "opens a cell" in error and any("\n" in cell for row in wanted for cell in row)
    else:
        cells = [list(row.cells.values()) for row in found.rows]
        assert cells == [row for row in wanted if any(row)]


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(["faces", "images", "texts", "labels"]), data=st.data())
def test_a_separator_or_quotation_mark_too_many_or_too_few_is_never_read(
    tmp_path_factory, kind, data
):
    read, text = READERS[kind]
    at = data.draw(st.integers(0, len(text) - 1))
    if text[at] == "," and data.draw(st.booleans()):
        spoilt = text[:at] + text[at + 1 :]
    else:
        spoilt = text[:at] + data.draw(st.sampled_from(',"')) + text[at:]
    path = tmp_path_factory.mktemp("t") / "t.csv"
    path.write_text(spoilt)
    with pytest.raises(AubenchError):
        read(path)


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(sorted(READERS)), data=st.data())
def test_whatever_bytes_there_are_the_end_is_a_value_or_one_line(tmp_path_factory, kind, data):
    read, text = READERS[kind]
    whole = bytearray(text.encode(data.draw(st.sampled_from(["utf-8", "utf-16"]))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    path = Path(tmp_path_factory.mktemp("t")) / "metadata.csv"
    path.write_bytes(whole)
    said = str(path.parent)
    try:
        read(path)
    except AubenchError as error:
        said = str(error)
    assert str(path.parent) in said and "\n" not in said
