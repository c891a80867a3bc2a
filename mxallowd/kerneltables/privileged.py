"""The daemon's end of the privileged helper (helper.py has the protocol)."""
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable

from mxallowd.errors import StartError
from mxallowd.kerneltables import TableError, TableFull
from mxallowd.kerneltables.helper import ANSWER, RECORD, REQUEST, Record, Verb

# A helper that hangs is ended; the next request starts none: its privileges are gone by then.
ANSWER_TIMEOUT_S = 90.0
FULL = ("Hash is full", "Cannot allocate memory")


class Privileged:
    """A helper process."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. Raises StartError."""
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mxallowd.kerneltables.helper", *self._words],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
        except OSError as error:
            raise StartError(f"cannot start the helper of {self._words[0]}: {error.strerror}") from None

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
        """What the program printed. Raises TableError, TableFull."""
        body = b"".join(RECORD.pack(*record) for record in records)
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise TableError(f"the helper of {self._words[0]} has ended")
        try:
            process.stdin.write(REQUEST.pack(verb, len(body) // RECORD.size))
            view = memoryview(body)
            while view:
                view = view[process.stdin.write(view) or 0 :]
            deadline = time.monotonic() + ANSWER_TIMEOUT_S
            status, length = ANSWER.unpack(self._read(process.stdout.fileno(), ANSWER.size, deadline))
            text = self._read(process.stdout.fileno(), length, deadline).decode("utf-8", "replace")
        except OSError as error:
            self.close()
            raise TableError(f"the helper of {self._words[0]} has ended: {error.strerror or error}") from None
        if status:
            raise (TableFull if any(word in text for word in FULL) else TableError)(text)
        return text

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
