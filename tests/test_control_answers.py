"""What an operator asks and changes, on the running daemon: the packet path obeys, and the log has who did it."""
import ipaddress
import time
from datetime import datetime
from pathlib import Path

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from tests.control_client import ask
from tests.daemon_process import SENDER4, SERVERS, DaemonProcess, serving

KEYS = {"address", "origin", "since", "until", "seconds_left", "used", "proven", "note"}


def listed(daemon: DaemonProcess, query: str = "") -> set[str]:
    status, entries = ask(daemon.control, "GET", f"/v1/entries{query}")
    assert status == 200
    assert all(entry.keys() == KEYS for entry in entries)
    return {entry["address"] for entry in entries}


def test_who_is_added_gets_in_until_he_is_removed(guarded: Lab, client: Host) -> None:
    with serving(guarded) as daemon:
        assert client.attempt(REAL4, timeout=0.5) is Attempt.DROPPED
        assert ask(daemon.control, "GET", f"/v1/entries/{SENDER4}")[0] == 404
        status, entry = ask(daemon.control, "POST", "/v1/entries", {"address": SENDER4, "seconds": 60, "note": "bank"})
        assert (status, entry["origin"], entry["note"], entry["seconds_left"]) == (200, "by-hand", "bank", 60)
        assert client.attempt(REAL4) is Attempt.CONNECTED
        # Known, and never shortened.
        shorter = ask(daemon.control, "POST", "/v1/entries", {"address": SENDER4, "seconds": 5})[1]
        assert shorter["seconds_left"] > 50
        assert shorter["note"] == "bank"
        longer = ask(daemon.control, "POST", "/v1/entries", {"network": f"{SENDER4}/32", "seconds": 600})[1]
        assert longer["seconds_left"] > 590
        assert longer["used"]
        assert ask(daemon.control, "DELETE", f"/v1/entries/{SENDER4}") == (200, {"removed": 1})
        assert ask(daemon.control, "DELETE", f"/v1/entries/{SENDER4}")[0] == 404
        assert client.attempt(REAL4, timeout=0.5) is Attempt.DROPPED
        daemon.wait_for(rf"added \[{SENDER4}\] user=0 seconds=60")
        daemon.wait_for(rf"removed user=0 what={SENDER4} count=1")
        counters = ask(daemon.control, "GET", "/v1/counters")[1]
        assert (counters["added"], counters["ended"], counters["real-first"]) == (1, 1, 1)
        assert counters == daemon.counters()


def test_a_note_belongs_to_the_entry_and_not_to_the_next_one(guarded: Lab, client: Host) -> None:
    with serving(guarded, "-t", "2", "--renew", "never") as daemon:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        # Since when is known once the contact has been told.
        daemon.wait_for("whitelisted ")
        entry = ask(daemon.control, "POST", "/v1/entries", {"address": SENDER4, "seconds": 2, "note": "bank"})[1]
        assert (entry["origin"], entry["note"]) == ("contact", "bank")
        # Since the contact; list and export have it, too.
        assert abs(datetime.fromisoformat(entry["since"]).timestamp() - time.time()) < 3
        for target in ("entries", "export"):
            assert [one["since"] for one in ask(daemon.control, "GET", f"/v1/{target}")[1]] == [entry["since"]]
        assert listed(daemon, "?note=BAN") == {SENDER4}
        assert ask(daemon.control, "DELETE", f"/v1/entries/{SENDER4}")[0] == 200
        assert client.attempt(FAKE4) is Attempt.REFUSED
        daemon.wait_for("whitelisted ", times=2)
        assert ask(daemon.control, "GET", f"/v1/entries/{SENDER4}")[1]["note"] is None


def test_lists_filters_and_flush(lab: Lab) -> None:
    with serving(lab) as daemon:
        hosts = [str(ipaddress.ip_address("100.64.0.0") + number) for number in range(3000)] + ["2001:db8:1::1"]
        for first in range(0, len(hosts), 1000):
            body = {"entries": [{"address": host, "note": f"n{host[-1]}"} for host in hosts[first : first + 1000]]}
            assert ask(daemon.control, "POST", "/v1/import", body)[1]["rejected"] == []
        assert listed(daemon) == set(hosts)
        assert listed(daemon, "?network=100.64.1.0/24&used=false&proven=false&origin=by-hand") == set(hosts[256:512])
        assert listed(daemon, "?network=2001:db8::/32") == {"2001:db8:1::1"}
        assert len(listed(daemon, "?limit=700")) == 700
        assert listed(daemon, "?note=N1") == {host for host in hosts if host[-1] == "1"}
        assert listed(daemon, "?used=true") == listed(daemon, "?origin=contact") == set()
        assert ask(daemon.control, "DELETE", "/v1/entries/100.64.0.0/21") == (200, {"removed": 2048})
        assert ask(daemon.control, "GET", "/v1/status")[1]["whitelist"]["entries"] > 0
        assert ask(daemon.control, "DELETE", "/v1/entries") == (200, {"removed": len(hosts) - 2048})
        assert listed(daemon) == set()


def test_an_export_is_imported_again(lab: Lab) -> None:
    with serving(lab) as daemon:
        body = {"entries": [
            {"address": "100.64.0.1", "seconds": 1000, "note": "café"}, {"address": "2001:db8:1::1"},
            {"address": "nonsense"}, {"address": "192.0.2.10"}, {"address": "100.64.0.2", "seconds": 0}, {},
            {"address": "::ffff:100.64.0.1", "seconds": 10}]}
        status, answer = ask(daemon.control, "POST", "/v1/import", body)
        assert status == 200
        assert [one["what"] for one in answer.pop("rejected")] == ["nonsense", "192.0.2.10", "100.64.0.2", "None"]
        assert answer == {"entered": 2, "known": 1, "networks": 0, "left_out": 0, "networks_left_out": 0, "denied": [],
                          "shortened": 0}
        exported = ask(daemon.control, "GET", "/v1/export")[1]
        assert [one.pop("kind") for one in exported] == ["entry"] * 2
        ask(daemon.control, "DELETE", "/v1/entries")
        again = {"entries": [{"address": one["address"], "seconds": one["seconds_left"], "note": one["note"]}
                             for one in exported]}
        assert ask(daemon.control, "POST", "/v1/import", again)[1]["entered"] == 2
        kept = {one["address"]: (one["note"], one["seconds_left"]) for one in exported}
        for one in ask(daemon.control, "GET", "/v1/export")[1]:
            note, seconds = kept[one["address"]]
            assert one["note"] == note
            assert seconds - 5 < one["seconds_left"] <= seconds
        many = {"entries": [{"address": "100.64.0.1"}] * 1001}
        assert ask(daemon.control, "POST", "/v1/import", many)[1]["error"]["code"] == "too-many"


def test_entries_keep_what_they_were_elsewhere(guarded: Lab, client: Host) -> None:
    """More than a quarter of the room, with origin, use and times, bounded by the lifetime of the origin."""
    since = "2026-01-02T03:04:05Z"
    kept = {"origin": "contact", "used": False, "proven": False}
    entries: list[dict[str, object]] = [
        {"address": f"100.64.0.{number}", "seconds": 9000, **kept} for number in range(1, 97)]
    entries += [
        {"address": SENDER4, "seconds": 6000, "origin": "contact", "used": True, "proven": True},
        {"address": "100.64.1.1", "seconds": 90_000, "origin": "by-hand", "note": "bank", "since": since},
        {"address": "100.64.1.2", "seconds": 90_000, "origin": "child", "note": "mx.example.org", "since": since},
        {"address": "100.64.1.6", "seconds": 90_000, "origin": "outbound"},
        {"address": "100.64.1.3", "origin": "magic"}, {"address": "100.64.1.4", "origin": "contact", "used": 1},
        {"address": "100.64.1.5", "origin": "child", "since": "today"}]
    with serving(guarded, "--max-entries", "128", "-t", "3600", "--proven-time", "5000") as daemon:
        for check in ({"check": True}, {}):
            answer = ask(daemon.control, "POST", "/v1/import", {"entries": entries, **check})[1]
            assert [answer[key] for key in ("entered", "known", "left_out", "shortened")] == [100, 0, 0, 99]
        assert [one["what"] for one in answer["rejected"]] == ["100.64.1.3", "100.64.1.4", "100.64.1.5"]
        found = {one["address"]: one for one in ask(daemon.control, "GET", "/v1/export")[1]}
        assert {key: found["100.64.0.9"][key] for key in kept} == kept
        assert [round(found[host]["seconds_left"] / 100) for host in (
            "100.64.0.9", "100.64.1.1", "100.64.1.2", SENDER4, "100.64.1.6")] == [36, 900, 36, 50, 50]
        assert [(found[host]["origin"], found[host]["note"], found[host]["since"])
                for host in ("100.64.1.1", "100.64.1.2")] == [
            ("by-hand", "bank", since), ("child", "mx.example.org", since)]
        assert (found[SENDER4]["used"], found[SENDER4]["proven"]) == (True, True)
        assert client.attempt(REAL4) is Attempt.CONNECTED
        assert ask(daemon.control, "POST", "/v1/import", {"entries": entries[:100]})[1]["known"] == 100


def test_no_room_removes_nobody(lab: Lab) -> None:
    with serving(lab, "--max-entries", "128") as daemon:
        entries = [{"address": f"100.64.0.{number}"} for number in range(1, 201)]
        answer = ask(daemon.control, "POST", "/v1/import", {"entries": entries})[1]
        assert answer["left_out"] == 200 - answer["entered"] > 0
        assert len(listed(daemon)) == answer["entered"]
        status, told = ask(daemon.control, "POST", "/v1/entries", {"address": "100.64.1.1"})
        assert (status, told["error"]["code"]) == (409, "no-room")
        assert "there is no room for 100.64.1.1: " in told["error"]["message"]
        assert ask(daemon.control, "GET", "/v1/counters")[1]["evicted"] == 0


def test_a_reload_says_what_came_of_it(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "mx.conf"
    whole = "".join(f"{'fake' if name == '-f' else 'real'}-mailserver {address}\n"
                    for name, address in zip(SERVERS[::2], SERVERS[1::2], strict=True)) + "queue-num 23\n"
    file.write_text(whole + "no-rdns-whitelist\n", encoding="ascii")
    with DaemonProcess(lab.gateway, ["-c", str(file)]) as daemon:
        daemon.wait_for("start ")
        status = ask(daemon.control, "GET", "/v1/status")[1]
        assert (status["reload"], status["way"], status["queues"]) == (None, "queue", [23])
        file.write_text(whole + "no-rdns-whitelist\nwhitelist-time 60\nqueue-length 99\n", encoding="ascii")
        assert ask(daemon.control, "POST", "/v1/reload") == (
            200, {"changed": ["whitelist-time"], "restart_needed": ["queue-length"], "lists": [], "warnings": [],
                  "failed": []})
        assert ask(daemon.control, "POST", "/v1/entries", {"address": "100.64.0.1"})[1]["seconds_left"] == 60
        file.write_text(whole + "whitelist-time none\nrenew what\n", encoding="ascii")
        code, answer = ask(daemon.control, "POST", "/v1/reload")
        assert (code, answer["error"]["code"]) == (422, "reload-failed")
        assert answer["error"]["message"].startswith(f"{file}:6: whitelist-time")
        reload = ask(daemon.control, "GET", "/v1/status")[1]["reload"]
        assert not reload["ok"]
        assert reload["reason"] == answer["error"]["message"]
        # As SIGHUP does, it waits while somebody writes.
        with file.open("w", encoding="ascii") as half:
            half.write(whole)
            half.flush()
            half.write("no-rdns-whitelist\n")
        assert ask(daemon.control, "POST", "/v1/reload")[0] == 200


def test_the_level_of_the_log(lab: Lab) -> None:
    with serving(lab) as daemon:
        assert ask(daemon.control, "PUT", "/v1/log-level", {"level": "error"}) == (200, {"level": "error"})
        assert ask(daemon.control, "GET", "/v1/status")[1]["log_level"] == "error"
        daemon.wait_for("log-level user=0 set=error")
        assert ask(daemon.control, "PUT", "/v1/log-level", {"level": "info"})[0] == 200
        assert ask(daemon.control, "PUT", "/v1/log-level", {"level": ["info"]})[0] == 400
        assert ask(daemon.control, "GET", "/v1/log-level") == (200, {"level": "info"})
