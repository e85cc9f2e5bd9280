"""The data base of a study: links, leases of places, answers. SQLite, or any SQLAlchemy URL."""

from __future__ import annotations

import json
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from aubench.errors import AubenchError

LOCK = 1_094_999_107
"""Number of PostgreSQL's lock while tables are made."""
META = sql.MetaData()
STUDY = sql.Table(
    "study",
    META,
    sql.Column("name", sql.String(40), primary_key=True),
    sql.Column("value", sql.Text, nullable=False),
)
RATERS = sql.Table(
    "raters",
    META,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("token_sha256", sql.String(64), nullable=False, unique=True),
    sql.Column("place", sql.Integer),
    sql.Column("seen_at", sql.Float),
    sql.Column("consent_sha256", sql.String(64)),
    sql.Column("consent_at", sql.Float),
    sql.Column("practised_at", sql.Float),
    sql.Column("finished_at", sql.Float),
    sql.Column("withdrawn_at", sql.Float),
    sql.Column("remark", sql.Text),
)
PLACES = sql.Table(
    "places",
    META,
    sql.Column("place", sql.Integer, primary_key=True),
    sql.Column("rater", sql.Integer, sql.ForeignKey("raters.id")),
    sql.Column("until", sql.Float, nullable=False, default=0.0),
    sql.Column("done", sql.Boolean, nullable=False, default=False),
)
SHOWN = sql.Table(
    "shown",
    META,
    sql.Column("rater", sql.Integer, sql.ForeignKey("raters.id"), primary_key=True),
    sql.Column("trial", sql.String(40), primary_key=True),
    sql.Column("at", sql.Float, nullable=False),
)
ANSWERS = sql.Table(
    "answers",
    META,
    sql.Column("rater", sql.Integer, sql.ForeignKey("raters.id"), primary_key=True),
    sql.Column("trial", sql.String(40), primary_key=True),
    sql.Column("position", sql.Integer, nullable=False),
    sql.Column("shown", sql.Text, nullable=False),
    sql.Column("ranking", sql.Text, nullable=False),
    sql.Column("shown_at", sql.Float, nullable=False),
    sql.Column("answered_at", sql.Float, nullable=False),
    sql.Column("active_ms", sql.Integer),
)

PROFILES = sql.Table(
    "profiles",
    META,
    sql.Column("rater", sql.Integer, sql.ForeignKey("raters.id"), primary_key=True),
    sql.Column("panel", sql.Text, nullable=False, default="{}"),
    sql.Column("form", sql.Text),
    sql.Column("device", sql.Text),
    sql.Column("pages", sql.Integer, nullable=False, default=0),
    sql.Column("screened_at", sql.Float),
    sql.Column("screened_for", sql.Text),
)
PERSONAL = (ANSWERS, SHOWN, PROFILES)
"""Tables whose rows belong to one rater and go when the rater does."""


@dataclass(frozen=True)
class Rater:
    """A row of ``raters``; times are seconds since 1970, None where it has not come to that."""

    id: int
    place: int | None
    consent_at: float | None
    practised_at: float | None
    finished_at: float | None
    withdrawn_at: float | None


@dataclass(frozen=True)
class Profile:
    """What is known of a rater beside the answers.

    Attributes:
        panel: Parameters of the panel that sent the rater.
        form: Whether the form is filled in.
        pages: How many of the study's own pages were read.
        screened_for: Why the session ended at the form; None: it did not.
    """

    panel: dict[str, str] = field(default_factory=dict)
    form: bool = False
    pages: int = 0
    screened_for: str | None = None


@dataclass(frozen=True)
class Answer:
    """One ranking as the rater gave it, or the ratings of one face.

    Attributes:
        shown: Opaque names in the order on the page.
        ranking: Groups of opaque names, best first, a group of several is a tie; or ratings by
            question.
        active_ms: Time in front of the visible page, by the browser's word.
    """

    trial: str
    position: int
    shown: tuple[str, ...]
    ranking: tuple[tuple[str, ...], ...] | dict[str, int]
    active_ms: int | None


class Conflict(Exception):
    """The trial has another answer already."""


def _connect_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # transactions begin by _begin_sqlite
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten
    cursor.execute("PRAGMA temp_store=MEMORY")
    cursor.close()


def _begin_sqlite(connection: sql.Connection) -> None:
    # A writer takes the lock at once, so that two of them queue and never deadlock.
    read = connection.get_execution_options().get("read", False)
    connection.exec_driver_sql("BEGIN" if read else "BEGIN IMMEDIATE")


def open_engine(url: str) -> sql.Engine:
    """Return an engine; SQLite writes ahead (WAL) and syncs each commit.

    Raises:
        AubenchError: The URL is none, or its driver is missing.
    """
    try:
        engine = sql.create_engine(url, pool_pre_ping=True)
    except (SQLAlchemyError, ImportError) as error:
        absent = isinstance(error, ImportError) and url.startswith("postgresql")
        remedy = (
            "`pip install 'aubench[postgres]'` and postgresql+psycopg://…"
            if absent
            else "give --database a SQLAlchemy URL"
        )
        raise AubenchError(
            f"cannot open data base: {str(error).splitlines()[0]}", remedy
        ) from error
    if engine.dialect.name == "sqlite":
        sql.event.listen(engine, "connect", _connect_sqlite)
        sql.event.listen(engine, "begin", _begin_sqlite)
    return engine


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file."""
    return f"sqlite:///{path.resolve()}"


class Store:
    """All reads and writes of a study; each method is one transaction.

    Args:
        engine: Engine of the data base with the tables, which may yet have to be made.
        clock: Seconds since 1970.
    """

    engine: sql.Engine
    clock: Callable[[], float]

    def __init__(self, engine: sql.Engine, clock: Callable[[], float] = time.time) -> None:
        self.engine, self.clock = engine, clock
        # Pooled connections of SQLite would be left open, which Python 3.13 warns of.
        weakref.finalize(self, engine.dispose)

    @contextmanager
    def _transaction(self, *, read: bool = False) -> Iterator[sql.Connection]:
        connection = self.engine.connect().execution_options(read=read)
        with connection, connection.begin():
            yield connection

    def prepare(self, design_sha256: str, places: int, token_digests: Sequence[str]) -> None:
        """Make tables, places and links; keeps what is there already.

        Raises:
            AubenchError: The data base holds another study, or cannot be written.
        """
        try:
            with self._transaction() as connection:
                # Two servers may begin at once; SQLite's transaction holds its lock already.
                if self.engine.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
                META.create_all(connection)
                self._own(connection, design_sha256)
                self._insert_new(
                    connection,
                    PLACES.c.place,
                    [{"place": place, "until": 0.0, "done": False} for place in range(places)],
                )
                self._insert_new(
                    connection, RATERS.c.token_sha256, [{"token_sha256": d} for d in token_digests]
                )
            self.checkpoint()
        except SQLAlchemyError as error:
            reason = str(error).splitlines()[0]
            raise AubenchError(f"cannot use {self.engine.url!r}: {reason}") from error

    @staticmethod
    def _own(connection: sql.Connection, design_sha256: str) -> None:
        stated = connection.scalar(sql.select(STUDY.c.value).where(STUDY.c.name == "design"))
        if stated is None:
            connection.execute(sql.insert(STUDY).values(name="design", value=design_sha256))
        elif stated != design_sha256:
            raise AubenchError(
                "the data base holds the answers of another study", "give its own --database"
            )

    @staticmethod
    def _insert_new(
        connection: sql.Connection, column: sql.Column[Any], rows: list[dict[str, Any]]
    ) -> None:
        there = set(connection.scalars(sql.select(column)))
        new = [row for row in rows if row[column.name] not in there]
        if new:
            connection.execute(sql.insert(column.table), new)

    def find(self, token_sha256: str) -> Rater | None:
        """Return the rater of a link."""
        with self._transaction(read=True) as connection:
            return self._rater(connection, RATERS.c.token_sha256 == token_sha256)

    def get(self, rater: int) -> Rater:
        """Return a rater by number."""
        with self._transaction(read=True) as connection:
            found = self._rater(connection, RATERS.c.id == rater)
        assert found is not None
        return found

    @staticmethod
    def _rater(connection: sql.Connection, where: sql.ColumnElement[bool]) -> Rater | None:
        row = connection.execute(sql.select(RATERS).where(where)).one_or_none()
        if row is None:
            return None
        return Rater(
            row.id, row.place, row.consent_at, row.practised_at, row.finished_at, row.withdrawn_at
        )

    def _set(self, connection: sql.Connection, rater: int, **values: Any) -> bool:
        """Change the row of a rater, unless he withdrew meanwhile; say whether it was changed."""
        here = (RATERS.c.id == rater) & RATERS.c.withdrawn_at.is_(None)
        return bool(connection.execute(sql.update(RATERS).where(here).values(**values)).rowcount)

    @staticmethod
    def _gone(connection: sql.Connection, rater: int) -> bool:
        """Whether a rater withdrew; nothing of his is written any more."""
        query = sql.select(RATERS.c.withdrawn_at).where(RATERS.c.id == rater)
        return connection.scalar(query) is not None

    def consent(self, rater: int, consent_sha256: str) -> None:
        """Note that a rater agreed to the text of this digest; the first time stands."""
        with self._transaction() as connection:
            connection.execute(
                sql.update(RATERS)
                .where(
                    RATERS.c.id == rater,
                    RATERS.c.consent_at.is_(None),
                    RATERS.c.withdrawn_at.is_(None),
                )
                .values(consent_sha256=consent_sha256, consent_at=self.clock())
            )

    def practised(self, rater: int) -> None:
        """Note that the practice trial is over."""
        with self._transaction() as connection:
            self._set(connection, rater, practised_at=self.clock())

    def note(self, name: str) -> None:
        """Note something about the study, once."""
        with self._transaction() as connection:
            there = sql.select(STUDY.c.value).where(STUDY.c.name == name)
            if connection.scalar(there) is None:
                stamp = repr(self.clock())
                connection.execute(sql.insert(STUDY).values(name=name, value=stamp))

    def noted(self, name: str) -> bool:
        """Whether something was noted."""
        with self._transaction(read=True) as connection:
            return self._is_noted(connection, name)

    @staticmethod
    def _is_noted(connection: sql.Connection, name: str) -> bool:
        query = sql.select(STUDY.c.value).where(STUDY.c.name == name)
        return connection.scalar(query) is not None

    def closed(self) -> bool:
        """Whether the study takes no more answers."""
        return self.noted("closed_at")

    def close(self) -> None:
        """Take no more answers, for good."""
        self.note("closed_at")
        self.checkpoint(whole=True)

    def lease(self, rater: Rater, seconds: float) -> int | None:
        """Hold a place for a rater and return it; None where all are held or done.

        A rater who already began keeps the sequence he began with, even where his place was
        given to another after the lease ran out; no work is thrown away. Of the free places the
        first is taken, so a sequence that was dropped is the next to be filled.
        """
        now = self.clock()
        with self._transaction() as connection:
            if not self._set(connection, rater.id, seen_at=now):
                return None
            if rater.place is not None:
                self._hold(connection, rater.place, rater.id, now + seconds)
                return rater.place
            free = sql.select(PLACES.c.place).where(
                PLACES.c.done.is_(False), (PLACES.c.rater.is_(None)) | (PLACES.c.until < now)
            )
            for place in connection.scalars(free.order_by(PLACES.c.place)).all():
                if self._hold(connection, place, rater.id, now + seconds):
                    self._set(connection, rater.id, place=place)
                    return int(place)
        return None

    def _hold(self, connection: sql.Connection, place: int, rater: int, until: float) -> bool:
        """Hold a place if nobody else does; a single statement, so two servers cannot both."""
        mine = PLACES.c.rater == rater
        free = (PLACES.c.rater.is_(None)) | (PLACES.c.until < self.clock())
        done = connection.execute(
            sql.update(PLACES)
            .where(PLACES.c.place == place, PLACES.c.done.is_(False), mine | free)
            .values(rater=rater, until=until)
        )
        return bool(done.rowcount)

    def answered(self, rater: int) -> set[str]:
        """Return the trials a rater has answered."""
        query = sql.select(ANSWERS.c.trial).where(ANSWERS.c.rater == rater)
        with self._transaction(read=True) as connection:
            return set(connection.scalars(query))

    def show(self, rater: int, trial: str) -> None:
        """Note when a trial was first shown; a reload does not start its time anew."""
        one = (SHOWN.c.rater == rater) & (SHOWN.c.trial == trial)
        try:
            with self._transaction() as connection:
                gone = self._gone(connection, rater)
                if not gone and connection.scalar(sql.select(SHOWN.c.at).where(one)) is None:
                    row = {"rater": rater, "trial": trial, "at": self.clock()}
                    connection.execute(sql.insert(SHOWN).values(row))
        except IntegrityError:
            pass  # another tab was first

    def answer(self, rater: int, answer: Answer, total: int) -> bool:
        """Commit one ranking; the same ranking again changes nothing.

        Args:
            rater: Rater to whom it belongs.
            answer: The ranking.
            total: Trials of the study; after the last one the place is done.

        Returns:
            Whether the rater has answered every trial.

        Raises:
            Conflict: The trial has another answer, the study is closed, or the rater withdrew.
        """
        for again in (False, True):
            try:
                with self._transaction() as connection:
                    self._insert_answer(connection, rater, answer)
                    return self._finish(connection, rater, total)
            except IntegrityError as error:  # another tab was first by a hair: look again
                if again:
                    raise Conflict(answer.trial) from error
        raise AssertionError

    def _insert_answer(self, connection: sql.Connection, rater: int, answer: Answer) -> None:
        row = self._rater(connection, RATERS.c.id == rater)
        if row is None or row.withdrawn_at is not None or self._is_noted(connection, "closed_at"):
            raise Conflict(answer.trial)
        one = (ANSWERS.c.rater == rater) & (ANSWERS.c.trial == answer.trial)
        ranking = json.dumps(answer.ranking, sort_keys=True)
        there = connection.scalar(sql.select(ANSWERS.c.ranking).where(one))
        if there is not None:
            if there != ranking:
                raise Conflict(answer.trial)
            return
        seen = (SHOWN.c.rater == rater) & (SHOWN.c.trial == answer.trial)
        now = self.clock()
        connection.execute(
            sql.insert(ANSWERS).values(
                rater=rater,
                trial=answer.trial,
                position=answer.position,
                shown=json.dumps(answer.shown),
                ranking=ranking,
                shown_at=connection.scalar(sql.select(SHOWN.c.at).where(seen)) or now,
                answered_at=now,
                active_ms=answer.active_ms,
            )
        )

    def _finish(self, connection: sql.Connection, rater: int, total: int) -> bool:
        mine = sql.select(sql.func.count()).select_from(ANSWERS).where(ANSWERS.c.rater == rater)
        if connection.scalar(mine) != total:
            return False
        connection.execute(
            sql.update(RATERS)
            .where(RATERS.c.id == rater, RATERS.c.finished_at.is_(None))
            .values(finished_at=self.clock())
        )
        connection.execute(sql.update(PLACES).where(PLACES.c.rater == rater).values(done=True))
        return True

    def join(self, token_sha256: str, panel: dict[str, str]) -> None:
        """Make a rater of a link that was just handed out; one that is there stays as it is."""
        try:
            with self._transaction() as connection:
                if self._rater(connection, RATERS.c.token_sha256 == token_sha256):
                    return
                made = connection.execute(sql.insert(RATERS).values(token_sha256=token_sha256))
                assert made.inserted_primary_key is not None
                row = {"rater": made.inserted_primary_key[0], "panel": json.dumps(panel)}
                connection.execute(sql.insert(PROFILES).values(**row))
        except IntegrityError:
            pass  # the same person came twice at once

    def profile(self, rater: int) -> Profile:
        """Return what is known of a rater beside the answers."""
        with self._transaction(read=True) as connection:
            row = connection.execute(
                sql.select(PROFILES).where(PROFILES.c.rater == rater)
            ).one_or_none()
        if row is None:
            return Profile()
        return Profile(json.loads(row.panel), row.form is not None, row.pages, row.screened_for)

    def fill(
        self,
        rater: int,
        form: dict[str, Any],
        device: dict[str, int],
        screened: str | None,
        quotas: Sequence[tuple[str, str, int]],
        seconds: float,
    ) -> None:
        """Store a form; of those whose session ends here only the reason is kept.

        Args:
            rater: Rater whose form it is.
            form: Answers by question.
            device: Size of the window.
            screened: Why the session ends here.
            quotas: Question, answer and number of places of each quota.
            seconds: How long a rater counts who does nothing.
        """
        with self._transaction() as connection:
            # One row is written first, so that two servers count one after the other.
            one = STUDY.c.name == "design"
            connection.execute(sql.update(STUDY).where(one).values(value=STUDY.c.value))
            now = self.clock()
            if not self._set(connection, rater, seen_at=now):
                return
            if screened is None:
                others = self._forms(connection, rater, now - seconds)
                for question, answer, places in quotas:
                    taken = sum(other.get(question) == answer for other in others)
                    if form.get(question) == answer and taken >= places:
                        screened = "quota"
            stored = {} if screened else form
            self._profile(
                connection,
                rater,
                form=json.dumps(stored),
                device=json.dumps({} if screened else device),
                screened_at=now if screened else None,
                screened_for=screened,
            )

    @staticmethod
    def _forms(connection: sql.Connection, rater: int, since: float) -> list[dict[str, Any]]:
        """Return the forms of the others who finished, or were seen since a time."""
        here = RATERS.c.finished_at.is_not(None) | (RATERS.c.seen_at >= since)
        query = (
            sql.select(PROFILES.c.form)
            .join(RATERS, RATERS.c.id == PROFILES.c.rater)
            .where(PROFILES.c.form.is_not(None), PROFILES.c.rater != rater, here)
        )
        return [json.loads(form) for form in connection.scalars(query)]

    @staticmethod
    def _profile(connection: sql.Connection, rater: int, **values: Any) -> None:
        one = PROFILES.c.rater == rater
        if not connection.execute(sql.update(PROFILES).where(one).values(**values)).rowcount:
            connection.execute(sql.insert(PROFILES).values(rater=rater, panel="{}", **values))

    def read_page(self, rater: int, pages: int) -> None:
        """Note that so many of the study's own pages were read."""
        with self._transaction() as connection:
            if not self._gone(connection, rater):
                self._profile(connection, rater, pages=pages)

    def remark(self, rater: int, text: str) -> None:
        """Keep a rater's remark, as plain text."""
        with self._transaction() as connection:
            self._set(connection, rater, remark=text)

    def erase(self, rater: int) -> bool:
        """Delete all that a rater gave, and free the place; nothing stays in free pages or logs.

        The number of the rater, the digest of the link, so that it opens nothing any more, and
        the time of this are what is left.

        Returns:
            Whether there is such a rater.
        """
        with self._transaction() as connection:
            if self._rater(connection, RATERS.c.id == rater) is None:
                return False
            for table in PERSONAL:
                connection.execute(sql.delete(table).where(table.c.rater == rater))
            connection.execute(
                sql.update(PLACES)
                .where(PLACES.c.rater == rater)
                .values(rater=None, until=0.0, done=False)
            )
            kept = {"id", "token_sha256", "withdrawn_at"}
            blank = {column.name: None for column in RATERS.c if column.name not in kept}
            self._set(connection, rater, withdrawn_at=self.clock(), **blank)
        self.scrub()
        return True

    def scrub(self) -> None:
        """Write the data base anew without what was deleted, and empty the log."""
        if self.engine.dialect.name == "sqlite":
            self._pragma("VACUUM")
            self.checkpoint(whole=True)
        elif self.engine.dialect.name == "postgresql":
            with self.engine.connect().execution_options(
                isolation_level="AUTOCOMMIT"
            ) as connection:
                for table in (RATERS, *PERSONAL):
                    connection.exec_driver_sql(f"VACUUM FULL {table.name}")

    def checkpoint(self, *, whole: bool = False) -> None:
        """Bring SQLite's log into the data base, so that its file alone holds the answers.

        Args:
            whole: Wait for readers, and leave an empty log.
        """
        if self.engine.dialect.name == "sqlite":
            for _ in range(100):  # another process may be at it
                mode = "TRUNCATE" if whole else "PASSIVE"
                if not self._pragma(f"PRAGMA wal_checkpoint({mode})") or not whole:
                    break
                time.sleep(0.05)

    def _pragma(self, statement: str) -> int:
        """Run a statement outside of transactions; of a checkpoint, return whether it was busy."""
        connection = self.engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            row = cursor.fetchone()
            cursor.close()
            return int(row[0]) if row else 0
        finally:
            connection.close()

    def shut(self) -> None:
        """Bring the log into the data base and close all connections."""
        self.checkpoint(whole=True)
        self.engine.dispose()

    def rows(self, table: sql.Table) -> list[dict[str, Any]]:
        """Return a table as it stands."""
        query = sql.select(table).order_by(*table.primary_key.columns)
        with self._transaction(read=True) as connection:
            return [dict(row._mapping) for row in connection.execute(query)]
