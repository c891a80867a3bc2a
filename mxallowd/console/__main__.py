"""mxallowd-console, also as python -m mxallowd.console."""
import asyncio
import socket
import sys
from pathlib import Path

from mxallowd.console.asking import Daemon
from mxallowd.console.attempts import Attempts
from mxallowd.console.door import Door
from mxallowd.console.render import Renderer
from mxallowd.console.server import Server
from mxallowd.console.sessions import Sessions
from mxallowd.console.site import Site
from mxallowd.console.users import Users


class _Lines:
    def write(self, word: str, /, **values: object) -> None:
        sys.stderr.write(f"{word} {values!r}\n")


async def _serve(control: Path, port: int, file: Path) -> None:
    users = Users(file)
    users.refresh()
    door = Door(users, Sessions(users), Attempts(), _Lines())
    server = Server(Site(Daemon(control), Renderer(), door, {}, _Lines()), [socket.create_server(("127.0.0.1", port))])
    server.start()
    await asyncio.Event().wait()


def main() -> int:
    """Serve: the control socket, a port on loopback, the file of users."""
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
