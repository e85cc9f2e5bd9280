"""The measured half of each of the paper's tables, None where no record belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from aubench.record import Record
from aubench.report.paper import PaperRow, PaperTable
from aubench.report.table import Cell, Column, Row, Table, ranked
from aubench.report.tables import (
    LABELS,
    METRICS,
    MODEL,
    WHOLE,
    Boards,
    dagger,
    measured_cell,
    measured_columns,
    with_id_notes,
)

OTHERS, CONTROLS = "further models", "controls"
Builder = Callable[[PaperTable, Boards], Table | None]


def table_1(told: PaperTable, boards: Boards) -> Table | None:
    """Return the row of ``synfacs``, or of the user's own copy that texts were attached to."""
    found = _synfacs_texts() if boards.dataset == "synfacs" else _own_texts(boards.dataset)
    if found is None:
        return None
    counts, said, about = found
    cells = tuple(
        Cell(counts.get(c.key), words=said.get(c.key, ""), digits=0, source="measured")
        for c in told.columns
    )
    columns = tuple(Column(c.key, c.title, "measured") for c in told.columns)
    row = Row(boards.dataset, cells, key=boards.dataset)
    return Table(1, told.title, told.corner, columns, (row,), (f"Measured: {about}.",))


FOCUS = "what each AU and each interacting combination does to the face"
Texts = tuple[dict[str, int], dict[str, str], str]
"""Counts and words by column, and the footnote."""


def _synfacs_texts() -> Texts:
    from aubench.datasets.synfacs import COUNTS
    from aubench.protocol import load_protocol

    words = [len(text.split()) for text in load_protocol("test2k").samples().frame["text"]]
    images = sum(COUNTS.values())
    said = {"length": f"{min(words)}–{max(words)} words", "annotation": "rendered, exact AUs"}
    about = f"synfacs; lengths are of the {len(words):,} texts of test2k"
    return {"images": images, "texts": images}, {**said, "focus": FOCUS}, about


def _own_texts(dataset: str) -> Texts | None:
    from aubench.datasets.autext import read_statistics

    found = read_statistics(dataset)
    if found is None:
        return None
    words = found["words"]
    said = {"length": f"{words['min']}–{words['max']} words", "annotation": "generation by AU"}
    counts = {"images": int(found["images"]), "texts": int(found["texts"])}
    return counts, {**said, "focus": FOCUS}, f"{dataset}, the copy on this machine"


def table_2(told: PaperTable, boards: Boards) -> Table | None:
    """Return how each recorded model was trained and what it reads."""
    found: dict[str, Record] = {}
    where: dict[str, list[str]] = {}
    for protocol, records in boards.records.items():
        for name, record in records.items():
            found.setdefault(name, record)
            where.setdefault(name, []).append(protocol)
    if not found:
        return None
    names = {"au": "AU", "text": "text", "reference": "reference"}
    rows = []
    for record in _ordered(found.values()):
        model = record.model
        inputs = ", ".join(names[name] for name in names if name in model.inputs)
        words = (model.training, inputs or "none", ", ".join(where[model.name]))
        cells = tuple(Cell(words=text, source="measured") for text in words)
        rows.append(Row(model.name, cells, CONTROLS if model.control else OTHERS, model.name,
                        model.control, dagger(record)))  # fmt: skip
    columns = tuple(
        Column(c.key, "protocols" if c.key == "evaluation" else c.title, "measured")
        for c in told.columns
    )
    return Table(2, told.title, told.corner, columns, tuple(rows),
                 (f"Measured: the records of {boards.dataset}.",))  # fmt: skip


def table_3(told: PaperTable, boards: Boards) -> Table | None:
    """Return the records of ``test2k``; those the paper does not have come after its rows."""
    records = boards.of("test2k")
    if not records:
        return None
    known = {row.key: row for row in told.rows}
    rows, named = [], {}
    whole = WHOLE if WHOLE in records else MODEL
    first = [whole if row.key == WHOLE else row.key for row in told.rows]
    for record in _ordered(records.values(), first):
        name = record.model.name
        if name == whole:
            name = WHOLE
        paper = known.get(name)
        section = paper.section if paper else CONTROLS if record.model.control else OTHERS
        rows.append(_row(paper.label if paper else name, record, section, name))
        if paper:
            named[_whole_name(paper, told)] = record
    return _finish(told, boards, rows, {"test2k"}, named)


def table_4(told: PaperTable, boards: Boards) -> Table | None:
    """Return AUCHS of a study, combinations by models, None where there are no results."""
    study = boards.study
    if study is None:
        return None
    bots = ("The raters were simulated.",) if study.simulated else ()
    titles = {column.key: column.title for column in told.columns}
    models = sorted(
        study.models, key=lambda name: list(titles).index(name) if name in titles else 9
    )
    names = {row.key: row.label for row in told.rows}
    rows = []
    for key in (*study.combinations, "mean"):
        cells = []
        for model in models:
            found = study.cell(model, key)
            cells.append(
                Cell(found.auchs, (found.low, found.high), metric="auchs", source="measured",
                     id=f"auchs|study={study.study}@{study.study_sha256[:12]}", higher=True,
                     n=found.raters)
            )  # fmt: skip
        rows.append(Row(names.get(key, f"AU{key}".replace("+", " + AU")), tuple(cells), key=key))
    columns = tuple(Column(m, titles.get(m, m), "measured", True, notes=bots) for m in models)
    people = study.raters
    about = (
        f"Measured: study {study.study} on {study.protocol.dataset}/{study.protocol.name} "
        f"{study.protocol.version}, {people.analysed} of {people.finished} finished raters; "
        f"{study.interval}"
    )
    table = Table(
        4, told.title, told.corner, columns, tuple(rows), (about.rstrip(".") + ".",), True
    )
    return ranked(table)


def table_5(told: PaperTable, boards: Boards) -> Table | None:
    """Return VQ-AUFace on texts beside the variant that reads labels."""
    whole, rows = boards.of("test2k"), []
    text = whole.get(WHOLE, whole.get(MODEL))
    labels = boards.of("label-input")
    label = labels.get(LABELS)
    named = {}
    for line, record, key in zip(told.rows, (text, label), ("text", "labels"), strict=True):
        if record is not None:
            rows.append(_row(line.label, record, "", key))
            named[line.label] = record
    for record in _ordered(labels.values()):
        if record is not label:
            section = CONTROLS if record.model.control else OTHERS
            rows.append(_row(f"{record.model.name}, labels", record, section, record.model.name))
    return _finish(told, boards, rows, {"test2k", "label-input"}, named) if rows else None


def table_6(told: PaperTable, boards: Boards) -> Table | None:
    """Return every model on both test sets."""
    seen, unseen = boards.of("test2k"), boards.of("unseen")
    shared = [record for record in seen.values() if record.model.name in unseen]
    rows = []
    for record in _ordered(shared, [MODEL]):
        name = record.model.name
        section = "" if name == MODEL else f"{name}{' (control)' if record.model.control else ''}"
        for line, source in zip(told.rows, (seen, unseen), strict=True):
            key = line.key if name == MODEL else f"{name}/{line.key}"
            rows.append(_row(line.label, source[name], section, key))
    named = {"VQ-AUFace": seen[MODEL]} if MODEL in seen else {}
    return _finish(told, boards, rows, {"test2k", "unseen"}, named) if rows else None


def _row(label: str, record: Record, section: str, key: str) -> Row:
    cells = tuple(measured_cell(record.score(name), name) for name in METRICS)
    return Row(label, cells, section, key, record.model.control, dagger(record))


def _ordered(records: Iterable[Record], first: Sequence[str] = ()) -> list[Record]:
    """Return records in the order of ``first``, then by name, controls last."""
    place = {name: i for i, name in enumerate(first)}
    return sorted(
        records,
        key=lambda r: (r.model.control, place.get(r.model.name, len(place)), r.model.name),
    )


def _whole_name(row: PaperRow, told: PaperTable) -> str:
    """Return the label of a row, after its section where another section has the same."""
    alone = sum(other.label == row.label for other in told.rows) == 1
    return row.label if alone else f"{row.section}, {row.label}"


def _behind_names(named: dict[str, Record]) -> str:
    """Return what stands behind the paper's names: a small model must not pass for the paper's."""
    lines = dict.fromkeys(
        f"{label} is {record.model.name} ({record.model.training.rstrip('.')})"
        for label, record in named.items()
    )
    return f"Measured under the paper's names: {'; '.join(lines)}."


def _finish(
    told: PaperTable,
    boards: Boards,
    rows: list[Row],
    protocols: set[str],
    named: dict[str, Record],
) -> Table:
    """Return the table with its footnotes; ``named`` are the records under the paper's labels."""
    marked, usual = with_id_notes(rows)
    columns = measured_columns(marked, METRICS)
    about = [_about(boards, name) for name in sorted(protocols) if boards.of(name)]
    ids = "; ".join(f"{c.title} is {id_}" for c, id_ in zip(columns, usual, strict=True) if id_)
    general = [
        f"Measured by aubench on {'; '.join(about)}. 95 % intervals by subject. {ids}. "
        "Measured and reported values differ in data and extractor and are not to be compared."
    ]
    if named:
        general.append(_behind_names(named))
    table = Table(told.number, told.title, told.corner, columns, marked)
    unknown: list[str] = []

    def tied(best: Row, row: Row, cell: Cell) -> bool | None:
        one, two = (_behind(boards, r.key) for r in (best, row))
        found = boards.pairs["test2k"].tie(cell.metric, one, two)
        if found is None:
            unknown.append(row.key)
        return found

    table = ranked(table, tied if told.number == 3 else None)
    if unknown:
        names = ", ".join(dict.fromkeys(unknown))
        general.append(f"Not compared in pairs with the best, so ties are not known: {names}.")
    return replace(table, general=tuple(general))


def _behind(boards: Boards, key: str) -> Record:
    """Return the record behind a row of Table 3."""
    records = boards.of("test2k")
    return records.get(key) or records[MODEL]


def _about(boards: Boards, protocol: str) -> str:
    records = list(boards.of(protocol).values())
    info = records[0].protocol
    asked = sorted({record.counts.asked for record in records})
    n = " or ".join(f"{count:,}" for count in asked)
    return f"{info.dataset}/{protocol} {info.version} (sha256 {info.sha256[:12]}, N = {n})"


BUILDERS: dict[int, Builder] = {
    1: table_1, 2: table_2, 3: table_3, 4: table_4, 5: table_5, 6: table_6,
}  # fmt: skip
REMEDIES = {
    1: "attach texts to your copy with `aubench data text NAME`",
    2: "enter records with `aubench report --add RECORD`",
    3: "run models on test2k and enter their records with --add",
    4: "run a study and give its results with --study",
    5: "run a model on label-input and enter its record with --add",
    6: "run models on test2k and unseen and enter their records with --add",
}
