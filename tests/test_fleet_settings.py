"""The options of the fleet: addresses of an engine, names, and what belongs together."""
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.settings.fleet import Secret, engine, origin, own_origin, site
from tests.test_settings import MINIMUM, good, messages, settings_of

FLEET = f"{MINIMUM} --fleet redis://192.0.2.53 --fleet-site example --fleet-key-file /etc/mxallowd/fleet.key"


def warnings(command_line: str) -> list[str]:
    settings, problems = settings_of(command_line)
    assert settings is not None
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(("text", "hosts", "tls", "master", "database"), [
    ("redis://192.0.2.53", (("192.0.2.53", 6379),), False, None, 0),
    ("redis://engine.example/", (("engine.example", 6379),), False, None, 0),
    ("redis://192.0.2.53:7000/3", (("192.0.2.53", 7000),), False, None, 3),
    ("rediss://[2001:db8::53]:7000", (("2001:db8::53", 7000),), True, None, 0),
    ("redis://[fe80::1%eth0]", (("fe80::1%eth0", 6379),), False, None, 0),
    ("redis://s1,s2:7000,[2001:db8::3]/mymaster", (("s1", 26379), ("s2", 7000), ("2001:db8::3", 26379)), False,
     "mymaster", 0),
    ("rediss://s1/mymaster", (("s1", 26379),), True, "mymaster", 0),
])
def test_addresses(
    text: str, hosts: tuple[tuple[str, int], ...], tls: bool, master: str | None, database: int,
) -> None:
    found = engine(text)
    assert (found.hosts, found.tls, found.master, found.database) == (hosts, tls, master, database)
    assert str(found) == text


@pytest.mark.parametrize(("time_s", "alone_s", "fleet_s"), [(28_800, 3600, 60), (400, 50, 50), (4, 0.5, 0.5)])
def test_a_contact_renews_sooner_in_a_fleet(time_s: int, alone_s: float, fleet_s: float) -> None:
    for line, wanted_s in ((MINIMUM, alone_s), (FLEET, fleet_s)):
        settings, _ = settings_of(f"{line} --whitelist-time {time_s}")
        assert settings is not None
        assert settings.renewed_after_us == wanted_s * 1_000_000


def test_sockets() -> None:
    assert engine("unix:///run/redis/redis.sock").socket == Path("/run/redis/redis.sock")
    assert engine("unix:///run/redis.sock?db=2").database == 2


@pytest.mark.parametrize(("text", "reason"), [
    ("192.0.2.53:6379", "is not the address of an engine"), ("http://192.0.2.53", "is not the address of an engine"),
    ("redis://", "has no host"), ("redis://s1,,s2/m", "has no host"), ("redis://:6379", "in the place of a host"),
    ("redis://2001:db8::53", "in the place of a host"), ("redis://h:0", "out of range"),
    ("redis://h:70000", "out of range"), ("redis://h:", "is not a number"), ("redis://h/0/1", "neither a database nor"),
    ("redis://a,b", "several hosts and no name"), ("redis://a,b/0", "several hosts and no name"),
    ("redis://h?db=1", "has a part"), ("unix://run/x", "a third /"), ("unix:///", "a third /"),
    ("unix:///x?db=1&db=2", "db=N alone"), ("unix:///x?timeout=1", "db=N alone"), ("redis://h#x", "has a part"),
    ("redis://" + ",".join("abcdefghijklmnopq") + "/m", "more than 16 hosts")])
def test_what_is_no_address(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        engine(text)


@pytest.mark.parametrize("text", [
    "redis://user:pa55@h", "redis://:pa55@h:1", "rediss://pa55@h,g/m", "unix://u:pa55@/run/x", "http://u:pa55@h",
    "u:pa55@h", "redis://u:pa55@@h", "redis://u:pa@55@h", "redis://h?password=pa55", "redis://:x@h?password=pa55",
    "redis://h/0?db=1&Password=pa55", "unix:///x?password=pa55", "redis://h?username=pa55", "h?pass=pa55"])
def test_a_password_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(Secret, match=r"fleet-login-file"):
        engine(text)
    (said,) = [one for one in messages(f"{FLEET} --fleet {text}") if "fleet:" in one]
    assert "has a user or a password in it" in said
    assert "pa55" not in said
    assert "pa@55" not in said


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_an_error(text: str) -> None:
    try:
        found = engine(text)
    except ValueError:
        return
    assert (found.socket is None) == bool(found.hosts)


def test_names() -> None:
    assert (site("example.org"), origin("mx-1_a.b")) == ("example.org", "mx-1_a.b")
    for wrong in ("", "a b", "a/b", "ä", "a" * 33, "a\n"):
        with pytest.raises(ValueError, match="is not the name of a site"):
            site(wrong)
    with pytest.raises(ValueError, match="is not the name of a gateway"):
        origin("a" * 65)
    assert origin(own_origin()) == own_origin()


def test_what_belongs_together() -> None:
    assert good(FLEET).fleet_site == "example"
    assert messages(f"{MINIMUM} --fleet redis://h") == [
        "settings: fleet needs fleet-site", "settings: fleet needs fleet-key-file"]
    assert warnings(f"{MINIMUM} --fleet-site x") == ["settings: warning: fleet-site does nothing without fleet"]
    assert warnings(f"{FLEET} --fleet-ca-file /x") == [
        "settings: warning: fleet-ca-file does nothing: redis://192.0.2.53 is without TLS (rediss)"]
    assert messages(f"{FLEET} --fleet rediss://h --fleet-cert-key-file /x") == [
        "settings: fleet-cert-key-file needs fleet-cert-file, the certificate of that key"]


@pytest.mark.parametrize("text", [
    "redis://300.1.1.1", "redis://-a", "redis://1.2.3", "unix:///tmp/a,unix:///tmp/b", "redis://s1,s2,s1/mx"])
def test_what_can_be_no_engine(text: str) -> None:
    with pytest.raises(ValueError, match="has "):
        engine(text)
    # Nothing is said of the other options for it.
    (said,) = messages(f"{FLEET} --fleet {text}")
    assert text in said


def test_one_sentinel_may_be_a_mistake() -> None:
    (said,) = warnings(f"{FLEET} --fleet redis://192.0.2.53/example")
    assert "asks one Sentinel, 192.0.2.53 port 26379, for the master example" in said
    assert not warnings(f"{FLEET} --fleet redis://192.0.2.53,192.0.2.54,192.0.2.55/example")
