"""Lookups of names in the daemon, where they are wanted."""
import asyncio
from collections.abc import Awaitable, Callable

from mxallowd.history.trial import Trial
from mxallowd.log import Log
from mxallowd.process import signals
from mxallowd.settings import Settings
from mxallowd.sinks import Sink
from mxallowd.sinks.hostlog import HostLog
from mxallowd.sinks.stress import Stress
from mxallowd.whitelist import Whitelist

LIBRARY_START_S = 5.0

Fill = Callable[[], float]
Addresses = Callable[[str], Awaitable[list[bytes]]]


def look_up_names(  # noqa: PLR0913
    settings: Settings, sinks: list[Sink], log: Log, *, hostlog: HostLog, whitelist: Whitelist, stress: Stress,
    trial: Trial,
) -> tuple[Fill | None, Addresses | None]:
    """Let a sink look up names, and put it behind `sinks`; None and None where nobody wants it.

    How full its longest queue is, and how to ask for the addresses of a name. Raises StartError.
    """
    if settings.no_rdns_whitelist:
        return None, None
    # Imported where it is wanted: with -b no query leaves the host, and c-ares is not even there.
    from mxallowd.dns import resolver  # noqa: PLC0415
    from mxallowd.sinks.rdns import RdnsSink  # noqa: PLC0415

    resolver.check()
    with signals.within(LIBRARY_START_S, "the resolver"):
        asking = resolver.Resolver(asyncio.get_running_loop(), settings.dns_server, log)
    rdns = RdnsSink(settings, hostlog, whitelist, asking)
    stress.watch("lookups-waiting", rdns.fill)
    sinks.append(rdns)
    rdns.named = trial.named
    return rdns.fill, rdns.addresses
