"""The test suite of RFC 7208, which pyspf's source distribution has, and pyspf itself as the oracle.

scripts/prepare unpacks that distribution into .venv; nothing of it is in this project.
"""
import socket
import warnings
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from mxallowd.dns.resolver import AAAA, MX, TXT, A, LookupFailed, Records

with warnings.catch_warnings():
    # Of its time: "\\d" in plain texts.
    warnings.simplefilter("ignore")
    import spf

SUITE = Path(__file__).parent.parent / ".venv" / "pyspf" / "test" / "rfc7208-tests.yml"
KINDS = {TXT: "TXT", A: "A", AAAA: "AAAA", MX: "MX"}
TTL_S = 7200
Zone = dict[str, list[Any]]  # of a name in lower case: "TIMEOUT", or (kind, data)


class Case(NamedTuple):
    """A test of the suite."""

    name: str
    zone: Zone
    domain: str
    host: IPv4Address | IPv6Address
    results: list[str]


def zone_of(written: dict[str, list[Any]]) -> Zone:
    """Zone data as the suite writes it. Where a name has no TXT record, its SPF records stand for them."""
    zone: Zone = {}
    for name, records in written.items():
        kept = zone.setdefault(name.lower(), [])
        pairs = [pair for record in records for pair in (record.items() if isinstance(record, dict) else [record])]
        has_txt = any(pair[0] == "TXT" for pair in pairs if pair != "TIMEOUT")
        for pair in pairs:
            if pair == "TIMEOUT":
                kept.append(pair)
                continue
            kind, data = pair
            if kind == "SPF" and not has_txt:
                kind = "TXT"
            if data != "NONE":
                kept.append((kind, data))
    return zone


def cases() -> list[Case]:
    """All of them."""
    if not SUITE.exists():
        pytest.skip(f"{SUITE} is missing: scripts/prepare test", allow_module_level=True)
    found = []
    for scenario in yaml.safe_load_all(SUITE.read_text("utf-8")):
        zone = zone_of(scenario["zonedata"])
        for name, test in scenario["tests"].items():
            host = ip_address(test["host"])
            mapped = host.ipv4_mapped if isinstance(host, IPv6Address) else None
            domain = (test["mailfrom"] or test["helo"]).rpartition("@")[2]
            results = test["result"] if isinstance(test["result"], list) else [test["result"]]
            found.append(Case(name, zone, domain, mapped or host, results))
    return found


class Asked:
    """A resolver over a zone; `questions` is what it was asked."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self.questions: list[tuple[str, str]] = []

    async def records(self, name: str, kind: int) -> Records:
        """As Resolver.records."""
        self.questions.append((name, KINDS[kind]))
        seen = set()
        while name not in seen:
            seen.add(name)
            records = self._zone.get(name.lower())
            if records is None:
                if name.startswith("error."):
                    raise LookupFailed("Timeout", timed_out=True)
                return Records([], None)
            if "TIMEOUT" in records and not any(one[0] == KINDS[kind] for one in records if one != "TIMEOUT"):
                raise LookupFailed("Timeout", timed_out=True)
            found = [one[1] for one in records if one != "TIMEOUT" and one[0] == KINDS[kind]]
            if "TIMEOUT" in found:
                raise LookupFailed("Timeout", timed_out=True)
            if found:
                texts = [_text(kind, data) for data in found]
                return Records(texts, TTL_S)
            name = next((one[1] for one in records if one != "TIMEOUT" and one[0] == "CNAME"), name)
        return Records([], None)


def _text(kind: int, data: Any) -> str:
    if kind == MX:
        return str(data[1])
    return data if isinstance(data, str) else "".join(data)


def judge(zone: Zone, domain: str, host: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What pyspf says of a host that sends for a domain."""
    def lookup(name: str, kind: str, *_: object, **__: object) -> Iterator[tuple[tuple[str, str], Any]]:
        for record in zone.get(name.lower(), []):
            if record[0] == kind:
                data = record[1]
                if kind == "AAAA":
                    data = socket.inet_pton(socket.AF_INET6, data)
                elif kind == "TXT":
                    data = tuple(one.encode() for one in ([data] if isinstance(data, str) else data))
                yield (name, kind), data
    monkeypatch.setattr(spf, "DNSLookup", lookup)
    result: str = spf.query(i=host, s=f"somebody@{domain}", h=domain, strict=True).check()[0]
    return result
