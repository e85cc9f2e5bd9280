"""The study as a rater sees it, for its leader: a session whose answers are thrown away."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from pathlib import Path

from aubench.study.server.session import Sessions
from aubench.study.server.store import Store, open_engine, sqlite_url


class Preview:
    """One session on a data base of its own, begun anew each time the page is opened.

    Args:
        study: The study itself, which is not touched.
    """

    def __init__(self, study: Sessions) -> None:
        self._study = study
        self._number = 0
        self._folder: Path | None = None
        self._sessions: Sessions | None = None
        self._lock = threading.Lock()

    def sessions(self) -> Sessions:
        """Return the session that is under way."""
        with self._lock:
            return self._sessions or self._begin()

    def anew(self) -> None:
        """Forget the session and begin another."""
        with self._lock:
            self._begin()

    def _begin(self) -> Sessions:
        if self._sessions is not None:
            self._sessions.store.engine.dispose()
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="aubench-preview-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._number += 1
        store = Store(open_engine(sqlite_url(self._folder / f"{self._number}.sqlite")))
        study = self._study
        digest = study.secrets.preview_sha256
        assert digest is not None
        store.prepare(study.design.consent_sha256, 1, [digest])
        self._sessions = Sessions(study.design, study.secrets, study.consent, store, study.language)
        return self._sessions
