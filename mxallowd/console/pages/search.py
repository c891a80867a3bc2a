"""Search: what becomes of an address, a name or a network, why, and the clicks that change it.

The daemon judges what was typed, as it does for mxallowctl; its sentence about a mistake is shown beside the form.
"""
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mxallowd.console import fields
from mxallowd.console.asking import Daemon, Document, Refusal, path_of
from mxallowd.console.visit import Page, Visit
from mxallowd.control.exchange import RequestError
from mxallowd.text import quoted

LONGEST = 300  # characters: the longest name, and some blanks
EXAMPLES = ("203.0.113.7", "2001:db8::7", "mail.example.org", "198.51.100.0/24")
# The classes of the time line: what was refused, and what came through.
REFUSED = ("refused", "denied", "would-refuse", "would-deny")
PASSED = ("accepted", "allowed", "handshake", "by-network")
WORDS = {
    "contact": "contacted the fake server", "accepted": "came to the real server for the first time",
    "refused": "was refused", "renewed": "its entry was renewed", "denied": "was refused: a list denies it",
    "allowed": "got in: a list allows it", "handshake": "completed a handshake",
    "by-network": "got in: a contact let in its network", "would-refuse": "would have been refused (dry run)",
    "would-deny": "would have been refused by a list (dry run)"}
DROPS = ("real-refused", "real-denied")


class Verdict(NamedTuple):
    """What is told in big letters."""

    state: str  # of the style: ok, warning, broken, or nothing
    text: str


async def show(visit: Visit, daemon: Daemon) -> Page:
    """The form, and what is known of what was asked for."""
    typed = visit.query.get("q", "")
    what = typed.strip().removeprefix("[").removesuffix("]").strip()
    values: dict[str, object] = {
        "q": typed, "examples": EXAMPLES, "fault": None, "found": None, "back": fields.here("/search", {"q": what}),
        "note": f"by {visit.visitor.name}, console"}
    if not what:
        return Page("search.html", values)
    if len(what) > LONGEST:
        return Page("search.html", values | {
            "fault": f"{quoted(what)} is neither an address nor a network nor a name"}, 400)
    try:
        found = await daemon.get(path_of("v1", "explain", what))
    except Refusal as error:
        return Page("search.html", values | {"fault": str(error)}, error.status)
    return Page("search.html", values | {"title": _title(found), "found": found, **_of(found)})


def _of(found: Document) -> dict[str, object]:
    """What the template needs beside the answer, by its kind."""
    if found["kind"] == "network":
        return {"verdict": of_network(found), "can_change": _changeable(found["network"])}
    if found["kind"] == "name":
        senders = [one["address"] for one in found["addresses"] if one["sender"]]
        return {"verdict": _of_name(found), "senders": senders,
                "of": [(one, of_address(one)) for one in found["addresses"]]}
    return {"verdict": of_address(found), "line": time_line(found["last"]),
            "refusals": refusals(found), "others": _other_ways(found),
            "commands": commands(found["do"])}


def of_address(found: Mapping[str, Any]) -> Verdict:
    """Whether an address gets in."""
    if not found["sender"]:
        return Verdict("", "no sender")
    if found["gets_in"]:
        if any(one["role"] == "real" and one["outcome"] in DROPS for one in found["next"]):
            return Verdict("warning", "gets in, since this is a dry run")
        return Verdict("ok", "gets in")
    return Verdict("broken", "is refused") if found["known"] else Verdict("warning", "not known")


def of_network(found: Mapping[str, Any]) -> Verdict:
    """What the lists say of a network as a whole."""
    return {
        "allow": Verdict("ok", "all of it gets in"), "deny": Verdict("broken", "all of it is refused"),
        "mixed": Verdict("warning", "parts of it are on lists"),
    }.get(found["verdict"], Verdict("", "no list has it: each host for itself"))


def _of_name(found: Mapping[str, Any]) -> Verdict:
    addresses = found["addresses"]
    if not addresses:
        return Verdict("warning", "no address")
    count = sum(bool(one["gets_in"]) for one in addresses)
    if count == len(addresses):
        return Verdict("ok", "gets in")
    return Verdict("broken", "is refused") if not count else Verdict(
        "warning", f"{count} of {len(addresses)} addresses get in")


def time_line(last: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """What its last connections met, the oldest first."""
    return [{"time": one["time"], "server": one["server"], "times": one["times"],
             "text": WORDS.get(one["what"], one["what"]),
             "state": "refused" if one["what"] in REFUSED else "passed" if one["what"] in PASSED else ""}
            for one in last]


def refusals(found: Mapping[str, Any]) -> list[dict[str, object]]:
    """How often it was refused, since it is not whitelisted and by a list: each as far as anybody remembers.

    Of what a list denies only the last connections are known, and what the memory has forgotten may stand there still.
    """
    known = [{"by": "", **found["refused"]}] if found["refused"] else []
    for words, by in ((("refused", "would-refuse"), ""), (("denied", "would-deny"), " by a list")):
        seen = [one for one in found["last"] if one["what"] in words]
        if seen and (by or not known):
            known.append({"by": by, "first": None, "last": seen[-1]["time"], "times": seen[-1]["times"]})
    return known


def _other_ways(found: Mapping[str, Any]) -> list[dict[str, object]]:
    """What would come next in the other ways of docs/firewall.md, where that is known."""
    return [{"server": one["server"], "way": name, "verdict": other["verdict"], "reason": other["reason"]}
            for one in found["next"] for name, other in one["ways"].items()
            if name != found["way"] and other["verdict"]]


def commands(do: Sequence[str]) -> list[tuple[bool, str]]:
    """What the daemon advises; whether it is a command to type as it is."""
    return [(one.startswith("mxallowctl "), one) for one in do]


def _changeable(network: str) -> bool:
    try:
        fields.changed(network)
    except RequestError:
        return False
    return True


def _title(found: Mapping[str, Any]) -> str:
    return str(found.get("address") or found.get("name") or found["network"])
