"""A real SMTP server as a process of its own: `python -m lab.smtp DIRECTORY ADDRESS...`.

It listens on port 25 of each address, and keeps each message that it accepts as a file in the directory. It prints one
line when it serves.
"""
import itertools
import sys
import threading
import time
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

PORT = 25
SILENT_AFTER_S = 3.0
LISTEN, TIME_WAIT = "0A", "06"  # net/tcp_states.h, as /proc has them


class Keeper:
    """Writes accepted messages to numbered files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count(1)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Keep one message (aiosmtpd calls this after the final dot)."""
        content = envelope.content or b""
        name = f"{next(self._numbers)}.eml"
        part = self._directory / f"{name}.part"
        part.write_bytes(content if isinstance(content, bytes) else content.encode())
        # A file with its final name is whole.
        part.rename(self._directory / name)
        return "250 2.0.0 accepted"


def wait_for_silence() -> None:
    """Until nobody is connected: a controller has connected to itself once, to see that it serves.

    The last packets of such a connection would be a new one for a firewall that begins to follow connections just now.
    """
    deadline = time.monotonic() + SILENT_AFTER_S
    while any(_connected(Path(table)) for table in ("/proc/net/tcp", "/proc/net/tcp6")) and time.monotonic() < deadline:
        time.sleep(0.01)


def _connected(table: Path) -> bool:
    rows = [line.split() for line in table.read_text(encoding="ascii").splitlines()[1:]] if table.exists() else []
    return any(row[1].endswith(f":{PORT:04X}") and row[3] not in (LISTEN, TIME_WAIT) for row in rows)


def main() -> int:
    """Serve until the process is ended."""
    directory, addresses = Path(sys.argv[1]), sys.argv[2:]
    controllers = [
        Controller(Keeper(directory / str(number)), hostname=address, port=PORT, server_hostname="mx2.example.org")
        for number, address in enumerate(addresses)
    ]
    for number, controller in enumerate(controllers):
        (directory / str(number)).mkdir()
        controller.start()
    wait_for_silence()
    print("serving", *addresses, flush=True)
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
