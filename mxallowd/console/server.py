"""The connections of browsers: who may have one, and how many there are."""
import asyncio
from contextlib import suppress
from functools import partial

from mxallowd.console.site import Site
from mxallowd.control.wire import Wire


class Server:
    """Serves a site."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a client."""
        client = str(writer.get_extra_info("peername")[0])
        with suppress(OSError, TimeoutError):
            await Wire(partial(self._site.begin, client)).serve(reader, writer)
        writer.transport.abort()
