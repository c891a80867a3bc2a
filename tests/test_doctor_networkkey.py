"""The masks of rules that look up networks of contacts, as nft lists them, against --network-key."""
import pytest

from lab.hosts import Lab
from mxallowd.ctl.doctor import direct
from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import OK, WARNING
from mxallowd.ctl.doctor.networkkey import of_rules


def facts(key: tuple[int, int] | None) -> Facts:
    return Facts((), (), {"network_key": key and list(key), "nft_table": "inet mxallowd"}, None)


@pytest.fixture(scope="module")
def listed() -> str:
    with Lab("nkey") as lab:
        lab.load_ruleset("set.nft", edits={"#net ": ""})
        return str(lab.gateway.run(["nft", "-a", "-t", "list", "ruleset"], capture_output=True, text=True).stdout)


@pytest.mark.parametrize(("key", "states"), [
    ((24, 64), [OK, OK]), ((22, 64), [WARNING, OK]), ((24, 56), [OK, WARNING]), (None, [])])
def test_masks_of_the_ruleset(listed: str, key: tuple[int, int] | None, states: list[str]) -> None:
    found = [one for version in (4, 6) for one in of_rules(listed, facts(key), version)]
    assert [one.state for one in found] == states
    for one in found:
        if one.state == WARNING:
            assert ("mask4 = 255.255.252.0" if key == (22, 64) else "mask6 = ffff:ffff:ffff:ff00::") in one.command


def test_rules_that_show_no_mask_are_passed_over() -> None:
    assert not list(of_rules("ip saddr @mx_net4 accept", facts((22, 56)), 4))


@pytest.mark.parametrize(("settings", "lists", "broken"), [
    ({"direct_after": True, "direct_sets": False}, {}, True), ({"direct_after": True, "direct_sets": True}, {}, False),
    ({"direct_after": False, "direct_sets": False}, {"direct": 3}, True),
    ({"direct_sets": False}, {"direct": 0}, False),
    # Of an older daemon it is not known.
    ({}, {"direct": 3}, False)])
def test_nobody_can_be_led_without_a_place_for_the_sets(
    settings: dict[str, object], lists: dict[str, object], broken: bool,
) -> None:
    known = Facts((), (), {"config": "/etc/mx a.conf", **settings}, {"lists": lists})
    found = list(direct.of_settings(known))
    assert len(found) == broken
    for one in found:
        assert (one.check, one.state) == ("direct-rule", "broken")
        assert one.command.startswith("echo 'direct-table inet mxallowd' >>'/etc/mx a.conf' && ")
