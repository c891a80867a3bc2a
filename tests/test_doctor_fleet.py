"""What doctor says of the fleet: the engine as it is reached here, a real one, and the other gateways."""
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.engine import PORT, Engine, Setup
from lab.gateways import Site
from lab.namespaces import visit
from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import BROKEN, OK, WARNING, Finding
from mxallowd.ctl.doctor.fleet import Failed, check, look
from mxallowd.settings.fleet import CLI
from tests.test_ctl_fleet import BROKEN as UNCONNECTED
from tests.test_ctl_fleet import DOCUMENT, PEERS

KEY = "mxallowd:example:log"
RIGHTS = f"-@all ~{KEY} +xadd +xread +xinfo|stream +ping +info +time +client|setname"
USERS = ("default off", f"gateway on >pa55 {RIGHTS}", "nobody on >pa55 -@all +ping")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Site("mxdoc") as site, Engine(site.place("engine"), Setup(users=USERS)) as made:
        yield made


def told(engine: str, login: Path | None = None) -> dict[str, Any]:
    return {"engine": engine, "site": "example", "login_file": login and str(login), "ca_file": None,
            "cert_file": None, "cert_key_file": None}


def findings(engine: Engine, directory: Path, login: str = "gateway pa55", fleet: Any = None,
             port: int = PORT) -> dict[str, Finding]:
    """By their words; of a daemon where `fleet` says what it tells."""
    file = directory / "login"
    file.write_text(login, encoding="ascii")
    file.chmod(0o600)
    settings = {"fleet": told(f"redis://{engine.address}:{port}", file), "config": "/etc/mx a.conf"}
    with visit(engine.host.name):
        found = list(check(Facts((), (), settings, None if fleet is None else {"fleet": fleet})))
    assert not any("pa55" in text for one in found for text in one)
    return {one.check: one for one in found}


def test_an_engine_that_answers(engine: Engine, tmp_path: Path) -> None:
    assert {name: one.state for name, one in findings(engine, tmp_path).items()} == {"fleet-engine": OK}
    assert findings(engine, tmp_path, fleet=DOCUMENT)["fleet-engine"].state == OK


def test_a_daemon_that_does_not_reach_it(engine: Engine, tmp_path: Path) -> None:
    found = findings(engine, tmp_path, fleet=UNCONNECTED)
    assert "fleet-engine" not in found
    assert found["fleet-daemon"].state == BROKEN
    assert found["fleet-daemon"].what.startswith("the engine redis://")
    assert found["fleet-daemon"].command == "journalctl -t mxallowd -g fleet-  # raise maxmemory of the engine"


@pytest.mark.parametrize(("login", "port", "mend"), [
    ("gateway wrong", PORT, "mxallowctl reload  # once "), ("nobody pa55", PORT, f"{CLI} acl list"),
    ("gateway pa55", 9, "nc -vz -w 3 ")])
def test_an_engine_that_cannot_be_used(engine: Engine, tmp_path: Path, login: str, port: int, mend: str) -> None:
    assert findings(engine, tmp_path, login, DOCUMENT, port)["fleet-engine"].state == WARNING
    found = findings(engine, tmp_path, login, UNCONNECTED, port)
    assert found["fleet-engine"].state == BROKEN
    assert f"{engine.address}:{port}" in found["fleet-engine"].what
    assert found["fleet-engine"].command.startswith(mend)


def test_an_engine_that_throws_away_what_it_has(engine: Engine, tmp_path: Path) -> None:
    engine.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        found = findings(engine, tmp_path)["fleet-policy"]
    finally:
        engine.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert (found.state, "allkeys-lru" in found.what) == (WARNING, True)
    assert found.command.startswith(f"{CLI} config set maxmemory-policy noeviction")


def test_a_replica(engine: Engine, tmp_path: Path) -> None:
    engine.do("REPLICAOF", "192.0.2.1", "6379")
    try:
        found = findings(engine, tmp_path, fleet=DOCUMENT)["fleet-replica"]
    finally:
        engine.do("REPLICAOF", "NO", "ONE")
    assert (found.state, found.command.partition("  #")[0]) == (BROKEN, f"{CLI} info replication")


@pytest.mark.parametrize(("id_", "said"), [("18446744073709551615-18446744073709551615", "largest"),
                                           ("9999999999999-0", "ahead of the engine's clock")])
def test_a_stream_that_nothing_can_be_added_to(engine: Engine, tmp_path: Path, id_: str, said: str) -> None:
    engine.do("XADD", KEY, id_, "d", "x")
    try:
        found = findings(engine, tmp_path)["fleet-stream"]
    finally:
        engine.do("DEL", KEY)
    assert (found.state, said in found.what) == (BROKEN if said == "largest" else WARNING, True)
    assert found.command.startswith(f"{CLI} del {KEY} ")
    assert "fleet-stream" not in findings(engine, tmp_path)


def test_a_login_that_this_user_may_not_read(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Failed("/etc/login: cannot be read: Permission denied", "", True)
    monkeypatch.setattr("mxallowd.ctl.doctor.fleet.look", lambda _: seen)
    settings = {"fleet": told(f"redis://{engine.address}"), "config": "/etc/mx.conf"}
    found = {one.check: one.state for one in check(Facts((), (), settings, {"fleet": UNCONNECTED}))}
    assert (found["fleet-engine"], found["fleet-daemon"]) == (WARNING, BROKEN)


def test_a_name_without_an_address() -> None:
    found = look(told("redis://engine.invalid"))
    assert isinstance(found, Failed)
    assert "engine.invalid" in found.reason


def of_peers(**changes: Any) -> dict[str, Finding]:
    settings = {"fleet": told("unix:///nonexistent/engine"), "config": "/etc/mx a.conf"}
    found = list(check(Facts((), (), settings, {"fleet": {**DOCUMENT, "strangers": [], **changes}})))
    return {one.check: one for one in found if one.check != "fleet-engine"}


def test_gateways_that_are_well() -> None:
    assert {name: one.state for name, one in of_peers(peers=PEERS[:1]).items()} == {"fleet-peers": OK}
    assert of_peers(peers=[])["fleet-peers"].state == WARNING
    # Without the engine nobody is heard.
    silent = {**PEERS[0], "heard_seconds": 400}
    assert "fleet-silent" in of_peers(peers=[silent])
    assert "fleet-silent" not in of_peers(peers=[silent], connected=False)
    # Who has been away for a day was taken out of service.
    strangers = [{**DOCUMENT["strangers"][0], "heard_seconds": 90_000}]
    assert list(of_peers(peers=[{**PEERS[0], "heard_seconds": 90_000}], strangers=strangers)) == ["fleet-peers"]


@pytest.mark.parametrize(("changes", "name", "part"), [
    ({"peers": [{**PEERS[0], "heard_seconds": 7200}]}, "fleet-silent", "mx2 was not heard for 7200 s"),
    ({"peers": [{**PEERS[0], "shared": True}]}, "fleet-origin", "two gateways have the name mx2"),
    ({"peers": [{**PEERS[0], "longest_seconds": 60}]}, "fleet-times", "hosts stay 60 s at most in the"),
    ({"origin_shared": True}, "fleet-origin", "two gateways have the name mx1"),
    ({"strangers": DOCUMENT["strangers"]}, "fleet-key", "mx9 were signed with a key that is not this site's"),
    ({"peers": [{**PEERS[0], "refused": {"late": 5}}]}, "fleet-refused", "5 records of mx2 were not taken as it said"),
    ({"peers": [{**PEERS[0], "refused": {"left-out": 5}}]}, "fleet-refused", "said them: left-out")])
def test_what_is_wrong_with_a_gateway(changes: dict[str, Any], name: str, part: str) -> None:
    found = of_peers(**{"peers": PEERS[:1], **changes})[name]
    assert part in found.what
    assert (found.state, bool(found.why), bool(found.command)) == (WARNING, True, True)


def test_without_the_option_nothing_is_said() -> None:
    assert list(check(Facts((), (), {"fleet": None}, None))) == []
