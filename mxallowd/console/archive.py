"""The file of the history: SQLite, one row for each moment, written and read by one thread alone.

A row has the values of a moment as 32-bit floats, the number of the layout that has their names, and a checksum of all
of it; the number of a layout is the checksum of its names. So a value is the one that was written, or it is missing:
SQLite itself does not notice a byte that has changed within a row.

Bounds: rows of each step by their number, not by their age, so that a clock that was wrong for an hour removes nothing;
and the pages of the file. Which way it fails: a file that is damaged, or of another version, is set aside, and a new
one begun; where none can be opened, the history is in memory; what cannot be written (a full disk) waits there for
room, an hour of it. Each is told once. A kill loses what was not committed, ten seconds at most; a loss of power what
was not yet on the disk, some minutes at most. Neither damages it.
"""
import json
import os
import sqlite3
import zlib
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import isnan, nan
from pathlib import Path
from struct import pack
from typing import NamedTuple

VERSION = 1
FINE_S, COARSE_S = 10, 600
MOST_ROWS = {FINE_S: 86_400 // FINE_S, COARSE_S: 30 * 86_400 // COARSE_S}
MOST_BYTES, PAGE = 16 << 20, 4096
MOST_NAMES, LONGEST_NAME = 200, 80
MOST_WAITING = 360
PRUNED_EVERY = 60  # rows
MOST_SET_ASIDE = 3  # in the life of a process
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT}
_SCHEMA = """
CREATE TABLE layouts (id INTEGER PRIMARY KEY, names TEXT NOT NULL);
CREATE TABLE points (step INTEGER, time INTEGER, layout INTEGER, sum INTEGER, data BLOB,
                     PRIMARY KEY (step, time)) WITHOUT ROWID;
"""
Values = Mapping[str, float | None]


class Row(NamedTuple):
    """The values of a moment."""

    time: int
    names: tuple[str, ...]
    values: "array[float]"  # NaN: unknown


class Archive:
    """The file. Every method is called by one thread."""

    def __init__(self, path: Path | None, say: Callable[[str], None]) -> None:
        """None: in memory. `say` is given a line for people; "": it is written again."""
        self._path = path
        self._say = say
        self._said = ""
        self._full = False  # the last row could not be written
        self._aside = 0
        self._added = 0
        self._slot = -1  # the coarse step that the last row lay in
        self._layouts: dict[int, tuple[str, ...]] = {}
        self._waiting: deque[tuple[int, Row]] = deque(maxlen=MOST_WAITING)
        self._db = self._opened()

    def add(self, time: int, values: Values) -> None:
        """Keep a moment of the fine step; the coarse steps follow from it."""
        names = tuple(sorted(name for name in values if len(name) <= LONGEST_NAME)[:MOST_NAMES])
        numbers = array("f", [nan if values[name] is None else float(values[name] or 0) for name in names])
        self._waiting.append((FINE_S, Row(time, names, numbers)))
        try:
            self._write()
            if time // COARSE_S != self._slot:
                self._slot = time // COARSE_S
                self._gather(time - time % COARSE_S)
                self._write()
            self._added += 1
            if self._added % PRUNED_EVERY == 1:
                self._prune(time)
            if self._full:
                self._full = False
                self._tell("")
        except sqlite3.Error as error:
            self._failed(error)

    def rows(self, step: int, first: int, last: int) -> list[Row]:
        """The moments of this step from `first` to `last`, by time; those that are damaged are left out."""
        found: dict[int, Row] = {}
        try:
            for time, layout, sum_, data in self._db.execute(
                    "SELECT time, layout, sum, data FROM points WHERE step = ? AND time BETWEEN ? AND ?",
                    (step, first, last)):
                if (row := self._row(step, time, layout, sum_, data)) is not None:
                    found[row.time] = row
        except sqlite3.Error as error:
            self._failed(error)
        found.update({row.time: row for kind, row in self._waiting if kind == step and first <= row.time <= last})
        return [found[time] for time in sorted(found)]

    def close(self) -> None:
        """No further call."""
        with suppress(sqlite3.Error):
            self._db.close()

    def _row(self, step: int, time: object, layout: object, sum_: object, data: object) -> Row | None:
        # SQLite may give any type for a damaged row.
        if not (isinstance(time, int) and isinstance(layout, int) and isinstance(data, bytes)) or len(data) % 4:
            return None
        names = self._names(layout)
        if len(names) * 4 != len(data) or _sum(step, time, layout, data) != sum_:
            self._tell("a part of the history is damaged, and left out")
            return None
        return Row(time, names, array("f", data))

    def _names(self, layout: int) -> tuple[str, ...]:
        if layout not in self._layouts:
            found = self._db.execute("SELECT names FROM layouts WHERE id = ?", (layout,)).fetchone()
            text = found[0] if found is not None and isinstance(found[0], str) else ""
            if zlib.crc32(text.encode("utf-8", "replace")) != layout:
                return ()
            self._layouts[layout] = tuple(json.loads(text))
        return self._layouts[layout]

    def _write(self) -> None:
        with self._db:
            for step, row in self._waiting:
                text = json.dumps(row.names)
                layout, data = zlib.crc32(text.encode()), row.values.tobytes()
                if layout not in self._layouts or self._added % PRUNED_EVERY == 0:
                    self._db.execute("INSERT OR REPLACE INTO layouts VALUES (?, ?)", (layout, text))
                self._db.execute("INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?, ?)",
                                 (step, row.time, layout, _sum(step, row.time, layout, data), data))
        for _, row in self._waiting:
            self._layouts[zlib.crc32(json.dumps(row.names).encode())] = row.names
        self._waiting.clear()

    def _gather(self, current: int) -> None:
        """Make the coarse steps before `current` that lack: after a start also those of before it."""
        lacking = [slot for (slot,) in self._db.execute(
            "SELECT DISTINCT time - time % ? AS slot FROM points WHERE step = ? AND time < ? AND slot NOT IN "
            "(SELECT time FROM points WHERE step = ?) LIMIT ?",
            (COARSE_S, FINE_S, current, COARSE_S, MOST_WAITING - 1))]
        for slot in lacking:
            rows = self.rows(FINE_S, slot, slot + COARSE_S - 1)
            means = mean(rows)
            names = tuple(sorted(means))
            self._waiting.append((COARSE_S, Row(slot, names, array("f", [means[name] for name in names]))))

    def _prune(self, now: int) -> None:
        with self._db:
            for step, most in MOST_ROWS.items():
                (count,) = self._db.execute("SELECT count(*) FROM points WHERE step = ?", (step,)).fetchone()
                # What lies in the future was written under a wrong clock, and goes first.
                self._db.execute(
                    "DELETE FROM points WHERE step = ? AND time IN (SELECT time FROM points WHERE step = ? "
                    "ORDER BY time > ? DESC, time LIMIT ?)", (step, step, now, max(0, count - most)))
            self._db.execute("DELETE FROM layouts WHERE id NOT IN (SELECT DISTINCT layout FROM points)")
        self._layouts.clear()

    def _opened(self) -> sqlite3.Connection:
        while self._path is not None and self._aside <= MOST_SET_ASIDE:
            try:
                return _connected(str(self._path))
            except (sqlite3.Error, OSError) as error:
                if not _is_damage(error) or not self._set_aside(error):
                    self._tell(f"the history is kept in memory only, since {self._path} cannot be used: {error}")
                    break
        return _connected(":memory:")

    def _set_aside(self, error: Exception) -> bool:
        assert self._path is not None
        self._aside += 1
        aside = self._path.with_name(self._path.name + ".damaged")
        try:
            self._path.replace(aside)
            self._path.with_name(self._path.name + "-wal").unlink(missing_ok=True)
        except OSError:
            return False
        self._tell(f"the history was set aside as {aside}, and a new one begun: {error}")
        return True

    def _failed(self, error: sqlite3.Error) -> None:
        if not _is_damage(error):
            self._full = True
            self._tell(f"the history cannot be written, and waits in memory: {error}")
            return
        self.close()
        self._layouts.clear()
        if self._path is None or self._aside >= MOST_SET_ASIDE or not self._set_aside(error):
            self._path = None
            self._tell(f"the history is kept in memory only: {error}")
        self._db = self._opened()

    def _tell(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._say(text)


def mean(rows: Sequence[Row]) -> dict[str, float]:
    """The mean of each value that is known in one of these rows; NaN: in none."""
    # Nearly always all have the same names and all values: a third of the time.
    if len({row.names for row in rows}) == 1:
        totals = [sum(column) for column in zip(*(row.values for row in rows), strict=True)]
        if not any(map(isnan, totals)):
            return {name: total / len(rows) for name, total in zip(rows[0].names, totals, strict=True)}
    sums: dict[str, list[float]] = {}
    for row in rows:
        for name, value in zip(row.names, row.values, strict=True):
            kept = sums.setdefault(name, [0.0, 0.0])
            if not isnan(value):
                kept[0] += value
                kept[1] += 1
    return {name: total / count if count else nan for name, (total, count) in sums.items()}


def _sum(step: int, time: int, layout: int, data: bytes) -> int:
    return zlib.crc32(pack("<qqq", step, time, layout) + data)


class _Unfit(sqlite3.DatabaseError):
    """The file is damaged, or of another version of this program."""


def _is_damage(error: Exception) -> bool:
    # What has no code was found here, or is no fault of a disk.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return isinstance(error, sqlite3.Error) and code & 0xFF in _DAMAGED


def _connected(path: str) -> sqlite3.Connection:
    if path != ":memory:":
        # SQLite would follow a link, and make the file readable for all.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    made = sqlite3.connect(path, timeout=1.0, check_same_thread=False)
    try:
        # Nobody else opens the file: no memory is shared with others, and a second console is told.
        made.execute("PRAGMA locking_mode = EXCLUSIVE")
        (version,) = made.execute("PRAGMA user_version").fetchone()
        (tables,) = made.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and version != VERSION:
            raise _Unfit(f"it has version {version}, this is {VERSION}")
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("PRAGMA synchronous = NORMAL")
        made.execute(f"PRAGMA max_page_count = {MOST_BYTES // PAGE}")
        # Some minutes of rows: only then is the disk waited for.
        made.execute("PRAGMA wal_autocheckpoint = 40")
        made.execute("PRAGMA journal_size_limit = 1048576")
        found = made.execute("PRAGMA quick_check(1)").fetchone()
        if found != ("ok",):
            raise _Unfit(str(found and found[0])[:200])
        if not tables:
            made.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        # A damaged name of a table is found here, and not at the first row.
        made.execute("SELECT step, time, layout, sum, data FROM points LIMIT 1").fetchone()
        made.execute("SELECT id, names FROM layouts LIMIT 1").fetchone()
    except BaseException:
        made.close()
        raise
    return made

