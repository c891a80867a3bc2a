"""Programs of Debian that `scripts/prepare` unpacked, and what every host of one needs."""
import sys
from pathlib import Path

from lab.hosts import Host
from lab.namespaces import visit

ROOT = Path(__file__).parent.parent
# What stands in /etc of such a host.
IDENTITIES = {
    "passwd": "root:x:0:0::/:/bin/sh\nDebian-exim:x:101:101::/var/spool/exim4:/bin/false\n"
              "postfix:x:102:102::/var/spool/postfix:/bin/false\nnobody:x:65534:65534::/:/bin/false\n",
    "group": "root:x:0:\nDebian-exim:x:101:\npostfix:x:102:\npostdrop:x:103:\nnogroup:x:65534:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "hosts": "127.0.0.1 localhost\n",
    "services": "smtp 25/tcp\ndomain 53/udp\ndomain 53/tcp\n",
}
# How often the host's kernel sends a dropped SYN again, and the milliseconds that it waits at the most: after 1 s
# and after 2 s, and it gives up after 3 s (where the kernel knows no such limit, after 7 s). Usually it does so 6 times
# in 127 s; that changes nothing but the wait, as long as all these SYNs meet the same answer.
_SYN_RETRIES, _LONGEST_WAIT_MS = "2", "1000"


def unpacked(name: str) -> Path:
    """Where a package is: in the environment of this Python, or in that of this checkout."""
    own = Path(sys.prefix) / name
    return own if own.exists() else ROOT / ".venv" / name


def few_syns(host: Host) -> None:
    """Let a connection that is dropped fail after 3 s (of an older kernel than Linux 6.15 after 7 s)."""
    with visit(host.name):
        Path("/proc/sys/net/ipv4/tcp_syn_retries").write_text(_SYN_RETRIES, encoding="ascii")
        longest_wait = Path("/proc/sys/net/ipv4/tcp_rto_max_ms")
        if longest_wait.exists():
            longest_wait.write_text(_LONGEST_WAIT_MS, encoding="ascii")
