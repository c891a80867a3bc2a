"""`mxallowctl trust`: what is known of each line of trusted senders, and asking for their records now."""
import argparse
from collections.abc import Mapping
from typing import Any

from mxallowd.ctl.command import NO, OK, USAGE, Command, Context
from mxallowd.ctl.output import duration, failed, hits, refuse, show, show_json, warn


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "refresh"), default="list",
                        help="list shows all lines (the default); refresh asks for SPF records now")
    parser.add_argument("domain", nargs="?", metavar="DOMAIN", help="of refresh: for this one alone")


def _run(context: Context) -> int:
    arguments = context.arguments
    if arguments.action == "refresh":
        body = {"domain": arguments.domain} if arguments.domain else {}
        answer = context.daemon.ask("POST", "/v1/trust/refresh", body=body)
    elif arguments.domain:
        refuse(context, "usage", "trust list shows all lines, and takes no domain")
        return USAGE
    else:
        answer = context.daemon.ask("GET", "/v1/trust")
    if failed(context, answer):
        return NO
    found: Any = answer.body
    again = found.get("again_seconds")
    if arguments.json:
        show_json(context, found)
    elif arguments.action == "refresh":
        if found["asked"] or not again:
            show(context, f"asked for now: {found['asked']} records; mxallowctl trust shows what comes of it")
        if again:
            warn(context, f"{'others were' if found['asked'] else 'too soon: it was'} asked for less than 30 s ago; "
                          f"again in {duration(again)}")
    else:
        _list(context, found)
    return NO if arguments.action == "refresh" and again and not found["asked"] else OK


def _list(context: Context, found: Any) -> None:
    show(context, f"{found['file']}, read {found['read']}: {found['networks']} networks, {found['hosts']} hosts by "
                  f"dnswl and domain, {found['questions']} questions to name servers")
    if found["fault"]:
        show(context, f"  not read since: {found['fault']}")
    for line in found["lines"]:
        score = "" if line["score"] is None else f" {line['score']}"
        flag = " first-mx-only" if line["first_mx_only"] else ""
        more = hits(line, ", ") + (f"  # {line['note']}" if line["note"] else "")
        show(context, f"{line['line']:5} {line['kind']} {line['subject']}{score}{flag}: {state(line)}{more}")
        for text in line["left_out"]:
            show(context, f"      left out: {text}")
        for text in line["wrong"]:
            show(context, f"      wrong: {text}")
        if line["fault"]:
            show(context, f"      fault: {line['fault']}")
    if found["left_out"]:
        show(context, f"and {found['left_out']} further lines")


def state(line: Mapping[str, Any]) -> str:
    """What is known of a line of trusted senders, as GET /v1/trust has it, in words."""
    if line["kind"] == "network":
        return "holds"
    if line["kind"] != "spf":
        passed_over = f", {line['passed_over']} passed over" if line["passed_over"] else ""
        return f"{line['hosts']} host{'s' * (line['hosts'] != 1)}{passed_over}"
    if line["asked_now"]:
        then = "is asked for now"
    else:
        then = f"again in {duration(line['next_seconds'])}" if line["next"] else "not asked for yet"
    if line["learned"] is None:
        return f"no answer, {then}"
    networks = f"{line['networks']} network{'s' * (line['networks'] != 1)}"
    return f"{networks}, learned {duration(line['age_seconds'])} ago for {duration(line['life_seconds'])}, {then}"


COMMANDS: tuple[Command, ...] = (
    Command("trust", "show what is known of each line of trusted senders, or ask for their SPF records now",
            "mxallowctl trust refresh example.org", _arguments, _run),
)
