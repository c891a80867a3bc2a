"""`mxallowctl allow`, `deny` and `direct`: networks that are added by hand, and what the lists have."""
import argparse
from collections.abc import Callable
from typing import Any

from mxallowd.ctl import checks
from mxallowd.ctl.command import NO, OK, USAGE, Command, Context
from mxallowd.ctl.output import failed, hits, overruled, refuse, show, show_json, unkept, warn

WIDTH = 43  # the longest network


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("add", "remove", "list"), help="what to do with NETWORK; list shows all")
    parser.add_argument("network", nargs="?", metavar="NETWORK", help="a network or an address")
    parser.add_argument("--time", type=checks.seconds, metavar="SECONDS",
                        help="until it is removed again; default: it stays")
    parser.add_argument("--note", metavar="TEXT", help="kept with it, and shown by explain")


def _direct_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("add", "remove", "list"), help="what to do with NETWORK; list shows all")
    parser.add_argument("network", nargs="?", metavar="NETWORK", help="a host, or a network")
    parser.add_argument("--time", type=checks.seconds, metavar="SECONDS", help="until it ends; default: it stays")
    # As it was called at first.
    parser.add_argument("--for", dest="time", type=checks.seconds, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument("--note", metavar="TEXT", help="kept with it, and shown by explain")


def _run(verdict: str) -> Callable[[Context], int]:
    def run(context: Context) -> int:
        arguments = context.arguments
        if arguments.action == "list":
            if (arguments.network, arguments.time, arguments.note) != (None, None, None):
                refuse(context, "usage", f"{verdict} list shows all, and takes neither a network nor --time nor --note")
                return USAGE
            return _list(context, verdict)
        if arguments.network is None:
            refuse(context, "usage", f"{verdict} {arguments.action} needs a network")
            return USAGE
        if arguments.action == "remove" and (arguments.time is not None or arguments.note is not None):
            refuse(context, "usage", "--time and --note are for add")
            return USAGE
        body = {"network": arguments.network}
        if arguments.time is not None:
            body["seconds"] = arguments.time
        if arguments.note is not None:
            body["note"] = arguments.note
        answer = context.daemon.ask(
            "POST" if arguments.action == "add" else "DELETE", f"/v1/lists/{verdict}", body=body)
        if failed(context, answer):
            return NO
        found: Any = answer.body
        if arguments.json:
            show_json(context, found)
        elif arguments.action == "remove":
            show(context, f"removed {arguments.network} from {verdict}")
        else:
            until = f" until {found['until']}" if found["until"] else ""
            show(context, f"{verdict} {found['network']}{until}")
        if arguments.action == "add":
            unkept(context, found)
        if not_led := found.get("not_led"):
            warn(context, f"{arguments.network} is allowed now, but nobody is led to the real server: {not_led}")
        return NO if overruled(context, arguments.network, found) or not_led else OK
    return run


def _list(context: Context, verdict: str) -> int:
    answer = context.daemon.ask("GET", "/v1/lists")
    if failed(context, answer):
        return NO
    found: Any = answer.body
    if context.arguments.json:
        show_json(context, found)
        return OK
    for source in found["sources"]:
        if source["list"] in (verdict, None) or (verdict == "direct" and source.get("direct")):
            fault = f"  not read: {source['fault']}" if source["fault"] else ""
            trusted = "" if not source["trusted"] else (
                " of trusted senders, first-mx-only" if source.get("direct") else " of trusted senders")
            show(context, f"{source['source']}: {source['networks']} networks{trusted}{fault}")
    for own in found["by_hand"]:
        learned = verdict == "direct" and own["verdict"] == "learned"
        if own["verdict"] == verdict or learned:
            until = f"  until {own['until']}" if own["until"] else ""
            more = hits(own, "  ") + (f"  # {own['note']}" if own["note"] else "")
            show(context, f"  {own['network']:{WIDTH}}{'  learned' if learned else ''}{until}{more}".rstrip())
    return OK


COMMANDS: tuple[Command, ...] = (
    Command("allow", "let a network reach the real server, whatever the whitelist says",
            "mxallowctl allow add 192.0.2.0/24 --note 'the bank'", _arguments, _run("allow")),
    Command("deny", "refuse a network at the real server, whatever the whitelist says",
            "mxallowctl deny add 198.51.100.0/24 --time 86400", _arguments, _run("deny")),
    Command("direct", "lead a host that tries the first MX alone from the fake server to the real one",
            "mxallowctl direct add 192.0.2.7 --time 2592000 --note 'their scanner'", _direct_arguments, _run("direct")),
)
