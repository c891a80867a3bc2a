"""From settings to a console that serves, until a signal ends it: all parts are made and joined here.

At the end streams are closed at once, and the history is written.
"""
import asyncio
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import NoReturn

from mxallowd import __version__
from mxallowd.console.attempts import Attempts
from mxallowd.console.devices import Devices, key_in
from mxallowd.console.door import Door
from mxallowd.console.enclosure import WAY, Enclosure, tls_of
from mxallowd.console.forwarded import Proxies
from mxallowd.console.log import Log
from mxallowd.console.places import fixed
from mxallowd.console.render import Renderer
from mxallowd.console.server import Server
from mxallowd.console.sessions import Sessions
from mxallowd.console.settings import Serving, shown
from mxallowd.console.site import Site
from mxallowd.console.users import Users
from mxallowd.console.watching import Watching
from mxallowd.errors import StartError
from mxallowd.log import others
from mxallowd.process import signals

END_S = 2.0  # for the end; what is not written by then is lost


def serve(settings: Serving, users: Users) -> NoReturn:
    """Serve, and end the process with status 0. Signals have been blocked. Raises StartError."""
    log = Log()
    others.take(lambda text: log.write("defect", path="", error=text, trace=""))
    # What fails while something that failed is thrown away is no news, and nothing bounds it.
    sys.unraisablehook = callable
    warnings.simplefilter("ignore")
    users.tell = lambda fault: log.write("users", reason=fault)
    enclosure = Enclosure(settings)
    try:
        enclosure.open()
        renderer = Renderer()
        for warning in enclosure.shut():
            log.write("no-sandbox", reason=warning)
        log.start()
        asyncio.run(_serve(settings, users, enclosure, renderer, log))
    finally:
        log.close()
        enclosure.close()
    # A thread that hashes, or waits for a disk, would be waited for.
    os._exit(0)


async def _serve(settings: Serving, users: Users, enclosure: Enclosure, renderer: Renderer, log: Log) -> None:
    proxies = Proxies(settings.proxies)
    daemon = Watching(
        settings.control, settings.state_dir,
        lambda text: log.write("history-failed", reason=text) if text else log.write("history-works"), Path(WAY))
    daemon.turned = lambda fault: log.write("unreachable", reason=fault) if fault else log.write("reached")
    devices = Devices(key_in(settings.state_dir, lambda text: log.write("devices-failed", reason=text)))
    door = Door(users, Sessions(users), Attempts(), log, devices)
    site = Site(daemon, renderer, door, daemon.answers, log, proxies=proxies, tls=enclosure.tls is not None)
    server = Server(site, enclosure.listeners, enclosure.tls, proxies)
    ended = _signals(settings, server, log)
    daemon.start()
    server.start()
    log.write("start", version=__version__, user=enclosure.user, users=len(users.names))
    for address, port in settings.listen:
        log.write("listening", address=shown(address, port), tls="yes" if enclosure.tls else "no")
    if settings.sandbox and (why := fixed(settings.users)):
        log.write("users", reason=why)
    for where in settings.exposed:
        log.write("clear-text", address=where,
                  reason="passwords can be read on the way: give --cert and --key, or listen at 127.0.0.1 behind a "
                         "proxy with TLS")
    name = await ended
    try:
        async with asyncio.timeout(END_S):
            await server.close()
            await daemon.close()
    except TimeoutError:
        # A disk that stands still holds up nobody.
        pass
    log.write("stop", signal=name)


def _signals(settings: Serving, server: Server, log: Log) -> asyncio.Future[str]:
    """Handle them from now on; the name of the one that ends the console."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[str] = loop.create_future()

    def end(name: str) -> None:
        if not ended.done():
            ended.set_result(name)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number.name)
    loop.add_signal_handler(signal.SIGHUP, _read_certificate, settings, server, log)
    loop.add_signal_handler(signal.SIGUSR1, lambda: None)
    signals.unblock()
    return ended


def _read_certificate(settings: Serving, server: Server, log: Log) -> None:
    try:
        context = tls_of(settings)
    except StartError as error:
        log.write("certificate-failed", reason=f"{error}. What root alone can read takes a restart")
        return
    if context is not None:
        server.renew(context)
        log.write("certificate", reason="it has been read again")
