"""What is told of trusted senders: to an operator all of it, to monitoring numbers by line. Nothing here changes them.

Bounds: MOST_LINES lines are shown, those that ask name servers first; MOST_FAULTS faults are named in the status.
"""
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mxallowd.control.exchange import timestamp
from mxallowd.daemon.trustsources import Host
from mxallowd.engine._networks import RECORD_SIZE
from mxallowd.text import printable
from mxallowd.trust import dnswl
from mxallowd.trust.lines import DNSWL, DOMAIN, NETWORK, SPF, TrustLine
from mxallowd.trust.refresh import Known, Refresh

MOST_LINES = 1000
MOST_FAULTS = 20
_ORDER = (SPF, DNSWL, DOMAIN, NETWORK)
SPENT = f"no more may be asked of it today ({dnswl.MOST_A_DAY})"


@dataclass(frozen=True)
class Told:
    """A look at the parts as they are now."""

    path: Path
    read_s: float  # when what holds was read, in seconds since 1970
    fault: str  # of the last reading of the file
    lines: Sequence[TrustLine]
    refresh: Refresh
    zones: Sequence[dnswl.Zone]
    hosts: Mapping[bytes, Host]  # that are let in by dnswl and domain lines
    questions: int
    no_names: str  # why domain lines let nobody in; empty: they do

    def networks(self) -> int:
        """How many networks hold, single hosts by dnswl and domain lines aside."""
        return sum(line.word == NETWORK for line in self.lines) + sum(map(_networks, self.refresh.known()))

    def faults(self) -> list[str]:
        """What is wrong now: FILE:LINE: reason, the file itself first."""
        found = [self.fault] if self.fault else []
        found += [f"{one.line.where}: {one.line.text}: {one.fault}" for one in self.refresh.known() if one.fault]
        found += [f"{zone.line.where}: {zone.line.text}: {_zone_fault(zone)}" for zone in self.zones
                  if _zone_fault(zone)]
        domain = next((line for line in self.lines if line.word == DOMAIN), None)
        return [*found, f"{domain.where}: {self.no_names}"] if domain and self.no_names else found

    def summary(self) -> dict[str, object]:
        """For the status."""
        faults = self.faults()
        return {"file": str(self.path), "lines": len(self.lines), "networks": self.networks(),
                "hosts": len(self.hosts), "faults": faults[:MOST_FAULTS],
                "more_faults": max(0, len(faults) - MOST_FAULTS)}

    def document(self) -> dict[str, object]:
        """For GET /v1/trust."""
        by_line = Counter(host.key for host in self.hosts.values())
        known = {one.line.number: one for one in self.refresh.known()}
        zones = {zone.line.number: zone for zone in self.zones}
        shown = list(islice((line for word in _ORDER for line in self.lines if line.word == word), MOST_LINES))
        return {
            "file": str(self.path), "read": timestamp(self.read_s), "fault": self.fault or None,
            "networks": self.networks(), "hosts": len(self.hosts), "questions": self.questions,
            "lines": [self._line(line, known.get(line.number), zones.get(line.number), by_line[line.text])
                      for line in sorted(shown, key=lambda line: line.number)],
            "left_out": len(self.lines) - len(shown)}

    def values(self) -> dict[str, dict[str, float]]:
        """For metrics, by the number of the line: strangers may ask for them, so no domain is named."""
        now_s, known = time.time(), self.refresh.known()
        return {"trust_line_networks": {str(one.line.number): _networks(one) for one in known},
                "trust_answer_age_seconds": {str(one.line.number): max(0.0, now_s - one.answer.learned_s)
                                             for one in known if one.answer}}

    def _line(self, line: TrustLine, known: Known | None, zone: dnswl.Zone | None, hosts: int) -> dict[str, object]:
        found: dict[str, object] = {
            "line": line.number, "kind": line.word, "subject": printable(line.subject),
            "score": line.score if line.word == DNSWL else None, "first_mx_only": line.first_mx_only,
            "note": line.note, "networks": 1 if line.word == NETWORK else 0, "hosts": hosts, "learned": None,
            "age_seconds": None, "life_seconds": None, "next": None, "next_seconds": None, "asked_now": False,
            "fault": None, "left_out": [], "wrong": [], "passed_over": None}
        now_s = time.time()
        if known is not None:
            answer = known.answer
            found |= {"networks": _networks(known), "fault": known.fault or None, "left_out": list(known.left_out),
                      "wrong": list(known.wrong),
                      "asked_now": self.refresh.is_asked(line.subject),
                      "next": timestamp(known.due_s) if known.due_s else None,
                      "next_seconds": max(0, round(known.due_s - now_s)) if known.due_s else None}
            if answer is not None:
                found |= {"learned": timestamp(answer.learned_s), "life_seconds": answer.life_s,
                          "age_seconds": max(0, round(now_s - answer.learned_s))}
        elif zone is not None:
            found |= {"fault": _zone_fault(zone) or None, "passed_over": zone.passed_over}
        elif line.word == DOMAIN:
            found["fault"] = self.no_names or None
        return found


def _networks(known: Known) -> int:
    return len(known.answer.records) // RECORD_SIZE if known.answer else 0


def _zone_fault(zone: dnswl.Zone) -> str:
    return zone.fault or (SPENT if zone.is_spent() else "")
