"""The page of one record: scores, AUs, combinations, grid, provenance, cost."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from aubench.metrics.action_units.au_scores import PER_AU
from aubench.metrics.registry import heading
from aubench.records.record import Record, ScoreRow
from aubench.report.tables.terminal import arrow_of, format_score


def record_page(record: Record, picture: str, source: str) -> str:
    """Return the body of a record's page.

    Args:
        record: Record whose page it is.
        picture: File of its contact sheet beside the page, empty for none.
        source: File of the record itself.
    """
    single = [row for row in record.scores if row.metric.startswith(PER_AU)]
    rest = [row for row in record.scores if not row.metric.startswith(PER_AU)]
    parts = [_about(record, source), _scores("Scores", rest)]
    if single:
        parts.append(_aus(single))
    if record.subsets:
        parts.append(_families("By combination or stratum", record.subsets))
    if record.groups:
        parts.append(_families("By group of subjects", record.groups))
    if picture:
        alt = "reference, target and generated face of samples of the run"
        parts.append(
            f'<h2>Contact sheet</h2>\n<img class="grid" src="{escape(picture)}" alt="{alt}">'
        )
    parts += [_provenance(record), _cost(record)]
    return "\n".join(parts)


def _list(rows: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows)
    return f"<dl>{items}</dl>"


def _about(record: Record, source: str) -> str:
    model = record.model
    seen = ", ".join(model.metrics_in_training)
    rows = [
        ("kind", "control, a yardstick" if model.control else "model"),
        ("training", model.training),
        ("trained on", ", ".join(model.trained_on) or "nothing"),
        ("reads", ", ".join(model.inputs) or "nothing"),
        ("scoring networks seen in training", f"{seen} †" if seen else "none"),
        ("licence", model.licence),
        ("citation", model.citation),
        ("verified", _verified(record)),
        ("samples", _samples(record)),
    ]
    link = f'<p><a href="{escape(source)}">record as JSON</a></p>'
    return _list(rows) + link


def _samples(record: Record) -> str:
    counts = record.counts
    text = f"{counts.generated:,} of {counts.asked:,}, {counts.failed:,} failed"
    return text + (f", {counts.unsupported:,} left out" if counts.unsupported else "")


def _verified(record: Record) -> str:
    found = record.verified
    if found is None:
        return "no"
    again = f"{found.made_again} images made again, {found.same_pixels} with the same pixels"
    return f"all scores recomputed from the images; {again}"


def _scores(title: str, rows: Sequence[ScoreRow]) -> str:
    lines = []
    for row in rows:
        arrow = arrow_of(row)
        star = "" if row.informative else "*"
        name = escape(f"{heading(row.metric)} {arrow}{star}")
        lines.append(
            f"<tr><th>{name}</th><td>{escape(format_score(row))}</td><td>{row.n:,}</td>"
            f'<td class="text"><small>{escape(row.id)}</small></td>'
            f'<td class="text"><small>'
            f"{escape(row.note)}</small></td></tr>"
        )
    head = "<tr><th>metric</th><th>value [95 %]</th><th>n</th><th>id</th><th>note</th></tr>"
    return _table(title, head, lines)


def _table(title: str, head: str, lines: Sequence[str]) -> str:
    return (
        f'<h2>{escape(title)}</h2>\n<div class="scroll"><table><thead>{head}</thead>\n<tbody>\n'
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )


def _bar(value: float | None) -> str:
    if value is None:
        return ""
    width = 100 * min(1.0, max(0.0, value))
    return f'<span class="bar"><i style="width:{width:.1f}%"></i></span>'


def _aus(rows: Sequence[ScoreRow]) -> str:
    lines = [
        f'<tr><th title="{escape(row.id)}">AU{escape(row.metric.removeprefix(PER_AU))}</th>'
        f"<td>{escape(format_score(row))}</td><td>{_bar(row.value)}</td></tr>"
        for row in rows
    ]
    return _table("F1 of each AU", "<tr><th>AU</th><th>F1</th><th></th></tr>", lines)


def _families(title: str, families: dict[str, list[ScoreRow]]) -> str:
    metrics = list(dict.fromkeys(row.metric for rows in families.values() for row in rows))
    head = "".join(f"<th>{escape(heading(name))}</th>" for name in metrics)
    lines = []
    for name, rows in families.items():
        found = {row.metric: row for row in rows}
        cells = "".join(f"<td>{escape(format_score(found.get(m)))}</td>" for m in metrics)
        n = rows[0].n if rows else 0
        lines.append(f"<tr><th>{escape(name)}</th><td>{n:,}</td>{cells}</tr>")
    return _table(title, f"<tr><th></th><th>n</th>{head}</tr>", lines)


def _provenance(record: Record) -> str:
    about, protocol = record.provenance, record.protocol
    rows = [
        ("protocol", f"{protocol.dataset}/{protocol.name} {protocol.version}"),
        ("protocol sha256", protocol.sha256),
        ("data", protocol.dataset_fingerprint),
        ("model weights sha256", record.model.weights_sha256 or "none"),
        ("plug-in", f"{record.model.package} {record.model.package_version}"),
        ("code sha256", record.model.code_sha256 or "unknown"),
        ("images sha256", about.images_sha256),
        ("AUs to compare with", about.target_source),
        ("seed", str(about.seed)),
        ("aubench", f"{about.aubench}, revision {about.revision or 'unknown'}"),
        ("python", about.python),
        ("command", about.command),
        *((f"network {name}", tag) for name, tag in about.networks.items()),
        ("packages", ", ".join(f"{name} {v}" for name, v in about.packages.items())),
        ("created", record.created),
    ]
    return "<h2>Provenance</h2>\n" + _list(rows)


def _cost(record: Record) -> str:
    where = [("machine", record.provenance.hardware), ("device", record.provenance.device)]
    table = _stages(record) if record.costs else _seconds(record)
    return "<h2>Cost</h2>\n" + _list(where) + table


def _seconds(record: Record) -> str:
    """Return what records of former versions tell."""
    seconds, n = record.seconds, max(1, record.counts.generated)
    rows = [(name, f"{value:,.1f} s") for name, value in seconds.items()]
    rows.append(("all", f"{sum(seconds.values()):,.1f} s"))
    if "generate" in seconds:
        rows.append(("per generated image", f"{1000 * seconds['generate'] / n:,.1f} ms"))
    note = '<p class="notes">Of the call that finished the run; images made before count not.</p>'
    return _list(rows) + note


def _stages(record: Record) -> str:
    """Return what each stage cost over all calls."""
    lines = []
    for name, cost in record.costs.items():
        each = f"{1000 * cost.seconds / cost.images:,.1f} ms" if cost.images else "—"
        device = cost.device_memory_mib
        cells = [
            f"{cost.seconds:,.1f} s",
            f"{cost.processor_seconds:,.1f} s",
            f"{cost.images:,}",
            each,
            f"{cost.peak_memory_mib:,.0f} MiB",
            "—" if device is None else f"{device:,.0f} MiB",
            f"{cost.calls:,}",
        ]
        lines.append(
            f"<tr><th>{escape(name)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        )
    names = (
        "stage",
        "seconds",
        "processor",
        "images",
        "an image",
        "peak memory",
        "on the device",
        "calls",
    )
    head = "".join(f"<th>{name}</th>" for name in names)
    table = _table("Cost by stage", f"<tr>{head}</tr>", lines)
    note = "All calls of the run; processor seconds are those of all cores."
    made, asked = record.costs.get("generate"), record.counts.generated
    if made is not None and made.images < asked:
        note += f" Of {made.images:,} of {asked:,} images: what the others cost is not known."
    return f'{table}\n<p class="notes">{note}</p>'
