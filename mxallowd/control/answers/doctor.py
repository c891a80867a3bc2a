"""GET /v1/doctor: what only the daemon knows of itself, for `mxallowctl doctor`, which looks at the rest."""
import os
import time
from collections.abc import Callable, Mapping, Sequence

from mxallowd import __version__
from mxallowd.control.answers.bodies import no_parameters
from mxallowd.control.exchange import Request, Response, Route, timestamp
from mxallowd.mirrors.kernel import has_direct
from mxallowd.settings import Settings


class Doctor:
    """Tells it."""

    def __init__(
        self, settings: Callable[[], Settings], kernel_tables: Callable[[], Sequence[Mapping[str, object]]],
        network_sets: Callable[[], Sequence[Mapping[str, object]]], counters: Callable[[], Mapping[str, int]],
        kept: Callable[[], Mapping[str, object]] = lambda: {
            "state": None, "lists": None, "broker": None, "trust": None, "door": [], "fleet": None, "report": None},
    ) -> None:
        """Both kinds of tables as objects of `name`, `in_step`, `fault`; `kept`: what else the status has as well."""
        self._settings = settings
        self._kernel_tables = kernel_tables
        self._network_sets = network_sets
        self._counters = counters
        self._kept = kept

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [Route("GET", "/v1/doctor", self._tell)]

    async def _tell(self, request: Request) -> Response:
        no_parameters(request)
        return Response({
            "version": __version__, "pid": os.getpid(), "user_id": os.geteuid(), "group_id": os.getegid(),
            "clock": timestamp(time.time()), "settings": told(self._settings()),
            "kernel_tables": [dict(one) for one in self._kernel_tables()],
            "network_sets": [dict(one) for one in self._network_sets()], **self._kept(),
            "counters": {name: value for name, value in self._counters().items()
                         if name in ("received", "overflow", "queue-full", "lost-by-kernel", "came-again",
                                     "not-rejected")}})


def told(settings: Settings) -> dict[str, object]:
    """The settings that doctor asks for, as JSON has them."""
    return {
        "fake": list(map(str, settings.fake_mailserver)), "real": list(map(str, settings.real_mailserver)),
        "queues": list(settings.queue_num or ()), "capture": settings.pflog_interface,
        "nft_table": settings.nft_table, "nft_setup": settings.nft_setup, "ipset": settings.ipset,
        "door": list(settings.door),
        "pf_table": settings.pf_table,
        "verdict_mark": "{:#x}/{:#x}".format(*settings.verdict_mark) if settings.verdict_mark else None,
        "refuse": settings.refuse, "refuse_mark": "{:#x}/{:#x}".format(*settings.refuse_mark),
        "network_key": list(settings.network_key) if settings.network_key else None,
        "learn_outbound": settings.learn_outbound,
        "direct_after": settings.direct_after is not None, "direct_sets": has_direct(settings),
        "queue_length": settings.queue_length, "rdns": not settings.no_rdns_whitelist,
        "dns_servers": list(settings.dns_server), "sandbox": not settings.no_sandbox,
        "watchdog": not settings.no_watchdog, "dry_run": settings.dry_run, "config": str(settings.config),
        "state_dir": str(settings.state_dir), "control": str(settings.control), "fleet": _fleet(settings)}


def _fleet(settings: Settings) -> dict[str, object] | None:
    """Where its engine is, and the files by which it is asked."""
    if settings.fleet is None:
        return None
    files = {"login_file": settings.fleet_login_file, "ca_file": settings.fleet_ca_file,
             "cert_file": settings.fleet_cert_file, "cert_key_file": settings.fleet_cert_key_file}
    return {"engine": str(settings.fleet), "site": settings.fleet_site,
            **{key: None if path is None else str(path) for key, path in files.items()}}
