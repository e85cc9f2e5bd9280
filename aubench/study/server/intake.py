"""Before the first trial and after the last: form, device, own pages, codes of a panel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from aubench.study.design.settings import Answer, Exit, Exits, Intake
from aubench.study.server.store import Profile

DEVICE = "device"
QUOTA = "quota"
MAX_PARAMETER = 200


def needs_form(intake: Intake) -> bool:
    """Whether raters pass a form or a check of their device."""
    return bool(intake.questions or intake.device)


def describe(intake: Intake) -> dict[str, Any]:
    """Return what the page shows of the form; which answers end the session is not told."""
    questions = [
        {
            "id": question.id,
            "text": question.text,
            "kind": question.kind,
            "options": list(question.options),
            "required": question.required,
        }
        for question in intake.questions
    ]
    return {"phase": "form", "questions": questions, "device": intake.device is not None}


def complete(intake: Intake, form: Mapping[str, Answer]) -> bool:
    """Whether a form answers every question that it must, and no other."""
    known = {question.id: question for question in intake.questions}
    return set(form) <= set(known) and all(
        question.fits(form.get(name)) for name, question in known.items()
    )


def screened_for(intake: Intake, form: Mapping[str, Answer], width: int, height: int) -> str | None:
    """Return why a session ends here: ``device`` or the id of a question; None: it goes on."""
    device = intake.device
    if device is not None and (width < device.min_width or height < device.min_height):
        return DEVICE
    return next((q.id for q in intake.questions if q.screens(form.get(q.id))), None)


def parameters(intake: Intake, given: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a link that are kept."""
    names = intake.panel.parameters if intake.panel else ()
    return {name: given[name][:MAX_PARAMETER] for name in names if given.get(name)}


def ending(exits: Exits, phase: str, profile: Profile) -> dict[str, str]:
    """Return code and address for the end of a session, without those that are not set."""
    which: dict[str, Exit] = {
        "done": exits.complete,
        "screened": exits.screened,
        "full": exits.full,
        "closed": exits.full,
    }
    chosen = which[phase]
    found = {"code": chosen.code} if chosen.code else {}
    if chosen.url:
        url = chosen.url
        for name, value in profile.panel.items():
            url = url.replace(f"{{{name}}}", quote(value, safe=""))
        found["url"] = url
    return found
