"""The daemon's end of the privileged helper (helper.py has the protocol)."""
import os
import select
import subprocess
import time
from collections.abc import Iterable

from mxallowd.errors import StartError
from mxallowd.mirrors import TargetError, TargetFull, TargetRejects
from mxallowd.mirrors.kernel.helper import ANSWER, LONG_INPUT, RECORD, REQUEST, Record, Verb
from mxallowd.process.child import command

# Longer than the helper gives its programs: 6 seconds, and a minute where a whole table is meant.
TIMEOUT_S, LONG_TIMEOUT_S = 8.0, 90.0
LONG = (Verb.READ, Verb.REPLACE)
START_AGAIN_S = 10.0
FULL = ("Cannot allocate memory",)
# What a program says that has nothing to do with the hosts it was given; of all else, one of them may be the cause.
OF_THE_TABLE = (
    "not permitted", "ermission denied", "does not exist", "is not there", "No such", "not configured", "timed out",
    "busy", "temporarily unavailable", "Too many open files", "Bad file descriptor", "unknown syntax")


class Privileged:
    """A helper process."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = float("-inf")

    def start(self) -> None:
        """Start it. Raises StartError."""
        self._started_at = time.monotonic()
        try:
            self._process = subprocess.Popen(
                command("mxallowd.mirrors.kernel.helper", *self._words),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
        except OSError as error:
            raise StartError(f"cannot start the helper of {self._words[0]}: {error.strerror}") from None
        assert self._process.stdin
        os.set_blocking(self._process.stdin.fileno(), False)

    def close(self) -> None:
        """End it by the end of its input."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return
        process.stdin.close()
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        self._process = None

    def ask(self, verb: Verb, records: Iterable[Record] = ()) -> str:
        """What the program printed. Raises TargetError, TargetFull, TargetRejects."""
        body = bytearray()
        for record in records:
            body += RECORD.pack(*record)
        if self._process is None:
            self._start_again()
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise TargetError(f"the helper of {self._words[0]} has ended")
        deadline = time.monotonic() + (LONG_TIMEOUT_S if verb in LONG or len(body) > LONG_INPUT else TIMEOUT_S)
        try:
            self._write(process.stdin.fileno(), REQUEST.pack(verb, len(body) // RECORD.size) + body, deadline)
            status, length = ANSWER.unpack(self._read(process.stdout.fileno(), ANSWER.size, deadline))
            text = self._read(process.stdout.fileno(), length, deadline).decode("utf-8", "replace")
        except OSError as error:
            process.kill()
            self.close()
            raise TargetError(f"the helper of {self._words[0]} has ended: {error.strerror or error}") from None
        if status:
            raise _error(verb, text)
        return text

    def _start_again(self) -> None:
        """With what privileges there are: as root it will do, else its programs say what they lack."""
        if time.monotonic() - self._started_at >= START_AGAIN_S:
            try:
                self.start()
            except StartError as error:
                raise TargetError(str(error)) from None

    @staticmethod
    def _write(descriptor: int, data: bytes | bytearray, deadline: float) -> None:
        view = memoryview(data)
        while view:
            if not select.select([], [descriptor], [], max(0.0, deadline - time.monotonic()))[1]:
                raise TimeoutError("it takes nothing")
            view = view[os.write(descriptor, view) :]

    @staticmethod
    def _read(descriptor: int, length: int, deadline: float) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError("it does not answer")
            part = os.read(descriptor, length - len(parts))
            if not part:
                raise BrokenPipeError("it is gone")
            parts += part
        return bytes(parts)


def _error(verb: Verb, text: str) -> TargetError:
    if any(word in text for word in FULL):
        return TargetFull(text)
    if verb not in (Verb.CHANGE, Verb.REPLACE) or any(word in text for word in OF_THE_TABLE):
        return TargetError(text)
    return TargetRejects(text)
