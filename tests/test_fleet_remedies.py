"""Each fault of the engine that docs/fleet.md knows has a remedy."""
import pytest

from mxallowd.fleet.opening import LinkError
from mxallowd.fleet.remedies import remedy


@pytest.mark.parametrize(("reason", "code", "says"), [
    ("192.0.2.1:6379: Connection refused", "", "start the engine"),
    ("192.0.2.1:6379: no connection within 1 s", "", "firewall"),
    ("192.0.2.1:6379: no answer within 3 s", "", "hangs"),
    ("/run/redis.sock: No such file or directory", "", "unixsocket"),
    ("/run/redis.sock: Permission denied", "", "unixsocketperm"),
    ("the name engine.example has no address", "", "the name in fleet"),
    ("the name engine.example cannot be looked up: no answer", "", "the name in fleet"),
    ("192.0.2.1:6379: the connection is lost: Connection reset by peer", "", "rediss"),
    ("192.0.2.1:6379: the connection is lost: connection closed by server", "", "acl load"),
    ("192.0.2.1:6379: TLS failed: wrong version number", "", "tls-port"),
    ("192.0.2.1:6379: its certificate does not count: unable to get local issuer certificate", "", "fleet-ca-file"),
    ("192.0.2.1:6379: TLS failed: tlsv13 alert certificate required", "", "fleet-cert-file"),
    ("no Sentinel tells where the master x is: 192.0.2.1:26379: it knows no such master", "", "as the Sentinels do"),
    ("it has no memory left (maxmemory), and takes no entries", "OOM", "maxmemory"),
    ("it is a replica without a master", "MASTERDOWN", "master")])
def test_it_has_one(reason: str, code: str, says: str) -> None:
    assert says in remedy(LinkError(reason, code))


def test_what_is_not_known_has_none() -> None:
    assert not remedy(LinkError("something else", "STRANGE"))
