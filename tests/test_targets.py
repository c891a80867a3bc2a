"""Every target passes the conformance suite: in memory, sets of nft and ipset in the kernel, pf by its stand-in."""
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import Lab
from lab.namespaces import visit
from mxallowd.engine.events import MAPPED, address_text
from mxallowd.mirrors import Target, TargetError
from mxallowd.mirrors.kernel import privileged
from mxallowd.mirrors.kernel.ipset import LONGEST_TIME_S, IpsetTable
from mxallowd.mirrors.kernel.nfquery import NfQuery
from mxallowd.mirrors.kernel.nft import NftTable
from mxallowd.mirrors.kernel.pf import PfTable
from mxallowd.process import child
from tests.memory_target import MemoryTarget
from tests.strategies import packed
from tests.target_conformance import Conformance, Subject
from tests.test_pf import Pf

KERNEL = tuple(int(part) for part in platform.release().split(".")[:2])


class InMemory(Subject):
    """The one that tests of mirrors use, so that what they show holds for the others."""

    def __init__(self) -> None:
        self.target: MemoryTarget = MemoryTarget()

    def limit(self, room: int) -> None:
        self.target.room = room

    def take_away(self) -> None:
        self.target.copied.clear()
        self.target.fault = TargetError("it is gone")

    def give_back(self) -> None:
        self.target.fault = None

    def holds(self, host: bytes) -> bool:
        return self.target.holds(host)

    def enter_own(self, host: bytes) -> None:
        self.target.copied[host] = None, False


class TestInMemory(Conformance):
    """A dict."""

    @pytest.fixture
    def subject(self) -> Subject:
        """The target in memory."""
        return InMemory()


class InMemoryWithoutTimes(InMemory):
    """As pf is, but with marks."""

    keeps_times = False

    def __init__(self) -> None:
        self.target = MemoryTarget(expires=False)


class TestInMemoryWithoutTimes(Conformance):
    """A dict whose entries do not end by themselves."""

    @pytest.fixture
    def subject(self) -> Subject:
        """The target in memory."""
        return InMemoryWithoutTimes()


class Nft(Subject):
    """Sets with timeouts, in the namespace of the caller."""

    # Linux 6.12: "set element timeout update support".
    corrects_times = KERNEL >= (6, 12)

    def __init__(self) -> None:
        self.limit(100_000)
        self.target: Target = NftTable("inet mx", setup=False, max_entries=1)
        self.query = NfQuery("inet", "mx")

    def limit(self, room: int) -> None:
        sets = "".join(f"add set inet mx mx_{kind}{version} {{ type ipv{version}_addr; flags timeout; size {room}; }}\n"
                       for kind in ("white", "used") for version in (4, 6))
        self._nft(f"add table inet mx\ndelete table inet mx\nadd table inet mx\n{sets}")
        if hasattr(self, "target"):
            self.target.inspect()

    def take_away(self) -> None:
        self._nft("delete table inet mx")

    def give_back(self) -> None:
        self.limit(100_000)

    def holds(self, host: bytes) -> bool:
        name, key = ("mx_white4", host[12:]) if host.startswith(MAPPED) else ("mx_white6", host)
        return bool(self.query.get(name, [key]))

    def enter_own(self, host: bytes) -> None:
        name = "mx_white4" if host.startswith(MAPPED) else "mx_white6"
        self._nft(f"add element inet mx {name} {{ {address_text(host)} }}")

    @staticmethod
    def _nft(commands: str) -> None:
        subprocess.run(["nft", "-f", "-"], input=commands, text=True, check=True)


class TestNft(Conformance):
    """On the real kernel."""

    @pytest.fixture
    def subject(self, lab: Lab) -> Iterator[Subject]:
        """The table `inet mx`, in a namespace of its own."""
        with visit(lab.gateway.name):
            made = Nft()
            made.target.open()
            made.target.inspect()
            yield made
            made.target.close()
            made.query.close()


class IpSet(Subject):
    """Sets with timeouts for iptables."""

    longest_s = LONGEST_TIME_S
    changes_at_once = False
    cannot_hold = frozenset(map(packed, ("0.0.0.0", "::")))

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.give_back()
        self.target: Target = IpsetTable()

    def limit(self, room: int) -> None:
        self.take_away()
        self._create(room)
        self.target.inspect()

    def _create(self, room: int) -> None:
        for name in ("mx_white", "mx_used"):
            for version, kind in ((4, "inet"), (6, "inet6")):
                self._ipset("create", f"{name}{version}", "hash:ip", "family", kind, "timeout", "3600",
                            "maxelem", str(room))

    def take_away(self) -> None:
        self._ipset("destroy")

    def give_back(self) -> None:
        self._create(100_000)

    def holds(self, host: bytes) -> bool:
        name = "mx_white4" if host.startswith(MAPPED) else "mx_white6"
        return self._lab.gateway.run(["ipset", "-q", "test", name, address_text(host)]).returncode == 0

    def enter_own(self, host: bytes) -> None:
        self._ipset("add", "mx_white4" if host.startswith(MAPPED) else "mx_white6", address_text(host), "timeout", "0")

    def _ipset(self, *words: str) -> None:
        self._lab.gateway.run(["ipset", *words], check=True)


class TestIpset(Conformance):
    """On the real kernel."""

    @pytest.fixture
    def subject(self, lab: Lab) -> Iterator[Subject]:
        """Sets in a namespace of their own."""
        made = IpSet(lab)
        with visit(lab.gateway.name):
            made.target.open()
            made.target.inspect()
            yield made
            made.target.close()


class PfStandIn(Subject):
    """A table of pf, whose pfctl is the stand-in."""

    keeps_times = keeps_marks = knows_room = changes_at_once = False

    def __init__(self, pf: Pf) -> None:
        self._pf = pf
        self.target: Target = PfTable("mx-white")

    def limit(self, room: int) -> None:
        self._pf.limit(room)

    def take_away(self) -> None:
        (self._pf.state / "mx-white").unlink()

    def give_back(self) -> None:
        self._pf.declare()

    def holds(self, host: bytes) -> bool:
        return address_text(host) in self._pf.table()


class TestPf(Conformance):
    """By the privileged helper."""

    @pytest.fixture
    def subject(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
        """An empty table."""
        pf = Pf(tmp_path)
        monkeypatch.setattr(privileged, "command", lambda *words: [*pf.prefix, *child.command(*words)])
        made = PfStandIn(pf)
        made.target.open()
        yield made
        made.target.close()
