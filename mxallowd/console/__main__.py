"""mxallowd-console, also as python -m mxallowd.console."""
import asyncio
import sys
from pathlib import Path

from mxallowd.console.assets import Assets
from mxallowd.console.render import Renderer
from mxallowd.console.server import Server
from mxallowd.console.site import Site
from mxallowd.console.watching import Watching


async def _serve(socket: Path, address: str, port: int) -> None:
    daemon = Watching(socket, None, print)
    site = Site(daemon, Renderer(), Assets(), daemon.answers)
    daemon.start()
    server = await asyncio.start_server(Server(site).serve, address, port)
    await server.serve_forever()


def main() -> int:
    """Serve."""
    asyncio.run(_serve(Path(sys.argv[1]), "127.0.0.1", int(sys.argv[2])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
