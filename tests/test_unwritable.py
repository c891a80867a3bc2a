"""Tables that cannot be written, or not as much at once: somebody else's table, and namespaces of users."""
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, RULESETS, Lab
from lab.namespaces import visit
from mxallowd.errors import StartError
from mxallowd.mirrors import Listed, TargetError
from mxallowd.mirrors.kernel.netlink import CREATE, Netlink, error_number, packed
from mxallowd.mirrors.kernel.nfmessages import NAME, NEWSET, NEWTABLE, Batch, set_declared, text
from mxallowd.mirrors.kernel.nft import NftTable
from tests import strategies
from tests.daemon_process import SENDER4, SERVERS, DaemonProcess
from tests.memory_target import Scene, run
from tests.strategies import HOSTS

ROOT = Path(__file__).parent.parent
OWNED = packed(2, (2).to_bytes(4, "big"))  # NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER
NFT = ("--nft-table", "inet mxallowd")


@contextmanager
def owned_table(lab: Lab) -> Iterator[None]:
    """The table with its sets, owned by a socket of ours: others may only read it. It goes with the socket."""
    with visit(lab.gateway.name):
        owner = Netlink("owner")
    batch = Batch(owner, 1, "mxallowd", 200_000)
    batch.append(NEWTABLE, CREATE, OWNED)
    for place, (name, kind) in enumerate((("mx_white4", "ipv4_addr"), ("mx_white6", "ipv6_addr")), 1):
        batch.append(NEWSET, CREATE, text(NAME, name), set_declared(kind, 1000, place))
    batch.finish()
    [(first, part)] = batch.parts(200_000)
    owner.send(part)
    assert [error_number(body) for _, _, body in owner.receive(first)] == [0]
    yield
    owner.close()


def test_without_a_queue_the_start_fails(lab: Lab) -> None:
    arguments = ["-c", "/dev/null", *SERVERS, "-b", "-p", "nflog:5", *NFT]
    with owned_table(lab), DaemonProcess(lab.gateway, arguments) as daemon:
        assert daemon.process.wait(10) == 1
        assert daemon.process.stderr
        [line] = daemon.process.stderr.read().splitlines()
        reason = "nft inet mxallowd cannot be written, so nobody new would get in: Operation not permitted"
        assert line == f"mxallowd: {reason}"
        assert daemon.messages()[-1] == f'start-failed reason="{reason}"'


def test_with_a_queue_it_is_said_and_it_serves(lab: Lab) -> None:
    arguments = ["-c", "/dev/null", *SERVERS, "-b", "-n", "23", *NFT]
    with owned_table(lab), DaemonProcess(lab.gateway, arguments) as daemon:
        daemon.wait_for('kernel-table-broken table="nft inet mxallowd" reason="Operation not permitted"')
        daemon.wait_for("start ")
        assert daemon.counters()["kernel-table-failed"] >= 1
        # An inspection finds the sets as they must be, but that is not enough.
        assert daemon.counters()["kernel-table-filled"] == 0
        assert daemon.stop() == 0
        assert not [line for line in daemon.messages() if line.startswith("defect")]


@pytest.mark.parametrize("decides", [True, False])
def test_a_probe_that_fails(decides: bool) -> None:
    async def story() -> None:
        # --ipset alone has no queue.
        scene = Scene("-p nflog:5" if decides else "-n 23")
        scene.mirror._decides = decides
        scene.target.unwritable = TargetError("read-only")
        if decides:
            with pytest.raises(StartError, match="memory cannot be written, so nobody new would get in: read-only"):
                scene.open()
            return
        scene.open()
        assert scene.lines == ["kernel-table-broken table=memory reason=read-only"]
        assert scene.mirror.counters()["kernel-table-failed"] == 1
        scene.contact(HOSTS[0])
        scene.later(4)
        await scene.until(lambda: scene.target.calls[-1] == "probe" and scene.target.calls.count("probe") > 1)
        assert not scene.target.calls.count("refill")
        scene.target.unwritable = None
        scene.later(10)
        await scene.until(lambda: scene.target.copied.keys() == {HOSTS[0]})
        scene.mirror.close()

    run(story)


@pytest.mark.parametrize("error", [PermissionError(1, "Operation not permitted"), OSError(105, "No buffer space"),
                                   MemoryError()])
def test_what_the_system_refuses_is_a_broken_table_and_no_defect(error: Exception) -> None:
    async def story() -> None:
        scene = Scene()
        scene.open()
        await scene.until(lambda: "totals" in scene.target.calls)
        scene.target.fault = error
        scene.contact(HOSTS[0])
        reason = {"MemoryError": '"no memory for it"'}.get(type(error).__name__, f'"{getattr(error, "strerror", "")}"')
        await scene.until(lambda: scene.lines == [f"kernel-table-broken table=memory reason={reason}"])
        assert scene.mirror.counters()["kernel-table-failed"] == 1
        await scene.mirror.refresh()
        scene.mirror.close()
        assert not any(line.startswith("defect") for line in scene.lines)

    run(story)


def test_a_target_that_fails_at_the_start_is_no_traceback() -> None:
    async def story() -> None:
        scene = Scene()
        scene.target.fault = PermissionError(1, "Operation not permitted")
        scene.open()
        assert scene.lines == ['kernel-table-broken table=memory reason="Operation not permitted"']
        scene.mirror.close()

    run(story)


def test_without_rights_the_kernel_answers_at_once(lab: Lab) -> None:
    """What is wrong with all of a transaction comes back for its beginning; nobody waits half a minute for it."""
    script = ("import time; from mxallowd.mirrors.kernel.nfquery import NfQuery\n"
              "query = NfQuery('inet', 'mx'); batch = query.batch(); batch.empty('mx_white4'); at = time.monotonic()\n"
              "try: query.commit(batch)\n"
              "except Exception as error: print(error, time.monotonic() - at < 2)")
    done = lab.gateway.run(["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", sys.executable, "-c", script],
                           capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "Operation not permitted True\n", done.stderr


# ---- a namespace of users: SO_SNDBUFFORCE is refused there, whoever asks

USERS = ["unshare", "--user", "--map-root-user", "--net"]

MANY = """
import json, sys
from mxallowd.mirrors import Listed
from mxallowd.mirrors.kernel import netlink
from mxallowd.mirrors.kernel.nft import NftTable
from tests.strategies import listing
from tests.target_conformance import many
table = NftTable("inet mx", setup=True, max_entries=int(sys.argv[1])); table.open(); table.inspect(); table.probe()
hosts = many(20_000)
found = {}
# As where /proc/sys/net/core/wmem_max is a quarter of what the kernel has by itself.
netlink._LARGEST = 53_248
table.change([Listed(host, 3600, used=True, fresh_s=1000) for host in hosts[:3000]], [])
found["change"] = len(table.read()[0])
table.change([Listed(host, 1800, used=True) for host in hosts[:3000]], [hosts[3000]])
found["corrected"] = all(1700 < one.remaining_s <= 1800 for one in table.read()[0])
if len(sys.argv) > 2:
    found["left_out"] = table.refill(listing(*(Listed(host, 3600, used=False) for host in hosts[2000:])))
else:
    found["left_out"] = table.refill(listing(*(Listed(host, 3600, used=False) for host in hosts)))
found["room"] = table._query.room(10_000_000)
found["held"] = len(table.read()[0])
found["missing"] = len(table.missing({host: False for host in hosts[-1000:]}))
print(json.dumps(found))
"""


def in_user_namespace(*words: str) -> dict[str, object]:
    done = subprocess.run([*USERS, sys.executable, "-c", MANY, *words], capture_output=True, text=True, cwd=ROOT,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_in_a_user_namespace_batches_fit_the_buffer() -> None:
    found = in_user_namespace("20000")
    assert found == {
        "room": 2 * 53_248 - 32, "change": 3000, "corrected": True, "left_out": 0, "held": 20_000, "missing": 0}


def test_in_a_user_namespace_a_full_set_is_exchanged() -> None:
    """9400 places in each set, of which some are taken by hosts that are to go."""
    found = in_user_namespace("4700", "full")
    assert (found["left_out"], found["held"], found["missing"]) == (0, 18_000, 0)


# A sender on this very host, which the ruleset as delivered leaves alone.
INSIDE = f"""
ip link set lo up
for address in {FAKE4} {REAL4} {SENDER4}; do ip address add $address/32 dev lo; done
sed '/iif lo return/d; /fib saddr type local/d' {RULESETS / "set.nft"} | nft -f -
exec "$@"
"""
CONTACT = (f"import socket; client = socket.socket(); client.bind(('{SENDER4}', 0))\n"
           f"try: client.connect(('{FAKE4}', 25))\nexcept ConnectionRefusedError: print('refused')")


def test_the_daemon_serves_in_a_user_namespace(lab: Lab) -> None:
    arguments = ["-c", "/dev/null", *SERVERS, "-b", "-p", "nflog:5", *NFT]
    with DaemonProcess(lab.gateway, arguments, prefix=[*USERS, "sh", "-c", INSIDE, "sh"]) as daemon:
        daemon.wait_for("start ")
        enter = ["nsenter", "-t", str(daemon.process.pid), "--user", "--net", "--preserve-credentials"]
        done = subprocess.run([*enter, sys.executable, "-c", CONTACT], capture_output=True, text=True, timeout=10)
        assert done.stdout == "refused\n", done.stderr
        daemon.wait_for(rf"whitelisted \[{SENDER4}\]")
        assert daemon.counters()["kernel-table-failed"] == 0
        held = subprocess.run([*enter, "nft", "list", "set", "inet", "mxallowd", "mx_white4"], capture_output=True,
                              text=True, timeout=10)
        assert SENDER4 in held.stdout
        assert daemon.stop() == 0
        assert not [line for line in daemon.messages() if line.split()[0] in ("defect", "kernel-table-broken")]


def test_a_probe_leaves_nothing_and_takes_nothing_of_the_operators(lab: Lab) -> None:
    with visit(lab.gateway.name):
        table = NftTable("inet mx", setup=True, max_entries=1000)
        table.open()
        table.inspect()
        own = ("0.0.0.0", "255.255.255.255")
        for address in own:
            subprocess.run(["nft", "add", "element", "inet", "mx", "mx_white4", f"{{ {address} }}"], check=True)
        table.probe()
        assert {one.host: one.remaining_s for one in table.read()[0]} == dict.fromkeys(map(strategies.packed, own))
        table.change([Listed(HOSTS[0], 100, used=True)], [])
        table.probe()
        assert len(table.read()[0]) == 3
        table.close()


@pytest.mark.parametrize("flags", ["", "flags interval, timeout"])
def test_a_set_of_the_wrong_kind_ends_the_start_of_way_c(lab: Lab, flags: str) -> None:
    """It can never be written; one that is missing may come later."""
    text = (RULESETS / "set.nft").read_text(encoding="utf-8")
    before, name, after = text.partition("set mx_white4 {")
    lab.gateway.run(["nft", "-f", "-"], input=before + name + after.replace("flags timeout", flags, 1), text=True,
                    check=True)
    command = [sys.executable, "-m", "mxallowd", "-F", "-s", "-c", "/dev/null", *SERVERS, "-b", "-p", "nflog:5", *NFT]
    done = lab.gateway.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert "set mx_white4" in done.stderr
    assert len(done.stderr.splitlines()) == 1
