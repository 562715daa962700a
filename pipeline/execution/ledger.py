"""The ledger: what became of every item of every stage, in one SQLite file."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from avsep.errors import CheckError, Reason, State, disk_fault, printable
from avsep.outcome import Counts, Outcome, SourceRow
from pipeline.disk import full_disk

PENDING = "pending"  # of a video that is to be tried again
MESSAGE_LIMIT = 500  # characters; a message is one sentence, not a log

_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    stage TEXT NOT NULL,
    item TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('done', 'dropped', 'failed')),
    reason TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 1,
    seconds REAL NOT NULL DEFAULT 0,
    updated_at REAL NOT NULL,
    source TEXT NOT NULL DEFAULT '',
    sha256 TEXT NOT NULL DEFAULT '',
    path TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (stage, item)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sources (
    stage TEXT NOT NULL,
    source TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('done', 'dropped', 'failed', 'pending')),
    reason TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    tool TEXT NOT NULL DEFAULT '',
    facts TEXT NOT NULL DEFAULT '{}',
    first_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    PRIMARY KEY (stage, source)
) WITHOUT ROWID;
"""
# Columns that a ledger of an earlier version lacks.
_ADDED = {"items": ("source", "sha256", "path")}


LOCK_TIMEOUT_S = 60.0


def _use_wal(connection: sqlite3.Connection) -> None:
    """Let readers and a writer work at once; SQLite itself waits for every lock but this one."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


class Ledger:
    """The ledger file. Safe for several processes (WAL) and for a kill at any moment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._address = path.absolute().as_uri()
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._connect() as connection:
            _use_wal(connection)
            connection.executescript(_SCHEMA)
            for table, columns in _ADDED.items():
                rows = connection.execute(f"PRAGMA table_info({table})")
                for column in set(columns) - {row["name"] for row in rows}:
                    connection.execute(
                        f"ALTER TABLE {table} ADD COLUMN {column} TEXT NOT NULL DEFAULT ''"
                    )

    @classmethod
    def existing(cls, path: Path) -> Ledger:
        """The ledger of a project, for a command that only reads.

        Raises:
            CheckError: there is none yet, or it is damaged; nothing is written.
        """
        if not path.is_file():
            raise CheckError(f"{path} is missing: no stage has run in this project yet.")
        if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
            return cls(path)
        ledger = cls.__new__(cls)
        ledger.path = path
        # Beside a ledger that is not being written SQLite needs no files of its own.
        resting = not path.with_name(f"{path.name}-wal").exists()
        ledger._address = f"{path.absolute().as_uri()}?{'immutable=1' if resting else 'mode=ro'}"
        ledger.all_counts()
        return ledger

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(self._address, timeout=LOCK_TIMEOUT_S, uri=True)
            try:
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA synchronous=NORMAL")
                with connection:
                    yield connection
            finally:
                connection.close()
        except sqlite3.OperationalError as error:  # the disk or a lock, not the file's content
            # Of a full disk SQLite also says that it cannot open a file, or fails to read one.
            fault = disk_fault(error) or full_disk(self.path.parent)
            if "is locked" in str(error):
                fault = "another program has locked it; wait until that has ended"
            fault = fault or f"{error}; check the disk and its free space"
            raise CheckError(
                f"{self.path} cannot be used now: {fault}, then run the command again."
            ) from error
        except sqlite3.DatabaseError as error:
            raise CheckError(
                f"{self.path} is not a ledger ({error}); move it away and run the stage again."
            ) from error

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._connect() as connection:
            try:
                yield connection
            except (ValueError, TypeError, RecursionError) as error:  # a state of its own, say
                raise CheckError(
                    f"{self.path} holds what this version does not know ({error}); was it written"
                    " by another?"
                ) from error

    def record(self, stage: str, outcomes: Iterable[Outcome]) -> None:
        """Write outcomes in one transaction; the attempts of an item add up."""
        now = time.time()
        rows = [
            (
                stage,
                outcome.item,
                str(outcome.state),
                str(outcome.reason or ""),
                printable(outcome.message)[:MESSAGE_LIMIT],
                outcome.attempts,
                outcome.seconds,
                now,
                printable(outcome.source),
                outcome.sha256,
                outcome.path,
            )
            for outcome in outcomes
        ]
        with self._connect() as connection:
            connection.executemany(
                "INSERT INTO items"
                " (stage, item, state, reason, message, attempts, seconds, updated_at,"
                " source, sha256, path)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (stage, item) DO UPDATE SET state=excluded.state,"
                " reason=excluded.reason, message=excluded.message, seconds=excluded.seconds,"
                " updated_at=excluded.updated_at, attempts=items.attempts + excluded.attempts,"
                # What an earlier run knew of an item that is as it was stays known.
                " source=COALESCE(NULLIF(excluded.source, ''), items.source),"
                " path=COALESCE(NULLIF(excluded.path, ''), items.path),"
                " sha256=CASE WHEN excluded.state = 'done' AND excluded.sha256 = ''"
                " THEN items.sha256 ELSE excluded.sha256 END",
                rows,
            )

    def outcomes(self, stage: str) -> dict[str, Outcome]:
        """All outcomes of a stage, by item."""
        return {outcome.item: outcome for outcome in self.each_outcome(stage)}

    def each_outcome(self, stage: str, *, done: bool = True) -> Iterator[Outcome]:
        """The outcomes of a stage one by one, by item; without those that are done if not wanted.

        They are read while they are asked for; record nothing meanwhile.
        """
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT item, state, reason, message, seconds, attempts, source, sha256,"
                " path"
                " FROM items WHERE stage = ? AND (? OR state != 'done')"
                " ORDER BY item",
                (stage, done),
            )
            for row in rows:
                yield Outcome(
                    item=row["item"],
                    state=State(row["state"]),
                    reason=Reason(row["reason"]) if row["reason"] else None,
                    message=row["message"],
                    seconds=row["seconds"],
                    attempts=row["attempts"],
                    source=row["source"],
                    sha256=row["sha256"],
                    path=row["path"],
                )

    def items(self, stage: str) -> Iterator[str]:
        """The items of a stage that have ended, in order."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT item FROM items WHERE stage = ? ORDER BY item", (stage,)
            )
            for row in rows:
                yield row["item"]

    def paths(self, stage: str) -> Iterator[tuple[str, str]]:
        """The items of a stage that come from a known file, with its path."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT item, path FROM items WHERE stage = ? AND path != ''", (stage,)
            )
            for row in rows:
                yield row["item"], row["path"]

    def counts(self, stage: str) -> Counts:
        """How many items of a stage ended how."""
        return self.all_counts().get(stage, Counts())

    def all_counts(self) -> dict[str, Counts]:
        """How many items of each stage ended how."""
        found: dict[str, Counts] = defaultdict(Counts)
        with self._reading() as connection:
            for row in connection.execute(
                "SELECT stage, state, reason, COUNT(*) AS count FROM items"
                " GROUP BY stage, state, reason ORDER BY stage"
            ):
                reason = Reason(row["reason"]) if row["reason"] else None
                found[row["stage"]].add_some(State(row["state"]), reason, row["count"])
        return dict(found)

    def time_spent(self, stage: str) -> tuple[int, float]:
        """The number of items of a stage that took time, and the seconds that they took."""
        with self._reading() as connection:
            count, seconds = connection.execute(
                "SELECT COUNT(*), SUM(seconds) FROM items WHERE stage = ? AND seconds > 0", (stage,)
            ).fetchone()
        return int(count), float(seconds or 0.0)

    def stages(self) -> list[str]:
        """The stages that have rows."""
        with self._reading() as connection:
            rows = connection.execute("SELECT DISTINCT stage FROM items ORDER BY stage").fetchall()
        return [row["stage"] for row in rows]

    def record_source(self, stage: str, row: SourceRow) -> None:
        """Write what became of a video; its attempts add up."""
        now = time.time()
        values = (
            stage,
            row.source,
            str(row.state or PENDING),
            str(row.reason or ""),
            printable(row.message)[:MESSAGE_LIMIT],
            row.attempts,
            row.tool,
            json.dumps(row.facts, sort_keys=True),
            now,
            now,
        )
        with self._connect() as connection:
            connection.execute(
                "INSERT INTO sources (stage, source, state, reason, message, attempts, tool, facts,"
                " first_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (stage, source) DO UPDATE SET state=excluded.state,"
                " reason=excluded.reason, message=excluded.message, tool=excluded.tool,"
                " facts=excluded.facts, updated_at=excluded.updated_at,"
                " attempts=sources.attempts + excluded.attempts",
                values,
            )

    def sources(self, stage: str) -> dict[str, SourceRow]:
        """The videos of a stage, by id."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT * FROM sources WHERE stage = ? ORDER BY source", (stage,)
            )
            return {
                row["source"]: SourceRow(
                    source=row["source"],
                    state=None if row["state"] == PENDING else State(row["state"]),
                    reason=Reason(row["reason"]) if row["reason"] else None,
                    message=row["message"],
                    attempts=row["attempts"],
                    tool=row["tool"],
                    facts=json.loads(row["facts"]),
                )
                for row in rows
            }

    def reset_failed_sources(self, stage: str, reasons: Iterable[Reason]) -> int:
        """Let failed videos be tried again, from the first attempt; returns how many."""
        wanted = {reason for reason in reasons if reason.state is State.FAILED}
        # Compared as reasons, not as text, since a ledger of an earlier version has an old code.
        failed = [
            (PENDING, stage, name)
            for name, row in self.sources(stage).items()
            if row.state is State.FAILED and row.reason in wanted
        ]
        with self._connect() as connection:
            connection.executemany(
                "UPDATE sources SET state = ?, attempts = 0 WHERE stage = ? AND source = ?", failed
            )
        return len(failed)

    def keep_only(self, stage: str, items: Iterable[str], model: str = "") -> None:
        """Forget the items of a stage that are no longer among its inputs.

        Args:
            stage: its name.
            items: what it still works on.
            model: where a stage runs once per model, only the items `<model>` and `<model>:...` are
                looked at, so that one model's run leaves the others' rows alone.
        """
        wanted = set(items)
        gone = [
            (stage, item)
            for item in self.items(stage)
            if item not in wanted and (not model or item.partition(":")[0] == model)
        ]
        with self._connect() as connection:
            connection.executemany("DELETE FROM items WHERE stage = ? AND item = ?", gone)
