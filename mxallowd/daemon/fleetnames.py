"""The addresses of the engine's name: by /etc/hosts, else by the name servers that the daemon asks for all names.

The C library is not asked: in the sandbox it cannot read a resolv.conf that has taken the place of another one, and it
waits for servers as long as it likes. Names are whole ones, without the search domains of resolv.conf. Where no name
server answers, the addresses of the last answer count.
"""
import asyncio
from collections.abc import Sequence
from functools import partial

from mxallowd.dns import hostsfile, resolver
from mxallowd.fleet.opening import LinkError
from mxallowd.lists.beside import beside
from mxallowd.log import Log
from mxallowd.process import signals
from mxallowd.settings import Settings

LIBRARY_START_S = 5.0


class Names:
    """Looks up names. Made before the sandbox holds."""

    def __init__(self, settings: Settings, log: Log) -> None:
        """Raises StartError."""
        resolver.check()
        with signals.within(LIBRARY_START_S, "the resolver"):
            self._resolver = resolver.Resolver(asyncio.get_running_loop(), settings.dns_server, log)
        self._known: dict[str, list[str]] = {}

    async def addresses(self, host: str) -> Sequence[str]:
        """Those of a name; of an address itself. Raises LinkError."""
        if hostsfile.is_address(host):
            return [host]
        found = await beside(partial(hostsfile.addresses, host))
        if found:
            return found
        answers = await asyncio.gather(
            *(self._resolver.ask(host, kind) for kind in (resolver.A, resolver.AAAA)), return_exceptions=True)
        found = [address for answer in answers if not isinstance(answer, BaseException) for address in answer]
        if found:
            # One name more each time it has another one, as a Sentinel may tell.
            self._known = {host: found}
            return found
        if known := self._known.get(host):
            return known
        reason = next((str(answer) for answer in answers if isinstance(answer, BaseException)), "it has no address")
        raise LinkError(f"the name {host} cannot be looked up: {reason}")

    def reload(self, settings: Settings) -> None:
        """Ask these name servers from now on."""
        self._resolver.reload(settings.dns_server)

    def tick(self) -> None:
        """Called about once a second."""
        self._resolver.tick()

    def close(self) -> None:
        """End every question."""
        self._resolver.close()
