"""The measured half of each of the paper's tables, None where no record belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from aubench.metrics.registry import paper_columns
from aubench.records.record import Record
from aubench.report.tables.boards import Boards, dagger
from aubench.report.tables.cells import measured_cell, measured_columns, with_id_notes
from aubench.report.tables.paper import PaperRow, PaperTable
from aubench.report.tables.table import Cell, Column, Row, Table, ranked

MODEL = "vqauface"
WHOLE = "vqauface-anatomical-all"
"""The whole model as trained beside its ablations; where there is none, the shipped one."""
LABELS = "vqauface-labels"
"""The variant of VQ-AUFace that reads labels, Table 5."""
OTHERS, CONTROLS = "further models", "controls"
Builder = Callable[[PaperTable, Boards], Table | None]


def table_1(printed: PaperTable, boards: Boards) -> Table | None:
    """Return the row of ``synfacs``, or of the user's own copy that texts were attached to."""
    found = _own_texts(boards.dataset) or _counted_texts(boards.dataset)
    if found is None:
        return None
    counts, said, about = found
    cells = tuple(
        Cell(counts.get(c.key), words=said.get(c.key, ""), digits=0, source="measured")
        for c in printed.columns
    )
    columns = tuple(Column(c.key, c.title, "measured") for c in printed.columns)
    row = Row(boards.dataset, cells, key=boards.dataset)
    return Table(1, printed.title, printed.corner, columns, (row,), (f"Measured: {about}.",))


FOCUS = "what each AU and each interacting combination does to the face"
Texts = tuple[dict[str, int], dict[str, str], str]
"""Counts and words by column, and the footnote."""


def _counted_texts(dataset: str) -> Texts | None:
    """Return the row of a data set that knows its size and comes with the protocol test2k."""
    from aubench.datasets.registry import named_dataset
    from aubench.protocols.protocol import load_protocol, protocol_names

    source = named_dataset(dataset)
    if not source.counts or "test2k" not in protocol_names(dataset):
        return None
    samples = load_protocol("test2k", dataset).samples()
    words = [len(text.split()) for text in samples.frame["text"]]
    images = sum(source.counts.values())
    how = "rendered, exact AUs" if source.exact_intensities else "generation by AU"
    said = {"length": f"{min(words)}–{max(words)} words", "annotation": how}
    about = f"{dataset}; lengths are of the {len(words):,} texts of test2k"
    return {"images": images, "texts": images}, {**said, "focus": FOCUS}, about


def _own_texts(dataset: str) -> Texts | None:
    from aubench.datasets.imported.au_texts import read_statistics

    found = read_statistics(dataset)
    if found is None:
        return None
    words = found["words"]
    said = {"length": f"{words['min']}–{words['max']} words", "annotation": "generation by AU"}
    counts = {"images": int(found["images"]), "texts": int(found["texts"])}
    return counts, {**said, "focus": FOCUS}, f"{dataset}, the copy on this machine"


def table_2(printed: PaperTable, boards: Boards) -> Table | None:
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
        rows.append(
            Row(
                model.name,
                cells,
                CONTROLS if model.control else OTHERS,
                model.name,
                model.control,
                dagger(record),
            )
        )
    columns = tuple(
        Column(c.key, "protocols" if c.key == "evaluation" else c.title, "measured")
        for c in printed.columns
    )
    return Table(
        2,
        printed.title,
        printed.corner,
        columns,
        tuple(rows),
        (f"Measured: the records of {boards.dataset}.",),
    )


def table_3(printed: PaperTable, boards: Boards) -> Table | None:
    """Return the records of ``test2k``; those the paper does not have come after its rows."""
    records = boards.of("test2k")
    if not records:
        return None
    known = {row.key: row for row in printed.rows}
    rows, named = [], {}
    whole = WHOLE if WHOLE in records else MODEL
    first = [whole if row.key == WHOLE else row.key for row in printed.rows]
    for record in _ordered(records.values(), first):
        name = record.model.name
        if name == whole:
            name = WHOLE
        paper = known.get(name)
        section = paper.section if paper else CONTROLS if record.model.control else OTHERS
        rows.append(_row(paper.label if paper else name, record, section, name))
        if paper:
            named[_whole_name(paper, printed)] = record
    return _finish(printed, boards, rows, {"test2k"}, named)


AS_WINS = ", as share of pairwise wins"
WINS = (
    "Scale: share of pairwise wins, (AUCHS - 1) / (k - 1), 0 to 1, 0.5 where all are alike; the "
    "study ranked k = {k} models."
)


def on_wins(printed: Table) -> Table:
    """Return the paper's Table 4 on the share of pairwise wins, as a study's is."""
    k = len(printed.columns)

    def wins(cell: Cell) -> Cell:
        return cell if cell.value is None else replace(cell, value=(cell.value - 1) / (k - 1))

    rows = tuple(replace(row, cells=tuple(map(wins, row.cells))) for row in printed.rows)
    words = f"The paper's scores of 1 to {k} are put on the share of pairwise wins."
    notes = tuple(replace(column, notes=(*column.notes, words)) for column in printed.columns)
    title = f"{printed.title}{AS_WINS}"
    return ranked(replace(printed, title=title, columns=notes, rows=rows))


def table_4(printed: PaperTable, boards: Boards) -> Table | None:
    """Return wins of a study, combinations by models, None where there are no results.

    The scale of AUCHS depends on how many models were ranked, so both the study's scores and, by
    ``on_wins``, the paper's are shares of pairwise wins.
    """
    study = boards.study
    if study is None or study.task not in ("rank", "pairs"):
        return None
    bots: tuple[str, ...] = ("The raters were simulated.",) if study.simulated else ()
    bots += (f"{len(study.models)} models were ranked.",)
    titles = {column.key: column.title for column in printed.columns}
    models = sorted(
        study.models, key=lambda name: list(titles).index(name) if name in titles else 9
    )
    names = {row.key: row.label for row in printed.rows}
    rows = []
    for key in (*study.combinations, "mean"):
        cells = []
        for model in models:
            found = study.cell(model, key)
            value, low, high = (
                (score - study.low) / (study.high - study.low)
                for score in (found.auchs, found.low, found.high)
            )
            cells.append(
                Cell(
                    value,
                    (low, high),
                    metric="auchs",
                    source="measured",
                    id=f"wins|study={study.study}@{study.study_sha256[:12]}",
                    higher=True,
                    n=found.raters,
                )
            )
        rows.append(Row(names.get(key, f"AU{key}".replace("+", " + AU")), tuple(cells), key=key))
    columns = tuple(Column(m, titles.get(m, m), "measured", True, notes=bots) for m in models)
    people = study.raters
    about = (
        f"{WINS.format(k=len(study.models))} Measured: study {study.study} on "
        f"{study.protocol.dataset}/{study.protocol.name} "
        f"{study.protocol.version}, {people.analysed} of {people.finished} finished raters; "
        f"{study.interval}"
    )
    table = Table(
        4,
        f"{printed.title}{AS_WINS}",
        printed.corner,
        columns,
        tuple(rows),
        (about.rstrip(".") + ".",),
        True,
    )
    return ranked(table)


def table_5(printed: PaperTable, boards: Boards) -> Table | None:
    """Return VQ-AUFace on texts beside the variant that reads labels."""
    whole, rows = boards.of("test2k"), []
    text = whole.get(WHOLE, whole.get(MODEL))
    labels = boards.of("label-input")
    label = labels.get(LABELS)
    named = {}
    for line, record, key in zip(printed.rows, (text, label), ("text", "labels"), strict=True):
        if record is not None:
            rows.append(_row(line.label, record, "", key))
            named[line.label] = record
    for record in _ordered(labels.values()):
        if record is not label:
            section = CONTROLS if record.model.control else OTHERS
            rows.append(_row(f"{record.model.name}, labels", record, section, record.model.name))
    return _finish(printed, boards, rows, {"test2k", "label-input"}, named) if rows else None


def table_6(printed: PaperTable, boards: Boards) -> Table | None:
    """Return every model on both test sets."""
    seen, unseen = boards.of("test2k"), boards.of("unseen")
    shared = [record for record in seen.values() if record.model.name in unseen]
    rows = []
    for record in _ordered(shared, [MODEL]):
        name = record.model.name
        section = "" if name == MODEL else f"{name}{' (control)' if record.model.control else ''}"
        for line, source in zip(printed.rows, (seen, unseen), strict=True):
            key = line.key if name == MODEL else f"{name}/{line.key}"
            rows.append(_row(line.label, source[name], section, key))
    named = {"VQ-AUFace": seen[MODEL]} if MODEL in seen else {}
    return _finish(printed, boards, rows, {"test2k", "unseen"}, named) if rows else None


def _row(label: str, record: Record, section: str, key: str) -> Row:
    cells = tuple(measured_cell(record.score(name), name) for name in paper_columns())
    return Row(label, cells, section, key, record.model.control, dagger(record))


def _ordered(records: Iterable[Record], first: Sequence[str] = ()) -> list[Record]:
    """Return records in the order of ``first``, then by name, controls last."""
    place = {name: i for i, name in enumerate(first)}
    return sorted(
        records,
        key=lambda r: (r.model.control, place.get(r.model.name, len(place)), r.model.name),
    )


def _whole_name(row: PaperRow, printed: PaperTable) -> str:
    """Return the label of a row, after its section where another section has the same."""
    alone = sum(other.label == row.label for other in printed.rows) == 1
    return row.label if alone else f"{row.section}, {row.label}"


def _behind_names(named: dict[str, Record]) -> str:
    """Return what stands behind the paper's names: a small model must not pass for the paper's."""
    lines = dict.fromkeys(
        f"{label} is {record.model.name} ({record.model.training.rstrip('.')})"
        for label, record in named.items()
    )
    return f"Measured under the paper's names: {'; '.join(lines)}."


def _finish(
    printed: PaperTable,
    boards: Boards,
    rows: list[Row],
    protocols: set[str],
    named: dict[str, Record],
) -> Table:
    """Return the table with its footnotes; ``named`` are the records under the paper's labels."""
    marked, usual = with_id_notes(rows)
    columns = measured_columns(marked, paper_columns())
    about = [_about(boards, name) for name in sorted(protocols) if boards.of(name)]
    ids = "; ".join(f"{c.title} is {id_}" for c, id_ in zip(columns, usual, strict=True) if id_)
    general = [
        f"Measured by aubench on {'; '.join(about)}. 95 % intervals by subject. {ids}. "
        "Measured and reported values differ in data and extractor and are not to be compared."
    ]
    if named:
        general.append(_behind_names(named))
    table = Table(printed.number, printed.title, printed.corner, columns, marked)
    unknown: list[str] = []

    def tied(best: Row, row: Row, cell: Cell) -> bool | None:
        one, two = (_behind(boards, r.key) for r in (best, row))
        found = boards.pairs["test2k"].tie(cell.metric, one, two)
        if found is None:
            unknown.append(row.key)
        return found

    table = ranked(table, tied if printed.number == 3 else None)
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
    1: table_1,
    2: table_2,
    3: table_3,
    4: table_4,
    5: table_5,
    6: table_6,
}
REMEDIES = {
    1: "attach texts to your copy with `aubench data text NAME`",
    2: "enter records with `aubench report --add RECORD`",
    3: "run models on test2k and enter their records with --add",
    4: "run a study and give its results with --study",
    5: "run a model on label-input and enter its record with --add",
    6: "run models on test2k and unseen and enter their records with --add",
}
