"""explain: why a host gets in or not, and what to do. Exit status 0 where it gets in at the real servers, else 1."""
import argparse
from typing import Any

from mxallowd.ctl.checks import network_problem
from mxallowd.ctl.command import NO, OK, Command, Context
from mxallowd.ctl.output import duration, failed, show, show_json
from mxallowd.text import quoted


def _what(text: str) -> str:
    """The argument; what can be nothing of the three is a mistake of the command line."""
    if not text:
        raise argparse.ArgumentTypeError("an address, a name or a network is needed")
    if "%" in text and ":" in text:
        raise argparse.ArgumentTypeError(f"{quoted(text)} has a zone; no address of the whitelist has one")
    problem = network_problem(text) if "/" in text else ""
    if problem:
        raise argparse.ArgumentTypeError(problem)
    return text


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="ADDRESS|NAME|NETWORK", type=_what,
                        help="a host, its name, or a network")


def _run(context: Context) -> int:
    answer = context.daemon.ask("GET", f"/v1/explain/{context.arguments.what}")
    if failed(context, answer):
        return NO
    found: Any = answer.body
    if context.arguments.json:
        show_json(context, found)
    elif found["kind"] == "network":
        _network(context, found)
    elif found["kind"] == "name":
        if found["fault"]:
            show(context, f"{found['name']}: {found['fault']}")
        for one in found["addresses"]:
            _address(context, one)
        if found["left_out"]:
            show(context, f"and {found['left_out']} further addresses")
        for entry in found["noted"]:
            show(context, f"{entry['address']} is whitelisted as {entry['origin']}, noted: {entry['note']} "
                          f"({duration(entry['seconds_left'])} left)")
        if found["more_noted"]:
            show(context, "and further hosts with such a note")
    else:
        _address(context, found)
    gets_in = found["verdict"] == "allow" or (found["entries"] > 0 and found["verdict"] != "deny") \
        if found["kind"] == "network" else found["gets_in"] and found.get("sender", True)
    return OK if gets_in else NO


def _address(context: Context, found: Any) -> None:
    fate = "gets in" if found["gets_in"] else "is refused" if found["known"] else "it is not known whether it gets in"
    if not found["sender"]:
        show(context, f"{found['address']}: {found['why']}")
        return
    show(context, f"{found['address']}: {fate}")
    entry = found["entry"]
    if entry:
        since = f"since {entry['since']}" if entry["since"] else "(since when is not known)"
        show(context, f"  whitelisted {since} until {entry['until']} ({duration(entry['seconds_left'])} left)")
        if entry["note"]:
            show(context, f"  note: {entry['note']}")
    show(context, f"  why: {found['why']}")
    if found["list"] and found["list"]["note"]:
        of = "the trusted line" if found["list"]["origin"] == "trusted" else "the list"
        show(context, f"  note of {of}: {found['list']['note']}")
    if found.get("direct"):
        one = found["direct"]
        led = ("direct, but the rules do not lead it (mxallowctl doctor)" if one.get("not_led") else
               "direct: led from the fake server to the real one")
        show(context, f"  {led} by {one['network']}, {one['where']}"
                      f"{', until ' + one['until'] if one['until'] else ''}{': ' + one['note'] if one['note'] else ''}")
    if found["refused"]:
        one = found["refused"]
        word = "would-refuse" if any(each["what"] == "would-refuse" for each in found["last"]) else "refused"
        show(context, f"  {word} once, at {one['first']}" if one["times"] == 1 else
             f"  {word} {one['times']} times since {one['first']}, last {one['last']}")
    _patience(context, found.get("patience"))
    _last(context, found)
    for one in found["next"]:
        show(context, f"  next to {one['role']} {one['server']}: {one['verdict'] or 'not known'} "
                      f"(way {found['way']}, {one['by']}): {one['reason']}")
        for name, other in one["ways"].items():
            if name != found["way"] and other["verdict"]:
                show(context, f"    in way {name}: {other['verdict']}: {other['reason']}")
    for one in found["kernel"]:
        sets = ", ".join(name for name, held in (one["sets"] or {}).items() if held)
        state = "not known" if one["sets"] is None else f"in {sets}" if sets else "in no set"
        show(context, f"  {one['table']}: {state}{'; ' + one['fault'] if one['fault'] else ''}")
    for text in filter(None, (not found["gets_in"] and found["not_asked"], found.get("fleet"))):
        show(context, f"  {text}")
    for command in found["do"]:
        show(context, f"  to let it in: {command}")


def _patience(context: Context, found: Any) -> None:
    if found:
        network = f", counted for {found['network']}" if found["network"] else ""
        coming = ("its next connection is let in" if found["next"] is None else
                  "the next one counts" if found["due"] else f"next at {found['next']}")
        show(context, f"  patience: refused {found['times']} of {found['of']}{network}, {coming}")


def _last(context: Context, found: Any) -> None:
    for one in found["last"]:
        times = f", attempt {one['times']}" if one["times"] > 1 else ""
        show(context, f"  {one['time']} {one['what']} at {one['server']}{times}")
    if not found["last"]:
        unseen = any(one["by"] == "kernel" and " see it" in one["reason"] for one in found["next"])
        show(context, f"  no connection of it is remembered since {found['remembered_since']}, when mxallowd started"
                      f"{'; what the kernel decides alone is not shown to mxallowd' if unseen else ''}")


def _network(context: Context, found: Any) -> None:
    origins = ", ".join(f"{count} {origin}" for origin, count in found["origins"].items())
    show(context, f"{found['network']}: {found['entries']} hosts in the whitelist{f' ({origins})' if origins else ''}, "
                  f"{found['used']} used, {found['proven']} proven; {found['refused']} refused hosts")
    verdict = {"allow": "all of it is allowed", "deny": "all of it is denied",
               "mixed": "parts of it are allowed or denied"}.get(found["verdict"])
    if verdict:
        show(context, f"  {verdict} by lists")
    for match in found["lists"]:
        show(context, f"  {'trusted' if match['origin'] == 'trusted' else match['verdict']} {match['network']}, "
                      f"{match['where']}"
                      f"{': ' + match['note'] if match['note'] else ''}")
    if found["more_lists"]:
        show(context, "  and further networks of the lists")
    for entry in found["some"]:
        told = f" of {entry['gateway']}" if entry.get("gateway") else ""
        show(context, f"  {entry['address']} {entry['origin']}{told} {duration(entry['seconds_left'])} left")
    for one in found["busiest"]:
        show(context, f"  {one['address']} refused {one['times']} times, last {one['last']}")
    for command in found["do"]:
        show(context, f"  to let it in: {command}")


COMMANDS: tuple[Command, ...] = (
    Command("explain", "why a host gets in or not, what comes next, and what to do", "mxallowctl explain 203.0.113.7",
            _arguments, _run),
)
