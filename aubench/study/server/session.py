"""What a rater sees next, and what becomes of an answer; no HTTP, no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aubench.study.design.files import Design, Secrets, Step, Trial
from aubench.study.design.language import Language
from aubench.study.design.language import find as find_language
from aubench.study.design.sealing import opaque
from aubench.study.design.settings import Answer as Answers
from aubench.study.design.settings import OwnPage
from aubench.study.server import intake
from aubench.study.server.store import Answer, Conflict, Profile, Rater, Store

PRACTICE = "practice"
Response = tuple[tuple[str, ...], ...] | dict[str, int]
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
        id: Opaque, another one for each rater.
        images: Opaque ids in the order on the page, with the name of the file of each.
        reference: The same of the resting face, if one is shown.
        position: How many trials come before it.
    """

    trial: Trial
    id: str
    images: dict[str, str]
    position: int
    reference: dict[str, str] = field(default_factory=dict)


class Sessions:
    """The study from the raters' side.

    Args:
        design: Design of the study.
        secrets: Secrets for opaque ids.
        consent: The text raters agree to.
        store: Where answers go.
        language: Words of refusals, those of the design's language if None.
    """

    design: Design
    secrets: Secrets
    consent: str
    store: Store
    language: Language

    def __init__(
        self,
        design: Design,
        secrets: Secrets,
        consent: str,
        store: Store,
        language: Language | None = None,
    ) -> None:
        self.design, self.secrets, self.consent, self.store = design, secrets, consent, store
        self.language = language or find_language(design.language)[0]

    def _refuse(self, status: int, key: str) -> Refused:
        return Refused(status, self.language.error(key))

    def _id(self, *parts: str) -> str:
        return opaque(self.secrets.image_secret, *parts)

    def _view(self, rater: int, step: Step, position: int) -> View:
        trial = self.design.by_id[step.trial]
        names = [trial.images[index] for index in step.order]
        images = {self._id("image", str(rater), trial.id, name): name for name in names}
        kept = [name for name in (trial.reference,) if name is not None]
        reference = {self._id("image", str(rater), trial.id, name): name for name in kept}
        return View(trial, self._trial_id(rater, trial.id), images, position, reference)

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
            return self._end("done", rater)
        if self.store.closed():
            return self._end("closed", rater)
        if rater.consent_at is None:
            return {
                "phase": "consent",
                "text": self.consent,
                "sha256": self.design.consent_sha256,
                "total": len(self.design.places[0]),
            }
        profile = self.store.profile(rater.id)
        if profile.screened_for is not None:
            return self._screened(profile)
        if intake.needs_form(self.design.intake) and not profile.form:
            return intake.describe(self.design.intake)
        place = self.store.lease(rater, self.design.lease_minutes * 60)
        if place is None:
            return self._end("full", rater)
        return self._work(Rater(**{**rater.__dict__, "place": place}), profile)

    def _work(self, rater: Rater, profile: Profile) -> State:
        """Return the next of a study's own pages, or the next trial."""
        view = self.current(rater)
        if view is None:
            return self._end("done", rater)
        own = self._own_page(profile, view)
        if own is not None:
            return {"phase": "page", "page": profile.pages, "title": own.title, "text": own.text}
        self.store.show(rater.id, view.trial.id)
        return self._describe(view)

    def _own_page(self, profile: Profile, view: View) -> OwnPage | None:
        pages = sorted(self.design.intake.pages, key=lambda page: page.before)
        if profile.pages >= len(pages) or pages[profile.pages].before > view.position:
            return None
        return pages[profile.pages]

    def _end(self, phase: str, rater: Rater) -> State:
        profile = self.store.profile(rater.id)
        return {"phase": phase, **intake.ending(self.secrets.exits, phase, profile)}

    def _screened(self, profile: Profile) -> State:
        if profile.screened_for == intake.QUOTA:
            return {"phase": "full", **intake.ending(self.secrets.exits, "full", profile)}
        device = profile.screened_for == intake.DEVICE
        end = intake.ending(self.secrets.exits, "screened", profile)
        return {"phase": "screened", "device": device, **end}

    def _describe(self, view: View) -> State:
        criteria = self.design.criteria[view.trial.combination]
        asked: State = {}
        if self.design.rated:
            known = self.design.questions(view.trial.combination)
            low, high = self.design.scale
            questions = [{"id": name, "text": text} for name, text in known.items()]
            asked = {"questions": questions, "low": low, "high": high}
        return {
            "task": self.design.task,
            "reference": next(iter(view.reference), None),
            **asked,
            "phase": "practice" if view.trial.id == PRACTICE else "trial",
            "trial": view.id,
            "position": view.position,
            "total": len(self.design.places[0]),
            "title": criteria.title,
            "region": criteria.region,
            "looks": list(criteria.looks),
            "text": view.trial.text,
            "images": list(view.images),
        }

    def agree(self, rater: Rater, sha256: str) -> None:
        """Note consent to the text that was shown.

        Raises:
            Refused: It was another text.
        """
        if sha256 != self.design.consent_sha256:
            raise self._refuse(409, "consent")
        self.store.consent(rater.id, sha256)

    def image(self, rater: Rater, image: str) -> str:
        """Return the file name of an image of the rater's present trial.

        Raises:
            Refused: The rater has no such image now.
        """
        view = self.current(rater)
        shown = {} if view is None else {**view.images, **view.reference}
        if image not in shown:
            raise self._refuse(404, "image")
        return shown[image]

    def fill(self, rater: Rater, form: Mapping[str, Answers], width: int, height: int) -> None:
        """Take the form and the size of the window; some answers end the session.

        Raises:
            Refused: A question is not answered as it must be.
        """
        asked = self.design.intake
        if rater.consent_at is None or rater.withdrawn_at is not None:
            raise self._refuse(403, "not_open")
        if self.store.profile(rater.id).form:
            return
        if not intake.complete(asked, form):
            raise self._refuse(422, "form")
        self.store.fill(
            rater.id,
            dict(form),
            {"width": width, "height": height} if asked.device else {},
            intake.screened_for(asked, form, width, height),
            [(quota.question, quota.answer, quota.places) for quota in asked.quotas],
            self.design.lease_minutes * 60,
        )

    def read(self, rater: Rater, page: int) -> None:
        """Note that one of the study's own pages was read.

        Raises:
            Refused: There is no such page, or an earlier one is open.
        """
        done = self.store.profile(rater.id).pages
        if page > done or page >= len(self.design.intake.pages):
            raise self._refuse(409, "page")
        if page == done:
            self.store.read_page(rater.id, page + 1)

    def rank(self, rater: Rater, trial: str, ranking: Sequence[str], active_ms: int | None) -> None:
        """Commit a ranking, opaque image ids best first.

        Raises:
            Refused: Not the rater's trial, not these images, or answered otherwise before.
        """

        def response(view: View) -> Response:
            if self.design.rated or sorted(ranking) != sorted(view.images):
                raise self._refuse(422, "every")
            return tuple((view.images[image],) for image in ranking)

        self._respond(rater, trial, response, active_ms)

    def rate(
        self, rater: Rater, trial: str, ratings: Mapping[str, int], active_ms: int | None
    ) -> None:
        """Commit the ratings of a face, by question.

        Raises:
            Refused: Not the rater's trial, not its questions, or answered otherwise before.
        """
        low, high = self.design.scale

        def response(view: View) -> Response:
            asked = self.design.questions(view.trial.combination) if self.design.rated else {}
            fits = all(low <= value <= high for value in ratings.values())
            if not asked or set(ratings) != set(asked) or not fits:
                raise self._refuse(422, "ratings")
            return dict(ratings)

        self._respond(rater, trial, response, active_ms)

    def _respond(
        self, rater: Rater, trial: str, response: Callable[[View], Response], active_ms: int | None
    ) -> None:
        if rater.consent_at is None or rater.withdrawn_at is not None or rater.place is None:
            raise self._refuse(403, "not_open")
        practice = self._practice(rater)
        if trial == practice.id:
            response(practice)
            if rater.practised_at is None:
                self.store.practised(rater.id)
            return
        view = self._find(rater, trial)
        if view is None:
            raise self._refuse(404, "trial")
        given = response(view)
        now = self.current(rater)
        if (now is not None and view.position > now.position) or rater.practised_at is None:
            raise self._refuse(409, "early")
        self._commit(rater, view, given, active_ms)

    def _trial_id(self, rater: int, trial: str) -> str:
        return self._id("trial", str(rater), trial)

    def _find(self, rater: Rater, trial: str) -> View | None:
        for position, step in enumerate(self._steps(rater)):
            if self._trial_id(rater.id, step.trial) == trial:
                return self._view(rater.id, step, position)
        return None

    def _commit(self, rater: Rater, view: View, given: Response, active_ms: int | None) -> None:
        answer = Answer(view.trial.id, view.position, tuple(view.images.values()), given, active_ms)
        try:
            self.store.answer(rater.id, answer, len(self._steps(rater)))
        except Conflict as error:
            raise self._refuse(409, "answered") from error
