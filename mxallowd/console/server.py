"""The connections of browsers: who may have one, and how many there are; TLS where the console has its own.

Bounds: MOST connections (with TLS MOST_TLS), MOST_OF_A_CLIENT of one address (IPv6: of one /64); a named proxy is many
clients and has no bound of its own. At a bound a newcomer takes the place of another connection: of the same client,
else of the client with most of those whose last request was of nobody who has logged in. It is the one that has waited
longest for a request, else the oldest. So a thousand idle clients keep nobody out. A connection counts from the moment
when it is accepted, its handshake included, until the last byte that was written for it is taken or given up.

What connections do on the loop are steps, one in a turn (control/steps.py): whoever sends thousands of requests has no
more of it than others. Who has logged in comes first, and so does the first request from an address of such a one.

Which way it fails: a client that is slow, or speaks no TLS where it has to, is closed. An error of this program ends
one connection and is said as a defect.
"""
import asyncio
import socket
import ssl
from asyncio import sslproto
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mxallowd.console.forwarded import Proxies, client_key, plain
from mxallowd.console.site import Caller, Site
from mxallowd.control.steps import Steps, in_steps
from mxallowd.control.wire import MAX_HEAD, Wire, bound

MOST, MOST_TLS, MOST_OF_A_CLIENT = 512, 256, 64
# What the kernel keeps for a connection, which counts as memory of the console as well. (It takes twice as much, and
# some megabytes without this.)
SENT, RECEIVED = 65_536, 32_768
KNOWN = 256  # addresses that are remembered as those of somebody who has logged in
ACCEPTS = 8  # in a turn of the loop
ACCEPT_AGAIN_S = 1.0  # after the process ran out of descriptors
HANDSHAKE_S, END_S = 5.0, 5.0
# asyncio gives each connection as much for what it decrypts, and reads as much ahead; each 256 KiB without this. With
# what wire.py bounds, a connection with TLS of a client that sends all it can and reads nothing has 350 KiB at most.
TLS_BUFFER = 32_768


class _Client:
    """A connection that is served."""

    def __init__(self, key: str, caller: Caller, wire: Wire) -> None:
        self.key = key
        self.caller = caller
        self.wire = wire


class Server:
    """Serves a site on listening sockets."""

    def __init__(
        self, site: Site, sockets: Sequence[socket.socket], context: ssl.SSLContext | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        """The sockets listen; close() closes them. `context` (tls_context) makes it HTTPS."""
        self._site = site
        self._sockets = sockets
        self._proxies = proxies or Proxies()
        self._context = context
        self._most = MOST if context is None else MOST_TLS
        self._clients: dict[asyncio.Task[None], _Client] = {}  # in their order
        self._steps = Steps()
        self._known: dict[str, None] = {}  # who was seen last is last
        self._again: dict[socket.socket, asyncio.TimerHandle] = {}
        sslproto.SSLProtocol.max_size = TLS_BUFFER

    def __len__(self) -> int:
        return len(self._clients)

    def start(self) -> None:
        """Accept clients from the next turn of the running loop on."""
        for one in self._sockets:
            one.setblocking(False)
            self._listen(one)

    def renew(self, context: ssl.SSLContext) -> None:
        """Another certificate for those who come from now on."""
        self._context = context

    async def close(self) -> None:
        """Serve nobody any more."""
        for timer in self._again.values():
            timer.cancel()
        for one in self._sockets:
            asyncio.get_running_loop().remove_reader(one.fileno())
            one.close()
        tasks = list(self._clients)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _listen(self, listener: socket.socket) -> None:
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS):
            try:
                connection, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # No descriptor is free: without a pause the loop would do nothing but this.
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener.fileno())
                self._again[listener] = loop.call_later(ACCEPT_AGAIN_S, self._listen, listener)
                return
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SENT)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED)
            # asyncio leaves it to us where nobody named the protocol. With TLS an answer came 40 ms later without it.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._take(connection, plain(str(peer[0])))

    def _take(self, connection: socket.socket, peer: str) -> None:
        key, proxy = client_key(peer), self._proxies.named(peer)
        self._make_room(key, proxy=proxy)
        caller = self._site.caller(peer)
        client = _Client(key, caller, Wire(caller.begin, caller.refusal))
        task = asyncio.get_running_loop().create_task(self._serve(connection, client))
        self._clients[task] = client
        task.add_done_callback(self._clients.pop)

    def _make_room(self, key: str, *, proxy: bool) -> None:
        living = [(task, client) for task, client in self._clients.items() if not task.cancelling()]
        theirs = [(task, client) for task, client in living if client.key == key]
        if proxy or len(theirs) < MOST_OF_A_CLIENT:
            if len(living) < self._most:
                return
            strangers = [(task, client) for task, client in living if not client.caller.known] or living
            most = Counter(client.key for _, client in strangers).most_common(1)[0][0]
            theirs = [(task, client) for task, client in strangers if client.key == most]
        # The first one of those that are alike is the oldest.
        min(theirs, key=lambda one: (one[1].caller.known, not one[1].wire.waits))[0].cancel()

    async def _serve(self, connection: socket.socket, client: _Client) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MAX_HEAD, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        times = {} if self._context is None else {
            "ssl_handshake_timeout": HANDSHAKE_S, "ssl_shutdown_timeout": END_S}
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._context, **times)
        except OSError:
            # No TLS, too slow for it, or gone.
            connection.close()
            return
        except BaseException:
            connection.close()
            raise
        bound(transport)
        if self._context is not None:
            # Of what it has not decrypted yet.
            transport.set_read_buffer_limits(TLS_BUFFER)  # type: ignore[attr-defined]  # transports with TLS have it
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)

        def gone() -> bool:
            return client.wire.ends_with_client and transport.is_closing()

        try:
            await in_steps(
                self._steps, client.key, gone, client.wire.serve(reader, writer), lambda: self._comes_first(client))
            async with asyncio.timeout(END_S):
                # To close one with TLS a second time breaks it (asyncio): it would not be aborted any more.
                if not writer.is_closing():
                    writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError):
            # It has gone, or does not take what it asked for.
            pass
        except Exception as error:  # noqa: BLE001
            client.caller.defect(error)
        finally:
            transport.abort()

    def _comes_first(self, client: _Client) -> bool:
        if client.caller.known:
            self._known.pop(client.key, None)
            self._known[client.key] = None
            if len(self._known) > KNOWN:
                del self._known[next(iter(self._known))]
        # After that it is seen whose requests they are.
        return client.caller.known or (not client.caller.asked and client.key in self._known)


def tls_context(cert: Path, key: Path) -> ssl.SSLContext:
    """TLS with this certificate and key. Raises OSError, ssl.SSLError among them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    # A key with a passphrase would ask for it on the terminal.
    context.load_cert_chain(cert, key, password=lambda: "")
    return context
