"""The door of way d): what only a program can do for a ruleset that decides at the ingress of interfaces.

Each second the quota of its flood rule is refilled, so that mxallowd is shown some of whom it refuses; without that
the kernel refuses them all the same. Every few seconds it is looked whether a chain of the operator's table stands at
each interface of --door: the kernel takes it away with the interface, and does not always put it back when that comes
again. It is also looked whether mail may come in beside the doors, by an interface that has an address of a server or
the default route.

Both are done by a thread of their own: a filling of large sets may keep the kernel for seconds, and neither the main
loop nor a change of the whitelist is to wait. Which way it fails: what cannot be asked is left as it was last known,
and mail goes on as the ruleset has it. Where no chain stands at an interface, nobody who comes in by it is refused;
that is said.
"""
import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from mxallowd.log import Log
from mxallowd.mirrors import TargetError
from mxallowd.mirrors.jobs import Jobs, guarded
from mxallowd.mirrors.kernel.nftdoor import NftDoor
from mxallowd.mirrors.mirror import CHECK_S
from mxallowd.settings import Settings
from mxallowd.sinks.bucket import Bucket

# Nothing is lost with a kernel that does not answer.
FINISH_S = 1.0
# An interface that comes and goes: so many lines an hour, and so many at once.
LINES_AN_HOUR, LINES_AT_ONCE = 60, 20
MOST_BESIDE = 100  # names of interfaces that door-beside has told of
_Found = tuple[Mapping[str, str], Mapping[str, str] | None]  # faults of doors, and what stands beside them if known
_OPEN = "no chain stands at an interface of --door, so nobody who comes in by it is refused there (mxallowctl doctor)"


class Door:
    """Looks after the door of one table."""

    def __init__(
        self, door: NftDoor, settings: Settings, log: Log, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._door = door
        self._interfaces = settings.door
        self._servers = (*settings.fake_mailserver, *settings.real_mailserver)
        self._refills = refills(settings)
        self._log = log
        self._clock = clock
        self._faults: dict[str, str] = {}
        self._said: dict[str, str] = {}
        self._beside: dict[str, str] = {}
        self._said_beside: set[str] = set()
        self._lines = Bucket(LINES_AN_HOUR / 3600, LINES_AT_ONCE, clock)
        self._looked_at = float("-inf")
        self._jobs: Jobs | None = None
        self._asked: asyncio.Future[_Found | None] | None = None

    def open(self) -> None:
        """Reach the kernel, and look for the first time. Raises StartError."""
        self._door.open()
        try:
            self._take(guarded(self._work(look=True)))
        except TargetError:
            # The mirror of the same table says it.
            return

    def start(self) -> None:
        """Begin to work, on the running loop."""
        self._jobs = Jobs(asyncio.get_running_loop(), "door")

    def tick(self) -> None:
        """Refill, and look where that is due, if the kernel has answered what was asked before."""
        if self._jobs is None or (self._asked is not None and not self._asked.done()):
            return
        look = self._clock() - self._looked_at >= CHECK_S
        if look or self._refills:
            work = self._work(look=look)
            self._asked = self._jobs.submit(lambda: guarded(work))
            self._asked.add_done_callback(self._answered)

    def _work(self, *, look: bool) -> Callable[[], _Found | None]:
        """What the thread does."""
        if look:
            self._looked_at = self._clock()

        def work() -> _Found | None:
            if self._refills:
                self._door.refill()
            if not look or not self._interfaces:
                return None
            faults = self._door.faults(self._interfaces)
            try:
                return faults, self._door.beside(self._interfaces, self._servers)
            except TargetError:
                # That the doors are well is worth more than what stands beside them.
                return faults, None

        return work

    def _answered(self, answer: "asyncio.Future[_Found | None]") -> None:
        if answer.cancelled():
            return
        error = answer.exception()
        if error is None:
            self._take(answer.result())
        elif not isinstance(error, TargetError):
            answer.get_loop().call_exception_handler({"message": "door", "exception": error})

    def _take(self, found: _Found | None) -> None:
        if found is None:
            return
        self._faults = dict(found[0])
        self._beside = self._beside if found[1] is None else dict(found[1])
        for interface in self._interfaces:
            fault, said = self._faults.get(interface, ""), self._said.get(interface, "")
            # Where it is on its way from one fault to the other, the first one was enough.
            if bool(fault) == bool(said) or not self._lines.take():
                continue
            self._said[interface] = fault
            if fault:
                self._log.warning("door-open", interface=interface, reason=fault)
            else:
                self._log.info("door-closed", interface=interface)
        for interface in sorted(self._beside.keys() - self._said_beside):
            # Once each: whose gateway it is may mean it so.
            if len(self._said_beside) < MOST_BESIDE and self._lines.take():
                self._said_beside.add(interface)
                self._log.warning("door-beside", interface=interface, reason=self._beside[interface])

    def reload(self, settings: Settings) -> None:
        """Other interfaces need a restart."""

    def counters(self) -> dict[str, int]:
        """None."""
        return {}

    def status(self) -> list[dict[str, object]]:
        """Each interface, and why what comes in by it is not decided, where that is so."""
        place = "prerouting" if self._door.everywhere else "ingress"
        found: list[dict[str, object]] = [
            {"interface": one, "fault": self._faults.get(one), "beside": False, "place": place}
            for one in self._interfaces]
        return found + [{"interface": one, "fault": f"it is no --door, but {why}", "beside": True, "place": None}
                        for one, why in sorted(self._beside.items())]

    def warnings(self) -> list[str]:
        """What /readyz says; strangers may ask, so it names no interface."""
        return [_OPEN] if self._faults else []

    def close(self) -> None:
        """Leave all as it is."""
        if self._jobs is None:
            self._door.close()
        else:
            self._jobs.finish(self._door.close, FINISH_S)
        self._jobs = None


def refills(settings: Settings) -> bool:
    """Whether the ruleset may have a quota that is to be refilled: the firewall decides, and shows packets by NFLOG."""
    return (settings.nft_table is not None and not settings.queue_num
            and (settings.pflog_interface or "").startswith("nflog:"))


def create_doors(settings: Settings, log: Log) -> Sequence[Door]:
    """One, where there is anything for it to do."""
    if settings.nft_table is None or not (settings.door or refills(settings)):
        return []
    return [Door(NftDoor(settings.nft_table), settings, log)]
