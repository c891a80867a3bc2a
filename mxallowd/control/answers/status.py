"""The status: what runs, since when, with which settings and how full; what an operator looks at first."""
import os
import pwd
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mxallowd import __version__
from mxallowd.control.answers.bodies import no_parameters
from mxallowd.control.answers.reload import Outcome
from mxallowd.control.exchange import Request, Response, Route, timestamp
from mxallowd.log import Log
from mxallowd.settings import Settings


@dataclass(frozen=True)
class Looks:
    """Where the parts of the answer come from; `lists` and `state` are None where there is no such part."""

    settings: Callable[[], Settings]
    log: Log
    fills: Mapping[str, Callable[[], Mapping[str, int]]]  # by the key of the answer
    kernel_tables: Callable[[], Sequence[Mapping[str, object]]]
    stress: Callable[[], bool]
    reload: Callable[[], Outcome | None]
    lists: Callable[[], object] = lambda: None
    state: Callable[[], object] = lambda: None
    broker: Callable[[], str] = str  # why the process that opens files for the sandbox does not run; empty: it does
    trust: Callable[[], object] = lambda: None  # None: there is no --trust
    patience: Callable[[], object] = lambda: None  # None: there is no --patience
    fleet: Callable[[], object] = lambda: None  # None: there is no --fleet
    door: Callable[[], object] = list  # the interfaces of --door


class Status:
    """Tells it."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self._since_s = time.time()

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [Route("GET", "/v1/status", self._show)]

    async def _show(self, request: Request) -> Response:
        no_parameters(request)
        looks = self._looks
        settings = looks.settings()
        queues = settings.queue_num
        reload = looks.reload()
        return Response({
            "version": __version__, "pid": os.getpid(), "since": timestamp(self._since_s), "user": _user(),
            "way": "queue" if queues else "capture", "queues": list(queues or ()),
            "capture": settings.pflog_interface,
            "servers": {"fake": list(map(str, settings.fake_mailserver)),
                        "real": list(map(str, settings.real_mailserver))},
            **{key: dict(fill()) for key, fill in looks.fills.items()},
            "lists": looks.lists(), "trust": looks.trust(), "patience": looks.patience(), "state": looks.state(),
            "fleet": looks.fleet(),
            "kernel_tables": list(looks.kernel_tables()), "door": looks.door(),
            "whitelist_time": settings.whitelist_time, "dry_run": settings.dry_run, "stress": looks.stress(),
            "broker": looks.broker() or None,
            "log_level": "info" if looks.log.takes_info() else "error",
            "reload": None if reload is None else {
                "at": timestamp(reload.at_s), "ok": not reload.reason and not reload.failed,
                "reason": f"{reload.where}: {reload.reason}" if reload.reason else "; ".join(reload.failed) or None}})


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except (KeyError, OSError):
        return str(os.geteuid())
