"""The networks that were added by hand, and their file in the state directory.

    allow 192.0.2.0/24 until=2026-11-27T05:10:00Z seconds=3600 # the bank
    deny 2001:db8::/32

mxallowctl changes it by way of the daemon; it is written to a new file that takes its place. The end of a network's
time is kept by the clock that also counts while the machine sleeps; on disk stands the time of day. A time of day that
has jumped never lengthens a network's time beyond what was asked for.

Which way it fails: a line that cannot be read is left out and said; without a state directory, or on a full disk, the
networks hold until the daemon ends, and who adds one is told.
"""
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from mxallowd.engine.clock import boottime_us
from mxallowd.lists.composition import ALLOW, BY_HAND, DENY, Network, Source, network_of, record
from mxallowd.lists.files import MAX_BYTES, MAX_NOTE, record_for
from mxallowd.text import printable, quoted

NAME = "own.list"  # in the state directory
MAX_OWN = 65_536
MAX_SECONDS = 315_360_000
HEADER = "# Written by mxallowd. Change it with: mxallowctl allow|deny add|remove, mxallowctl add|remove NETWORK\n"


class Own(NamedTuple):
    """A network that was added by hand."""

    note: str | None
    seconds: int | None  # its time when it was added; None: it stays
    ends_us: int  # CLOCK_BOOTTIME; 0: it stays

    def until(self, now_us: int, now_s: float) -> int | None:
        """When it ends, in seconds since 1970."""
        return round(now_s + (self.ends_us - now_us) / 1_000_000) if self.ends_us else None


Key = tuple[str, Network]  # verdict and network


class OwnNetworks:
    """All of them. The main thread's; write() may run in another one, with what text() gave."""

    def __init__(
        self, directory: Path | None, clock_us: Callable[[], int] = boottime_us,
        time_s: Callable[[], float] = time.time,
    ) -> None:
        """`directory` is where the file lies; None: nowhere."""
        self.path = directory / NAME if directory else None
        self._clock_us = clock_us
        self._time_s = time_s
        self.networks: dict[Key, Own] = {}

    def add(self, verdict: str, network: Network, note: str | None, seconds: int | None) -> bool:
        """Add one, or renew it: never shorter than it was. False: there is no room."""
        network = network_of(record(network, verdict))
        before = self.networks.get((verdict, network))
        if before is None and len(self.networks) >= MAX_OWN:
            return False
        ends_us = 0 if seconds is None else self._clock_us() + seconds * 1_000_000
        if before and (not before.ends_us or (ends_us and before.ends_us > ends_us)):
            seconds, ends_us = before.seconds, before.ends_us
        note = printable(note)[:MAX_NOTE] if note else before.note if before else None
        self.networks[verdict, network] = Own(note, seconds, ends_us)
        return True

    def remove(self, verdict: str, network: Network) -> bool:
        """Whether it was there."""
        return self.networks.pop((verdict, network_of(record(network, verdict))), None) is not None

    def expire(self) -> bool:
        """Remove those whose time is over. Whether there were any."""
        now_us = self._clock_us()
        over = [key for key, own in self.networks.items() if own.ends_us and own.ends_us <= now_us]
        for key in over:
            del self.networks[key]
        return bool(over)

    def sources(self) -> list[Source]:
        """They as sources of both verdicts."""
        now_us, now_s = self._clock_us(), self._time_s()
        made = []
        for verdict in (ALLOW, DENY):
            rows = [(network, own) for (one, network), own in self.networks.items() if one == verdict]
            made.append(Source(
                BY_HAND, verdict, b"".join(record(network, verdict) for network, _ in rows), (),
                [own.note for _, own in rows], [own.until(now_us, now_s) for _, own in rows]))
        return made

    def until(self, own: Own) -> int | None:
        """When it ends, in seconds since 1970."""
        return own.until(self._clock_us(), self._time_s())

    def text(self) -> str:
        """The content of the file."""
        return HEADER + "".join(
            f"{verdict} {network}"
            + (f" until={_stamp(until)} seconds={own.seconds}" if (until := self.until(own)) else "")
            + (f" # {own.note}" if own.note else "") + "\n" for (verdict, network), own in self.networks.items())

    def load(self) -> list[tuple[str, str]]:
        """Read the file, where there is one; (where, what is wrong)."""
        if self.path is None:
            return []
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as file:
                content = file.read(MAX_BYTES).decode("utf-8", "surrogateescape")
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            return [(str(self.path), f"cannot be read: {error.strerror}")]
        faults = []
        for line, text in enumerate(content.split("\n"), 1):
            try:
                self._take(text)
            except ValueError as error:
                faults.append((f"{self.path}:{line}", f"{quoted(text)} {error}; left out"))
        return faults

    def _take(self, text: str) -> None:
        front, _, note = text.partition("#")
        words = front.split()
        if not words:
            return
        if len(words) not in (2, 4) or words[0] not in (ALLOW, DENY):
            raise ValueError("is no network that was added by hand")
        network = network_of(record_for(words[1], words[0]))
        seconds = None
        if len(words) == 4:
            until = datetime.fromisoformat(words[2].removeprefix("until=")).timestamp()
            whole = int(words[3].removeprefix("seconds="))
            seconds = min(round(until - self._time_s()), whole, MAX_SECONDS)
            if seconds <= 0:
                return
        if not self.add(words[0], network, None, seconds):
            raise ValueError(f"is one more than {MAX_OWN}")
        if note := note.strip():
            # It was made printable before it was written.
            kept = (note if note.isprintable() else printable(note))[:MAX_NOTE]
            self.networks[words[0], network] = self.networks[words[0], network]._replace(note=kept)


def write(path: Path, text: str) -> None:
    """Let a file with this text take the place of the one there. Raises OSError; the old one is there then."""
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
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


def network(text: str) -> Network:
    """A network or an address that somebody gave. Raises ValueError with a text that stands behind the input."""
    return network_of(record_for(text, ALLOW))


def _stamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
