"""What a rater sees next, and what becomes of an answer; no HTTP, no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aubench.study.sealing import opaque
from aubench.study.settings import Design, Secrets, Step, Trial
from aubench.study.store import Answer, Conflict, Rater, Store

PRACTICE = "practice"
State = dict[str, Any]


class Refused(Exception):
    """A request that cannot be taken; ``status`` is its HTTP status."""

    status: int
    reason: str

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True)
class View:
    """A trial as one rater sees it.

    Attributes:
        id: opaque, another one for each rater.
        images: opaque ids in the order on the page, with the name of the file of each.
        position: how many trials come before it.
    """

    trial: Trial
    id: str
    images: dict[str, str]
    position: int


class Sessions:
    """The study from the raters' side.

    Args:
        design: of the study.
        secrets: for opaque ids.
        consent: the text raters agree to.
        store: where answers go.
    """

    design: Design
    secrets: Secrets
    consent: str
    store: Store

    def __init__(self, design: Design, secrets: Secrets, consent: str, store: Store) -> None:
        self.design, self.secrets, self.consent, self.store = design, secrets, consent, store

    def _id(self, *parts: str) -> str:
        return opaque(self.secrets.image_secret, *parts)

    def _view(self, rater: int, step: Step, position: int) -> View:
        trial = self.design.by_id[step.trial]
        names = [trial.images[index] for index in step.order]
        images = {self._id("image", str(rater), trial.id, name): name for name in names}
        return View(trial, self._trial_id(rater, trial.id), images, position)

    def _steps(self, rater: Rater) -> Sequence[Step]:
        assert rater.place is not None
        return self.design.places[rater.place]

    def _practice(self, rater: Rater) -> View:
        order = tuple(range(self.design.k))
        shift = rater.id % self.design.k
        return self._view(rater.id, Step(trial=PRACTICE, order=order[shift:] + order[:shift]), 0)

    def current(self, rater: Rater) -> View | None:
        """Return the trial a rater is at; None before consent, without a place, or at the end."""
        if rater.consent_at is None or rater.withdrawn_at or rater.place is None:
            return None
        if rater.practised_at is None:
            return self._practice(rater)
        position, steps = self._position(rater), self._steps(rater)
        return self._view(rater.id, steps[position], position) if position < len(steps) else None

    def _position(self, rater: Rater) -> int:
        """Return how many trials of the sequence lie behind the rater."""
        answered, steps = self.store.answered(rater.id), self._steps(rater)
        return next((i for i, step in enumerate(steps) if step.trial not in answered), len(steps))

    def state(self, rater: Rater) -> State:
        """Return what the page shows, and hold the rater's place for another while."""
        if rater.withdrawn_at is not None:
            return {"phase": "withdrawn"}
        if rater.finished_at is not None:
            return {"phase": "done"}
        if self.store.closed():
            return {"phase": "closed"}
        if rater.consent_at is None:
            return {
                "phase": "consent", "text": self.consent, "sha256": self.design.consent_sha256,
                "total": len(self.design.trials),
            }  # fmt: skip
        place = self.store.lease(rater, self.design.lease_minutes * 60)
        if place is None:
            return {"phase": "full"}
        view = self.current(Rater(**{**rater.__dict__, "place": place}))
        if view is None:
            return {"phase": "done"}
        self.store.show(rater.id, view.trial.id)
        return self._describe(view)

    def _describe(self, view: View) -> State:
        criteria = self.design.criteria[view.trial.combination]
        return {
            "phase": "practice" if view.trial.id == PRACTICE else "trial",
            "trial": view.id,
            "position": view.position,
            "total": len(self.design.trials),
            "title": criteria.title,
            "region": criteria.region,
            "looks": list(criteria.looks),
            "text": view.trial.text,
            "images": list(view.images),
        }

    def agree(self, rater: Rater, sha256: str) -> None:
        """Note consent to the text that was shown.

        Raises:
            Refused: it was another text.
        """
        if sha256 != self.design.consent_sha256:
            raise Refused(409, "the consent text has changed; reload the page")
        self.store.consent(rater.id, sha256)

    def image(self, rater: Rater, image: str) -> str:
        """Return the file name of an image of the rater's present trial.

        Raises:
            Refused: the rater has no such image now.
        """
        view = self.current(rater)
        if view is None or image not in view.images:
            raise Refused(404, "no such image")
        return view.images[image]

    def rank(self, rater: Rater, trial: str, ranking: Sequence[str], active_ms: int | None) -> None:
        """Commit a ranking, opaque image ids best first.

        Raises:
            Refused: not the rater's trial, not these images, or answered otherwise before.
        """
        if rater.consent_at is None or rater.withdrawn_at is not None or rater.place is None:
            raise Refused(403, "no trial is open")
        practice = self._practice(rater)
        if trial == practice.id:
            self._names(practice, ranking)
            if rater.practised_at is None:
                self.store.practised(rater.id)
            return
        view = self._find(rater, trial)
        if view is None:
            raise Refused(404, "no such trial")
        names = self._names(view, ranking)
        now = self.current(rater)
        if (now is not None and view.position > now.position) or rater.practised_at is None:
            raise Refused(409, "this trial is not open yet")
        self._commit(rater, view, names, active_ms)

    def _trial_id(self, rater: int, trial: str) -> str:
        return self._id("trial", str(rater), trial)

    def _find(self, rater: Rater, trial: str) -> View | None:
        for position, step in enumerate(self._steps(rater)):
            if self._trial_id(rater.id, step.trial) == trial:
                return self._view(rater.id, step, position)
        return None

    @staticmethod
    def _names(view: View, ranking: Sequence[str]) -> list[str]:
        if sorted(ranking) != sorted(view.images):
            raise Refused(422, "rank every image of the trial once")
        return [view.images[image] for image in ranking]

    def _commit(
        self, rater: Rater, view: View, names: Sequence[str], active_ms: int | None
    ) -> None:
        answer = Answer(
            view.trial.id, view.position, tuple(view.images.values()),
            tuple((name,) for name in names), active_ms,
        )  # fmt: skip
        try:
            self.store.answer(rater.id, answer, len(self.design.trials))
        except Conflict as error:
            raise Refused(409, "this trial has an answer already") from error
