"""What the admin page shows: progress, dropouts, times; the server cannot name a model."""

from __future__ import annotations

import csv
import io
import json
from statistics import median
from typing import Any

from aubench.study.design.files import Design
from aubench.study.server.store import ANSWERS, PLACES, PROFILES, RATERS, Store

COLUMNS = (
    "rater",
    "trial",
    "position",
    "shown",
    "ranking",
    "shown_at",
    "answered_at",
    "active_ms",
)


STATUSES = ("reading", "active", "left", "finished", "withdrawn", "screened")


def progress(design: Design, store: Store) -> dict[str, Any]:
    """Return counts, a row for each rater who began, and median seconds of each trial."""
    now = store.clock()
    answers, raters, places = store.rows(ANSWERS), store.rows(RATERS), store.rows(PLACES)
    held = {row["rater"] for row in places if not row["done"] and row["until"] >= now}
    by_rater: dict[int, list[float]] = {}
    for answer in answers:
        seconds = answer["answered_at"] - answer["shown_at"]
        by_rater.setdefault(answer["rater"], []).append(seconds)
    begun = [row for row in raters if _begun(row)]
    out = {row["rater"] for row in store.rows(PROFILES) if row["screened_for"]}
    rows = [_rater(row, by_rater.get(row["id"], []), held, out) for row in begun]
    statuses = [row["status"] for row in rows]
    return {
        "closed": store.closed(),
        "links": len(raters),
        "places": {
            "all": len(places),
            "done": sum(bool(row["done"]) for row in places),
            "held": len(held - {None}),
        },
        "raters": {name: statuses.count(name) for name in STATUSES},
        "trials_each": len(design.trials),
        "rows": rows,
        "trials": _trials(design, answers),
    }


def _rater(
    row: dict[str, Any], seconds: list[float], held: set[int | None], out: set[int]
) -> dict[str, Any]:
    if row["withdrawn_at"]:
        status = "withdrawn"
    elif row["finished_at"]:
        status = "finished"
    elif row["id"] in out:
        status = "screened"
    elif row["consent_at"] is None:
        status = "reading"
    else:
        status = "active" if row["id"] in held else "left"
    return {
        "rater": row["id"],
        "place": row["place"],
        "status": status,
        "answered": len(seconds),
        "seen_at": row["seen_at"],
        "median_seconds": round(median(seconds), 1) if seconds else None,
        "remark": row["remark"],
    }


def _begun(row: dict[str, Any]) -> bool:
    return any(row[name] for name in ("consent_at", "seen_at", "withdrawn_at"))


def _trials(design: Design, answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    times: dict[str, list[float]] = {trial.id: [] for trial in design.trials}
    for answer in answers:
        times[answer["trial"]].append(answer["answered_at"] - answer["shown_at"])
    return [
        {
            "trial": trial.id,
            "combination": trial.combination,
            "answers": len(times[trial.id]),
            "median_seconds": round(median(times[trial.id]), 1) if times[trial.id] else None,
        }
        for trial in design.trials
    ]


def answers_csv(store: Store) -> str:
    """Return every answer as CSV, images under their opaque names."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in store.rows(ANSWERS):
        row["shown"] = " ".join(json.loads(row["shown"]))
        row["ranking"] = response_text(json.loads(row["ranking"]))
        writer.writerow([row[name] for name in COLUMNS])
    return stream.getvalue()


def response_text(response: list[list[str]] | dict[str, int]) -> str:
    """Return a ranking or ratings as one field of a table."""
    if isinstance(response, dict):
        return " ".join(f"{name}={value}" for name, value in response.items())
    return " ".join("=".join(group) for group in response)


def participants_csv(design: Design, store: Store) -> str:
    """Return a row for each rater who began: status, panel, form; for payment and quotas."""
    profiles = {row["rater"]: row for row in store.rows(PROFILES)}
    panel = design.intake.panel.parameters if design.intake.panel else ()
    questions = [question.id for question in design.intake.questions]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["rater", "status", "answered", "screened_for", *panel, *questions])
    for row in progress(design, store)["rows"]:
        profile = profiles.get(row["rater"], {})
        sent, form = (json.loads(profile.get(name) or "{}") for name in ("panel", "form"))
        line = [row["rater"], row["status"], row["answered"], profile.get("screened_for") or ""]
        words = [*(sent.get(name, "") for name in panel), *(form.get(q, "") for q in questions)]
        writer.writerow([*line, *map(_plain, words)])
    return stream.getvalue()


def _plain(value: object) -> object:
    """Return a value that no spreadsheet takes for a formula."""
    text = str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") and isinstance(value, str) else value
