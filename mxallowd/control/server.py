"""The server of the control socket: who may connect, how many at a time, and which answer a request gets.

Bounds: MOST_CLIENTS connections, MOST_OF_A_USER of one user. At a bound a newcomer takes the place of a connection of
the same user, else of the user with most of them; first of one that waits for a request, the oldest first. So a
thousand idle clients keep nobody out. One request begins in each turn of the main loop, and a turn accepts ACCEPTS
clients, so that events and timers have their turn in between.

Which way it fails: a peer of whom the kernel tells nothing is closed. An error of this program in an answer is said as
a defect, and the client gets status 500.
"""
import asyncio
import os
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from mxallowd.control.documents import SHORT, parsed
from mxallowd.control.exchange import Request, RequestError, Response, Route
from mxallowd.control.peers import May, Peer, may, peer_of
from mxallowd.control.place import Place
from mxallowd.control.routes import find, split
from mxallowd.control.steps import Steps, hang_up, in_steps
from mxallowd.control.wire import MAX_HEAD, Asked, Head, Wire, bound

MOST_CLIENTS, MOST_OF_A_USER = 96, 32
ACCEPTS = 8
ACCEPT_AGAIN_S = 1.0  # after the process ran out of descriptors
ANSWER_S = 30.0  # until a response begins


class _Client:
    """A connection that is served."""

    def __init__(self, user: int, wire: Wire, task: "asyncio.Task[None]") -> None:
        self.user = user
        self.wire = wire
        self.task = task


class Server:
    """Serves routes at a place, on the main loop."""

    def __init__(
        self, place: Place, routes: Sequence[Route], defect: Callable[[Exception], object],
        changers: Callable[[], int | None] = lambda: None,
    ) -> None:
        """`defect` is told of errors of this program; `changers` is the group whose members may change something."""
        self._place = place
        self._routes = routes
        self._defect = defect
        self._changers = changers
        self._clients: dict[asyncio.Task[None], _Client] = {}  # in their order
        self._steps = Steps()
        self._again: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Accept clients from the next turn of the running loop on."""
        if self._place.listener is not None:
            asyncio.get_running_loop().add_reader(self._place.listener.fileno(), self._accept)

    async def close(self) -> None:
        """Serve nobody any more, and remove the socket."""
        if self._again is not None:
            self._again.cancel()
        if self._place.listener is not None:
            asyncio.get_running_loop().remove_reader(self._place.listener.fileno())
        self._place.release()
        tasks = list(self._clients)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- connections

    def _accept(self) -> None:
        listener = self._place.listener
        assert listener is not None
        for _ in range(ACCEPTS):
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # No descriptor is free: without a pause the loop would do nothing but this.
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener.fileno())
                self._again = loop.call_later(ACCEPT_AGAIN_S, self.start)
                return
            self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        try:
            connection.setblocking(False)
            peer = peer_of(connection)
        except OSError:
            connection.close()
            return
        self._make_room(peer.user)
        wire = Wire(partial(self._begin, peer))
        task = asyncio.get_running_loop().create_task(self._serve(connection, wire, peer.user))
        self._clients[task] = _Client(peer.user, wire, task)
        task.add_done_callback(self._clients.pop)

    def _make_room(self, user: int) -> None:
        living = [client for client in self._clients.values() if not client.task.cancelling()]
        counted = Counter(client.user for client in living)
        if counted[user] >= MOST_OF_A_USER:
            whose = user
        elif len(living) >= MOST_CLIENTS:
            whose = counted.most_common(1)[0][0]
        else:
            return
        theirs = [client for client in living if client.user == whose]
        next((client for client in theirs if client.wire.waits), theirs[0]).task.cancel()

    async def _serve(self, connection: socket.socket, wire: Wire, user: int) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MAX_HEAD, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection)
        except BaseException:
            connection.close()
            raise
        bound(transport)
        hung_up = hang_up(connection)

        def abandoned() -> bool:
            return wire.ends_with_client and (transport.is_closing() or hung_up())

        try:
            await in_steps(self._steps, user, abandoned,
                           wire.serve(reader, asyncio.StreamWriter(transport, protocol, reader, loop)))
            transport.close()
        except (OSError, TimeoutError):
            # It has gone, or does not take what it asked for.
            transport.abort()
        except asyncio.CancelledError:
            transport.abort()
            raise
        except Exception as error:  # noqa: BLE001
            transport.abort()
            self._defect(error)

    # ---- requests

    def _begin(self, peer: Peer, head: Head) -> Asked:
        """What answers a request with this head; its body has not been read. Raises RequestError."""
        changers = self._changers()
        may_do = may(peer, os.geteuid(), self._place.group, changers)
        if may_do is May.NOTHING:
            raise RequestError(403, "forbidden", f"the user with id {peer.user} may ask nothing here: root, the "
                               f"daemon's user and members of the group with id {self._place.group} may")
        segments, query = split(head.target)
        route, parameters = find(self._routes, head.method, segments)
        if route.changes and may_do is not May.CHANGE:
            raise RequestError(403, "forbidden", f"the user with id {peer.user} may read, and change nothing: root and "
                               f"the daemon's user may{_members(changers)}")
        if head.length > 0 and not route.changes:
            # Nor is it read: who may only ask is not to keep the main loop busy with half a megabyte.
            raise RequestError(400, "bad-request", f"{head.method} takes no body here")
        if head.length > SHORT and not route.long:
            raise RequestError(413, "too-large", f"the body has more than {SHORT} bytes")
        path = "/" + "/".join(segments)
        request = Request(head.method, path, parameters, query, None, peer.user, head.accept, head.by)
        return partial(self._answer, route, request)

    async def _answer(self, route: Route, request: Request, body: bytes | None) -> Response:
        if body:
            request = replace(request, body=await parsed(body, long=route.long))
        try:
            async with asyncio.timeout(ANSWER_S):
                return await route.handler(request)
        except TimeoutError:
            raise RequestError(503, "too-slow", f"there was no answer within {ANSWER_S:.0f} seconds") from None
        except RequestError:
            raise
        except Exception as error:  # noqa: BLE001
            self._defect(error)
            raise RequestError(500, "defect", "an error of mxallowd itself; the log has it") from None


def _members(group: int | None) -> str:
    return "" if group is None else f", and members of the group with id {group}"
