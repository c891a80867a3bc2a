"""Mail that may come in beside the doors: the interfaces of a namespace, as rtnetlink tells of them."""
import json
import sys

from lab.hosts import BRIDGE, REAL4, Lab, ip
from mxallowd.firewall.wanted import Wanted
from tests.daemon_process import SERVERS
from tests.ways import EVERY

# What each of the tuples of doors leaves open, where these are the servers.
ASK = """
import ipaddress, json, sys
from mxallowd.mirrors.kernel.links import Links
doors, servers = json.loads(sys.argv[1])
found = Links(map(ipaddress.ip_address, servers))
print(json.dumps([found.beside(one) for one in doors]))
"""


def test_mail_beside_the_doors_is_said(lab: Lab) -> None:
    """A bridge has the doors of its ports, and they have its; what has no address and no default route is not named."""
    gateway = lab.gateway

    def beside(doors: list[list[str]], servers: tuple[str, ...] = (REAL4,)) -> list[dict[str, str]]:
        asked = json.dumps([doors, servers])
        return list(json.loads(gateway.run([sys.executable, "-c", ASK, asked], capture_output=True, check=True).stdout))

    at = f"-n {gateway.name}"
    ip(f"{at} link add d0 type veth peer name d1", f"{at} link set d0 up", f"{at} link set d1 up",
       f"{at} link add p0 type veth peer name p1", f"{at} link set p0 master {BRIDGE}",
       f"{at} address add 198.51.100.2/24 dev d0", f"{at} -6 route add default dev d0")
    here = {BRIDGE: f"{REAL4} is there"}
    assert beside([[BRIDGE], ["p0"], ["d0"], ["br*"], ["*"], []]) == [{}, {}, here, {}, {}, here]
    default = {"d0": "the default route goes by it"}
    assert beside([[BRIDGE], ["d0"]], ("2001:db8:9::1",)) == [default, {}]
    # A route to several, and addresses that no interface has (DNAT).
    ip(f"{at} route add default nexthop via 198.51.100.1 dev d0 nexthop via 192.0.2.250 dev {BRIDGE}")
    assert beside([["p1"]], ("203.0.113.9",)) == [{**default, BRIDGE: "the default route goes by it"}]
    ip(f"{at} route del default", f"{at} address add 203.0.113.9/32 dev lo")
    assert beside([["p1"]], ("203.0.113.9",)) == [{}]
    lab.load_texts(EVERY["door"].printed(Wanted(doors=("d0",))))
    words = ["-c", "/dev/null", *SERVERS, *EVERY["door"].arguments]
    words[words.index("--door") + 1] = "d0"
    done = gateway.run([sys.executable, "-m", "mxallowd", "--check", *words], capture_output=True, text=True)
    assert done.returncode == 0
    found = [line for line in done.stdout.splitlines() if " door" in line]
    assert len(found) == 1
    assert found[0].startswith(f'system: warning: door: no --door is "{BRIDGE}", but ')
    assert found[0].endswith(" is there; mail that comes in by it is not filtered")
