"""Messages to the supervisor that started this process (sd_notify(3)), if it asked for them: one datagram each."""
import os
import socket
import time
from contextlib import suppress

from mxallowd.process import streams


class Supervisor:
    """The socket of NOTIFY_SOCKET, opened at once, since later it may be out of reach; without one nothing happens."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        address = os.environ.get("NOTIFY_SOCKET", "")
        if not address:
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            # An abstract one begins with a zero byte, which is written as an at sign.
            self._socket.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        except OSError:
            self._socket.close()
            self._socket = None

    @property
    def listens(self) -> bool:
        """Whether a supervisor asked for messages."""
        return self._socket is not None

    def _tell(self, text: str) -> None:
        if self._socket is not None:
            # A supervisor that does not take it cannot be told otherwise.
            with suppress(OSError):
                self._socket.send(text.encode("utf-8", "backslashreplace"))

    def ready(self) -> None:
        """Verdicts are given."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The configuration is being read again; ready() follows."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """It ends."""
        self._tell("STOPPING=1")

    def ends(self, reason: str) -> None:
        """Why the daemon ends: `systemctl status` shows it until the next start."""
        self._tell(f"STATUS={' '.join(reason.splitlines())}")

    def fail(self, reason: str, status: int = 1) -> int:
        """Say why the daemon ends, here and on standard error; its exit status."""
        self.ends(reason)
        return streams.fail(reason, status)

    def alive(self) -> None:
        """The main loop runs and verdicts are given: once a second."""
        self._tell("WATCHDOG=1")
