"""The privileged helper: a small process that runs pfctl, and can do nothing else.

    mxallowd.mirrors.kernel.helper pf TABLE

The daemon starts it while it still has every privilege, and talks to it over its standard streams. A request has a verb
of a fixed list, and hosts as numbers. No text from the daemon ever reaches a command line or the input of a program.

    request     verb (1 byte), number of records (4), records of 17 bytes: operation (1), host (16)
    answer      status (1 byte, 0: well), length (4), text: the program's output, or what went wrong

All in native byte order. It ends when its input does.
"""
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from enum import IntEnum

from mxallowd.engine.events import address_text

REQUEST = struct.Struct("=BI")
RECORD = struct.Struct("=B16s")
ANSWER = struct.Struct("=BI")
MAX_RECORDS = 1 << 24
LONG_INPUT = 1 << 16
# A whole table may take its time; whatever else is asked for has to be there at once.
LONG_TIMEOUT_S, TIMEOUT_S = 60.0, 6.0
# Where the systems have these programs; the daemon's PATH is nobody's business.
PATH = "/sbin:/usr/sbin:/usr/local/sbin:/bin:/usr/bin"


class Verb(IntEnum):
    """What can be asked."""

    INSPECT = 1  # text about the table
    READ = 2  # its contents
    CHANGE = 3  # the records' operations
    REPLACE = 4  # the contents are to be the records
    TEST = 5  # how many of the records are there


class Operation(IntEnum):
    """What a record of CHANGE is for."""

    ADD = 1
    DELETE = 2


Record = tuple[int, bytes]
"""Operation, host."""
Run = Callable[[list[str], str], str]


class Failed(Exception):
    """The program failed; the text is what it said."""


class Pf:
    """pfctl(8), the same words on FreeBSD, OpenBSD and NetBSD."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._command = ["pfctl", "-q", "-t", table, "-T"]

    def serve(self, verb: Verb, records: list[Record], run: Run) -> str:
        """Carry out a request."""
        if verb is Verb.INSPECT:
            return run(["pfctl", "-s", "Tables"], "")
        if verb is Verb.READ:
            return run(["pfctl", "-t", self._table, "-T", "show"], "")
        if verb is Verb.CHANGE:
            for operation, word in ((Operation.DELETE, "delete"), (Operation.ADD, "add")):
                hosts = [host for what, host in records if what == operation]
                if hosts:
                    run([*self._command, word, "-f", "-"], _lines(hosts))
            return ""
        if verb is Verb.REPLACE:
            # pfctl takes an empty list for a mistake.
            hosts = [host for _, host in records]
            return run([*self._command, "replace", "-f", "-"], _lines(hosts)) if hosts else run(
                [*self._command, "flush"], "")
        try:
            run(["pfctl", "-t", self._table, "-T", "test", "-f", "-"], _lines([host for _, host in records]))
        except Failed as failure:
            # Status 2: not all of them are there.
            some = re.match(r"(\d+)/\d+ addresses match", str(failure))
            if some is None:
                raise
            return some[1]
        return str(len(records))


def _lines(hosts: Iterable[bytes]) -> str:
    return "".join(f"{address_text(host)}\n" for host in hosts)


def run_program(words: list[str], text: str) -> str:
    """Run a program with this input; its output. Raises Failed."""
    program = shutil.which(words[0], path=PATH)
    if program is None:
        raise Failed(f"the program {words[0]} is not there")
    try:
        done = subprocess.run(  # a fixed list of words
            [program, *words[1:]], input=text, capture_output=True, text=True, errors="replace", check=False,
            timeout=LONG_TIMEOUT_S if len(text) > LONG_INPUT else TIMEOUT_S, env={"PATH": PATH, "LC_ALL": "C"})
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{words[0]}: {error}") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).split("\n")[0]
        raise Failed(said or f"{words[0]} ended with status {done.returncode}")
    return done.stdout


def serve(kind: Pf, run: Run = run_program) -> None:
    """Answer requests until the input ends."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while len(head := source.read(REQUEST.size)) == REQUEST.size:
        verb, count = REQUEST.unpack(head)
        if count > MAX_RECORDS:
            return
        body = source.read(count * RECORD.size)
        if len(body) < count * RECORD.size:
            # The daemon ended in the middle of it.
            return
        records = list(RECORD.iter_unpack(body))
        try:
            status, text = 0, kind.serve(Verb(verb), records, run)
        except (Failed, ValueError, IndexError) as error:
            status, text = 1, str(error)
        answer = text.encode("utf-8", "replace")
        sink.write(ANSWER.pack(status, len(answer)) + answer)
        sink.flush()


def main(words: list[str]) -> int:
    """Run as the helper."""
    # A terminal's interrupt is for the daemon, which ends us by closing our input.
    os.setpgid(0, 0)
    if sys.platform == "linux":
        # It stays root, since a program that it starts gets its capabilities from that, but with one of them.
        from mxallowd.process.privileges import CAP_NET_ADMIN, give_up  # noqa: PLC0415

        give_up("root", keep=(CAP_NET_ADMIN,))
    if len(words) != 2 or words[0] != "pf":
        return 2
    serve(Pf(words[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
