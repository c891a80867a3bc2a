"""Hosts that are led from the fake server to the real one, in the daemon: their sets, and who learns of such hosts.

What is direct is a part of the lists (lists/composition.py): by a line of trusted senders with `first-mx-only`, by
hand, or learned. So it is allowed in every way, and the sets of the firewall follow.
"""
from collections.abc import Callable, Sequence

from mxallowd.backends.handshakes import Handshakes
from mxallowd.engine.events import address_text
from mxallowd.history.trial import Trial
from mxallowd.history.unled import Unled
from mxallowd.lists.composition import Composition, disjoint_of
from mxallowd.lists.files import breathe
from mxallowd.lists.learned import Learned
from mxallowd.lists.lists import Lists
from mxallowd.log import Log
from mxallowd.mirrors import kernel
from mxallowd.mirrors.kernel import NO_DIRECT
from mxallowd.mirrors.networks import DIRECT_PLACES, Networks
from mxallowd.settings import Settings
from mxallowd.sinks import Sink
from mxallowd.sinks.hostlog import HostLog

NOT_LED = "it is direct and meets the fake server all the same: no rule leads it (mxallowctl doctor)"


def network_sets(settings: Settings, lists: Lists, log: Log) -> list[Networks]:
    """The sets of the firewall that follow the lists: those of allow and deny, and those of direct hosts."""
    denied = not (settings.dry_run and settings.queue_num)
    made = [
        *(Networks(target, lambda: disjoint_of(lists.composition.networks, denied=denied, pause=breathe), log, settings)
          for target in kernel.create_networks(settings)),
        *(Networks(target, lambda: _led(lists.composition), log, settings)
          for target in kernel.create_direct(settings))]
    for networks in made:
        lists.follow(networks.changed)
    return made


def _led(composition: Composition) -> list[list[tuple[int, int]]]:
    """The ranges of both families that are to be led."""
    if composition.direct is None:
        return [[] for _ in DIRECT_PLACES]
    found = disjoint_of(composition.direct.networks, pause=breathe)
    return [found.allow4, found.allow6]


class Direct:
    """Who is direct."""

    def __init__(
        self, settings: Settings, lists: Lists, log: Log) -> None:
        self._lists = lists
        self._log = log
        self._used: Callable[[bytes], object] = lambda host: None
        self._unled: Unled | None = None  # a rehearsal does not know whom today's rules lead
        self._connected: Callable[[bytes], object] = lambda host: None
        self._says = not kernel.has_direct(settings)
        self.reload(settings)
        lists.follow(self._changed)

    def reload(self, settings: Settings) -> None:
        """Say it where somebody is to be learned, and nobody can be led."""
        if self._says and settings.direct_after:
            self._say()

    def learn(
        self, settings: Settings, hostlog: HostLog, sinks: list[Sink], trial: Trial) -> "Direct":
        """This one, which lets `sinks` have one more where names are looked up. `trial` knows who came where."""
        trial.first_mx.is_led = lambda host: self.is_direct(host) and not trial.unled.has(host)
        if (settings.pflog_interface or "").startswith("file:"):
            return self
        self._unled = trial.unled
        trial.unled.changed()
        trial.unled.is_direct, trial.unled.say = self.is_direct, self._say_unled
        if settings.no_rdns_whitelist:
            return self
        # Imported where it is wanted: with -b no query leaves the host, and c-ares is not even there.
        from mxallowd.sinks.direct import DirectSink, Known  # noqa: PLC0415
        from mxallowd.sinks.rdns import RdnsSink  # noqa: PLC0415

        for rdns in [sink for sink in sinks if isinstance(sink, RdnsSink)]:
            sink = DirectSink(
                settings, hostlog, Learned(self._lists), Known(rdns.confirmed_names, trial.knows_real, self.is_direct))
            sinks.append(sink)
            self._used, self._connected = sink.used, sink.connected
        return self

    def hear_of(self, handshakes: Sequence[Handshakes]) -> None:
        """From now on, of those of direct hosts: of whom the kernel lets in by itself, nothing else tells."""
        for one in handshakes:
            one.is_direct = self.connected

    def is_direct(self, host: bytes) -> bool:
        """Whether a host is led to the real server."""
        return self._lists.composition.find_direct(host) is not None

    def connected(self, host: bytes) -> bool:
        """The same of a host that has completed a handshake with the real server."""
        self._connected(host)
        direct = self.is_direct(host)
        if direct:
            if self._unled:
                self._unled.came(host)
            self._used(host)
        return direct

    def _changed(self, composition: Composition) -> None:
        if self._unled:
            self._unled.changed()
        if self._says and composition.direct is not None:
            self._say()

    def _say(self) -> None:
        self._says = False
        self._log.warning("direct-off", reason=NO_DIRECT)

    def _say_unled(self, host: bytes) -> None:
        self._log.warning("direct-not-led", address_text(host), reason=NOT_LED)
