"""The data base of a study: links, leases of places, answers. SQLite, or any SQLAlchemy URL."""

from __future__ import annotations

import json
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from aubench.errors import AubenchError

META = sql.MetaData()
STUDY = sql.Table(
    "study", META,
    sql.Column("name", sql.String(40), primary_key=True),
    sql.Column("value", sql.Text, nullable=False),
)  # fmt: skip
RATERS = sql.Table(
    "raters", META,
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
)  # fmt: skip
PLACES = sql.Table(
    "places", META,
    sql.Column("place", sql.Integer, primary_key=True),
    sql.Column("rater", sql.Integer, sql.ForeignKey("raters.id")),
    sql.Column("until", sql.Float, nullable=False, default=0.0),
    sql.Column("done", sql.Boolean, nullable=False, default=False),
)  # fmt: skip
SHOWN = sql.Table(
    "shown", META,
    sql.Column("rater", sql.Integer, sql.ForeignKey("raters.id"), primary_key=True),
    sql.Column("trial", sql.String(40), primary_key=True),
    sql.Column("at", sql.Float, nullable=False),
)  # fmt: skip
ANSWERS = sql.Table(
    "answers", META,
    sql.Column("rater", sql.Integer, sql.ForeignKey("raters.id"), primary_key=True),
    sql.Column("trial", sql.String(40), primary_key=True),
    sql.Column("position", sql.Integer, nullable=False),
    sql.Column("shown", sql.Text, nullable=False),
    sql.Column("ranking", sql.Text, nullable=False),
    sql.Column("shown_at", sql.Float, nullable=False),
    sql.Column("answered_at", sql.Float, nullable=False),
    sql.Column("active_ms", sql.Integer),
)  # fmt: skip


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
class Answer:
    """One ranking as the rater gave it.

    Attributes:
        shown: opaque names in the order on the page.
        ranking: groups of opaque names, best first; a group of several is a tie.
        active_ms: time in front of the visible page, by the browser's word.
    """

    trial: str
    position: int
    shown: tuple[str, ...]
    ranking: tuple[tuple[str, ...], ...]
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
    cursor.close()


def _begin_sqlite(connection: sql.Connection) -> None:
    # A writer takes the lock at once, so that two of them queue and never deadlock.
    read = connection.get_execution_options().get("read", False)
    connection.exec_driver_sql("BEGIN" if read else "BEGIN IMMEDIATE")


def open_engine(url: str) -> sql.Engine:
    """Return an engine; SQLite writes ahead (WAL) and syncs each commit.

    Raises:
        AubenchError: the URL is none, or its driver is missing.
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
        engine: where the tables are, or will be made.
        clock: seconds since 1970.
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
            AubenchError: the data base holds another study, or cannot be written.
        """
        try:
            META.create_all(self.engine)
            with self._transaction() as connection:
                self._own(connection, design_sha256)
                self._insert_new(connection, PLACES.c.place, [
                    {"place": place, "until": 0.0, "done": False} for place in range(places)
                ])  # fmt: skip
                self._insert_new(
                    connection, RATERS.c.token_sha256, [{"token_sha256": d} for d in token_digests]
                )
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

    @staticmethod
    def _rater(connection: sql.Connection, where: sql.ColumnElement[bool]) -> Rater | None:
        row = connection.execute(sql.select(RATERS).where(where)).one_or_none()
        if row is None:
            return None
        return Rater(
            row.id, row.place, row.consent_at, row.practised_at, row.finished_at, row.withdrawn_at
        )

    def _set(self, connection: sql.Connection, rater: int, **values: Any) -> None:
        connection.execute(sql.update(RATERS).where(RATERS.c.id == rater).values(**values))

    def consent(self, rater: int, consent_sha256: str) -> None:
        """Note that a rater agreed to the text of this digest; the first time stands."""
        with self._transaction() as connection:
            connection.execute(
                sql.update(RATERS)
                .where(RATERS.c.id == rater, RATERS.c.consent_at.is_(None))
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

    def lease(self, rater: Rater, seconds: float) -> int | None:
        """Hold a place for a rater and return it; None where all are held or done.

        A rater who already began keeps the sequence he began with, even where his place was
        given to another after the lease ran out; no work is thrown away. Of the free places the
        first is taken, so a sequence that was dropped is the next to be filled.
        """
        now = self.clock()
        with self._transaction() as connection:
            self._set(connection, rater.id, seen_at=now)
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
                if connection.scalar(sql.select(SHOWN.c.at).where(one)) is None:
                    row = {"rater": rater, "trial": trial, "at": self.clock()}
                    connection.execute(sql.insert(SHOWN).values(row))
        except IntegrityError:
            pass  # another tab was first

    def answer(self, rater: int, answer: Answer, total: int) -> bool:
        """Commit one ranking; the same ranking again changes nothing.

        Args:
            rater: whose it is.
            answer: the ranking.
            total: trials of the study; after the last one the place is done.

        Returns:
            Whether the rater has answered every trial.

        Raises:
            Conflict: the trial has another answer, the study is closed, or the rater withdrew.
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
        ranking = json.dumps(answer.ranking)
        there = connection.scalar(sql.select(ANSWERS.c.ranking).where(one))
        if there is not None:
            if there != ranking:
                raise Conflict(answer.trial)
            return
        seen = (SHOWN.c.rater == rater) & (SHOWN.c.trial == answer.trial)
        now = self.clock()
        connection.execute(sql.insert(ANSWERS).values(
            rater=rater, trial=answer.trial, position=answer.position,
            shown=json.dumps(answer.shown), ranking=ranking,
            shown_at=connection.scalar(sql.select(SHOWN.c.at).where(seen)) or now,
            answered_at=now, active_ms=answer.active_ms,
        ))  # fmt: skip

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

    def remark(self, rater: int, text: str) -> None:
        """Keep a rater's remark, as plain text."""
        with self._transaction() as connection:
            self._set(connection, rater, remark=text)

    def withdraw(self, rater: int) -> None:
        """Delete a rater's answers and remark, and free the place."""
        with self._transaction() as connection:
            for table in (ANSWERS, SHOWN):
                connection.execute(sql.delete(table).where(table.c.rater == rater))
            connection.execute(
                sql.update(PLACES)
                .where(PLACES.c.rater == rater)
                .values(rater=None, until=0.0, done=False)
            )
            self._set(connection, rater, withdrawn_at=self.clock(), remark=None, place=None)

    def rows(self, table: sql.Table) -> list[dict[str, Any]]:
        """Return a table as it stands."""
        query = sql.select(table).order_by(*table.primary_key.columns)
        with self._transaction(read=True) as connection:
            return [dict(row._mapping) for row in connection.execute(query)]
