"""The networks that were added by hand, and their file in the state directory.

    # boot=4f9c0e6e-4b0c-4d5e-9d3e-0a3c2c0b7e11
    allow 192.0.2.0/24 until=2026-11-27T05:10:00Z seconds=3600 up=86400 # the bank
    deny 2001:db8::/32

mxallowctl changes it by way of the daemon; it is written to a new file that takes its place. The end of a network's
time is kept by the clock that also counts while the machine sleeps. On disk stand the time of day of the end, the
seconds that were left when it was written, and that clock's time of the end, which holds as long as the machine has not
been started again: the earliest counts. So a time of day that was set back lengthens nothing, but for what passed
between the last writing and a start of the machine; one that was set forward ends what is over by then.

What was added is appended; all is written anew some seconds later, and whenever something was taken out. Of two lines
of a network the longer time counts.

Which way it fails: a line that cannot be read is left out and said; without a state directory, or on a full disk, the
networks hold until the daemon ends, and who adds one is told.
"""
import io
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from mxallowd.engine.clock import boottime_us
from mxallowd.lists.composition import ALLOW, BY_HAND, DENY, DIRECT, LEARNED, Network, Source, network_of, record
from mxallowd.lists.files import MAX_BYTES, MAX_FAULTS, MAX_NOTE, record_for
from mxallowd.text import printable, quoted

NAME = "own.list"  # in the state directory
MAX_OWN = 65_536
MAX_SECONDS = 315_360_000
MOST_LINES = 4 * MAX_OWN  # of the file: what is appended before all is written anew
LONGEST_LINE = 4096  # bytes: a note has MAX_NOTE characters
BOOT = "# boot="
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PIECE = 500  # networks between two pauses: at most 2 ms
PIECE_OF_SOURCES = 2000  # the same where no text is made of them
# The words of the file; of each the name and the list of its source. What is learned is direct as well.
WORDS = {DIRECT: (BY_HAND, DIRECT), LEARNED: (LEARNED, DIRECT), ALLOW: (BY_HAND, ALLOW), DENY: (BY_HAND, DENY)}
HEADER = "# Written by mxallowd. Change it with: mxallowctl allow|deny add|remove, mxallowctl add|remove NETWORK\n"


class Own(NamedTuple):
    """A network that was added by hand, or a host that was learned."""

    note: str | None
    seconds: int | None  # its time when it was added; None: it stays
    ends_us: int  # CLOCK_BOOTTIME; 0: it stays
    record: bytes  # as the engine takes it

    def until(self, now_us: int, now_s: float) -> int | None:
        """When it ends, in seconds since 1970."""
        return round(now_s + (self.ends_us - now_us) / 1_000_000) if self.ends_us else None


Key = tuple[str, Network]  # one of WORDS, called verdict, and the network


Row = TypeVar("Row")


class Snapshot(NamedTuple):
    """All of them at one moment, for a thread beside the main loop. `pause` is called every so many networks."""

    networks: dict[Key, Own]
    now_us: int
    now_s: float
    boot: str

    def sources(self, pause: Callable[[], None] | None = None) -> list[Source]:
        """They as sources, one of each word. What is direct comes first, so that `explain` names it."""
        made = []
        for verdict, (name, listed) in WORDS.items():
            records, notes, ends = bytearray(), list[str | None](), list[int | None]()
            for (one, _), own in _gently(self.networks.items(), pause, PIECE_OF_SOURCES):
                if one == verdict:
                    records += own.record
                    notes.append(own.note)
                    ends.append(own.until(self.now_us, self.now_s))
            made.append(Source(name, listed, bytes(records), (), notes, ends))
        return made

    def over(self, pause: Callable[[], None] | None = None) -> tuple[list[Key], int]:
        """Those whose time is over, and when that of the next one is; 0: of none."""
        found, next_us = [], 0
        for key, own in _gently(self.networks.items(), pause):
            if 0 < own.ends_us <= self.now_us:
                found.append(key)
            elif own.ends_us:
                next_us = min(next_us or own.ends_us, own.ends_us)
        return found, next_us

    def text(self, pause: Callable[[], None] | None = None) -> str:
        """The content of the file."""
        return "".join([HEADER, f"{BOOT}{self.boot}\n" if self.boot else "", self.lines(pause)])

    def lines(self, pause: Callable[[], None] | None = None) -> str:
        """A line for each."""
        parts = []
        # Not all lines at once: to join and to free them would hold the interpreter for some milliseconds.
        lines = (f"{verdict} {network}" + self._time(own) + (f" # {own.note}" if own.note else "") + "\n"
                 for (verdict, network), own in _gently(self.networks.items(), pause))
        while some := "".join(islice(lines, PIECE)):
            parts.append(some)
        return "".join(parts)

    def _time(self, own: Own) -> str:
        until = own.until(self.now_us, self.now_s)
        if until is None:
            return ""
        left = max(1, round((own.ends_us - self.now_us) / 1_000_000))
        return f" until={_stamp(until)} seconds={left} up={own.ends_us // 1_000_000}"


def _gently(rows: Iterable[Row], pause: Callable[[], None] | None, size: int = PIECE) -> Iterator[Row]:
    iterator = iter(rows)
    while piece := list(islice(iterator, size)):
        yield from piece
        if pause is not None:
            pause()


class OwnNetworks:
    """All of them. The main thread's; write() may run in another one, with what a snapshot's text() gave."""

    def __init__(
        self, directory: Path | None, clock_us: Callable[[], int] = boottime_us,
        time_s: Callable[[], float] = time.time,
    ) -> None:
        """`directory` is where the file lies; None: nowhere."""
        self.path = directory / NAME if directory else None
        self._clock_us = clock_us
        self._time_s = time_s
        self.networks: dict[Key, Own] = {}
        self._boot = _boot_id()
        self._same_boot = False  # the file that is being read was written since the machine was started
        self._next_us = 0  # none ends before; 0: none does

    def has(self, verdict: str, network: Network) -> bool:
        """Whether that very network is there."""
        return (verdict, network_of(record(network, verdict))) in self.networks

    def add(self, verdict: str, network: Network, note: str | None, seconds: int | None) -> Key | None:
        """Add one, or renew it: never shorter than it was. Its key; None: there is no room."""
        packed = record(network, verdict)
        network = network_of(packed)
        before = self.networks.get((verdict, network))
        if before is None and len(self.networks) >= MAX_OWN:
            return None
        ends_us = 0 if seconds is None else self._clock_us() + seconds * 1_000_000
        if before and (not before.ends_us or (ends_us and before.ends_us > ends_us)):
            seconds, ends_us = before.seconds, before.ends_us
        note = printable(note)[:MAX_NOTE] if note else before.note if before else None
        self.networks[verdict, network] = Own(note, seconds, ends_us, packed)
        self.wait_for(ends_us)
        return verdict, network

    def add_all(
        self, networks: Iterable[tuple[str, Network, str | None, int | None]],
    ) -> tuple[list[Key], int, int]:
        """Add (verdict, network, note, seconds); the keys of those with room, how many were known, and left out."""
        keys: list[Key] = []
        known = left_out = 0
        for verdict, network, note, seconds in networks:
            known += self.has(verdict, network)
            key = self.add(verdict, network, note, seconds)
            if key is None:
                left_out += 1
            else:
                keys.append(key)
        return keys, known, left_out

    def remove(self, verdict: str, network: Network) -> bool:
        """Whether it was there."""
        return self.networks.pop((verdict, network_of(record(network, verdict))), None) is not None

    def due(self) -> bool:
        """Whether the time of one is over. Who is told so looks at all of them: Snapshot.over(), drop()."""
        if not self._next_us or self._clock_us() < self._next_us:
            return False
        self._next_us = 0
        return True

    def wait_for(self, next_us: int) -> None:
        """Of those that were looked at, none is over before; 0: none ever is."""
        self._next_us = min(filter(None, (self._next_us, next_us)), default=0)

    def drop(self, keys: Iterable[Key]) -> None:
        """Remove those of them that have not been renewed since."""
        now_us = self._clock_us()
        for key in keys:
            own = self.networks.get(key)
            if own and 0 < own.ends_us <= now_us:
                del self.networks[key]

    def snapshot(self) -> Snapshot:
        """All of them, now. 65,536 take a millisecond."""
        return Snapshot(self.networks.copy(), self._clock_us(), self._time_s(), self._boot)

    def snapshot_of(self, keys: Iterable[Key]) -> Snapshot:
        """Those of these that are there, now."""
        there = {key: own for key in keys if (own := self.networks.get(key))}
        return Snapshot(there, self._clock_us(), self._time_s(), self._boot)

    def until(self, own: Own) -> int | None:
        """When it ends, in seconds since 1970."""
        return own.until(self._clock_us(), self._time_s())

    def seconds_left(self, own: Own) -> float:
        """Of its time; without an end that is endless."""
        return (own.ends_us - self._clock_us()) / 1_000_000 if own.ends_us else float("inf")

    def load(self) -> list[tuple[str, str]]:
        """Read the file, where there is one; (where, what is wrong), of which up to MAX_FAULTS lines are named."""
        if self.path is None:
            return []
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as file:
                # The daemon's user may put anything there; a pipe has nothing to be read.
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    return [(str(self.path), "is no regular file; left out")]
                content = file.read(MAX_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            return [(str(self.path), f"cannot be read: {error.strerror}")]
        return self._read(content)

    def _read(self, content: bytes) -> list[tuple[str, str]]:
        faults: list[tuple[str, str]] = []
        more = 0  # that are not named
        self._same_boot = False
        for line, raw in enumerate(io.BytesIO(content), 1):
            if line > MOST_LINES:
                faults.append((f"{self.path}:{line}", f"is behind {MOST_LINES} lines; it and the rest are left out"))
                break
            text = raw.decode("utf-8", "surrogateescape")
            try:
                if len(raw) > LONGEST_LINE:
                    raise ValueError("is too long")
                if not text.endswith("\n"):
                    # A power failure cut it off while it was appended, so nobody was told that it is kept.
                    raise ValueError("has no end")
                self._take(text)
            except ValueError as error:
                if len(faults) < MAX_FAULTS:
                    faults.append((f"{self.path}:{line}", f"{quoted(text.removesuffix(chr(10)))} {error}; left out"))
                else:
                    more += 1
        if more:
            faults.append((str(self.path), f"has {more} more lines that cannot be read; left out"))
        return faults

    def _take(self, text: str) -> None:
        if text.startswith(BOOT):
            self._same_boot = text.removeprefix(BOOT).strip() == self._boot != ""
        front, _, note = text.partition("#")
        words = front.split()
        if not words:
            return
        if len(words) not in (2, 4, 5) or words[0] not in WORDS:
            raise ValueError("is no network that was added by hand")
        network = network_of(record_for(words[1], words[0]))
        seconds = None
        if len(words) > 2:
            until = datetime.fromisoformat(words[2].removeprefix("until=")).timestamp()
            left = int(words[3].removeprefix("seconds="))
            seconds = min(round(until - self._time_s()), left, MAX_SECONDS)
            if len(words) > 4 and self._same_boot:
                seconds = min(seconds, int(words[4].removeprefix("up=")) - self._clock_us() // 1_000_000)
            if seconds <= 0:
                return
        if self.add(words[0], network, None, seconds) is None:
            raise ValueError(f"is one more than {MAX_OWN}")
        if note := note.strip():
            # It was made printable before it was written.
            kept = (note if note.isprintable() else printable(note))[:MAX_NOTE]
            self.networks[words[0], network] = self.networks[words[0], network]._replace(note=kept)


class OwnFile:
    """What is known of the file since it was written. One job after the other."""

    def __init__(self) -> None:
        """Nothing is."""
        self._size = -1  # bytes; -1: it cannot be appended to
        self._lines = 0
        self.appended = False  # since all of it was written

    def writing(
        self, networks: OwnNetworks, path: Path, added: Iterable[Key] | None, pause: Callable[[], None],
    ) -> Callable[[], None]:
        """What writes it in another thread, and may raise OSError. `added`: what has changed; None: anything may."""
        every = networks.snapshot()
        some = None if added is None else networks.snapshot_of(added)

        def work() -> None:
            size, self._size = self._size, -1
            room = 0 <= size <= MAX_BYTES // 2 and some is not None and self._lines + len(some.networks) <= MOST_LINES
            if some is not None and room:
                more = some.lines(pause).encode("utf-8", "surrogateescape")
                if append(path, more, size):
                    self._size, self.appended = size + len(more), True
                    self._lines += len(some.networks)
                    return
            self._size, self.appended = write(path, every.text(pause)), False
            self._lines = len(every.networks) + 2  # of what stands at the top

        return work


def write(path: Path, text: str) -> int:
    """Let a file with this text take the place of the old one; its bytes. Raises OSError; the old one stays then."""
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            size = file.write(text.encode("utf-8", "surrogateescape"))
            file.flush()
            os.fsync(descriptor)
        new.rename(path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return size


def append(path: Path, text: bytes, size: int) -> bool:
    """Append this to the file, which has `size` bytes; False: it is another one by now. Raises OSError.

    What an OSError leaves there is of another size than whoever comes next expects.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    with os.fdopen(descriptor, "wb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            return False
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    return True


def _boot_id() -> str:
    """What the kernel calls this run of the machine; empty where it says nothing (random(4))."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def network(text: str) -> Network:
    """A network or an address that somebody gave. Raises ValueError with a text that stands behind the input."""
    return network_of(record_for(text, ALLOW))


def _stamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
