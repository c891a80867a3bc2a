"""list, show, add, remove, flush: the entries of the whitelist."""
import argparse
from collections.abc import Mapping

from mxallowd.ctl import checks
from mxallowd.ctl.command import NO, OK, USAGE, Answer, Command, Context
from mxallowd.ctl.output import duration, failed, overruled, refuse, show, show_json, unkept, value, warn

ORIGINS = ("contact", "child", "by-hand", "restored", "peer", "trusted", "patience", "outbound")


def _target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="ADDRESS|NETWORK", type=checks.target, help="an address, or a network")


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--origin", choices=ORIGINS, help="those that came in this way")
    for name, others, what in (("used", "unused", "have contacted the real server"),
                               ("proven", "unproven", "have completed a handshake with it")):
        group = parser.add_mutually_exclusive_group()
        group.add_argument(f"--{name}", dest=name, action="store_const", const="true", help=f"those that {what}")
        group.add_argument(f"--{others}", dest=name, action="store_const", const="false", help="the others")
    parser.add_argument("--gateway", metavar="NAME", type=checks.gateway,
                        help="those of which this gateway told first (its fleet-origin)")
    parser.add_argument("--network", metavar="NETWORK", type=checks.target, help="those in this network")
    parser.add_argument("--note", metavar="TEXT", type=checks.note,
                        help="those whose note or name contains this, in any case")
    parser.add_argument("--limit", metavar="N", type=lambda text: checks.number(text, 100_000_000),
                        help="the first N, in no order")


def _list(context: Context) -> int:
    arguments = context.arguments
    query = {name: str(wanted) for name in ("origin", "used", "proven", "gateway", "network", "note", "limit")
             if (wanted := getattr(arguments, name)) is not None}
    answer = context.daemon.ask("GET", "/v1/entries", query=query, stream=True)
    if failed(context, answer):
        return NO
    for entry in answer.lines():
        if arguments.json:
            show_json(context, entry)
        else:
            show(context, _row(entry))
    return OK


def _row(entry: Mapping[str, object]) -> str:
    state = "proven" if entry.get("proven") else "used" if entry.get("used") else "-"
    note, gateway = entry.get("note"), entry.get("gateway")
    told = f"  told by {gateway}" if gateway else ""
    return (f"{entry.get('address')!s:<39} {entry.get('origin')!s:<8} {state:<6} "
            f"{duration(entry.get('seconds_left')):>12}{told}{f'  {note}' if note else ''}")


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS", type=checks.address, help="an address")


def _show(context: Context) -> int:
    return _entry(context, context.daemon.ask("GET", f"/v1/entries/{context.arguments.address}"))


def _entry(context: Context, answer: Answer) -> int:
    """Print the entry, or the network, that is the answer."""
    if failed(context, answer):
        return NO
    if context.arguments.json:
        show_json(context, answer.body)
        return OK
    found = answer.body if isinstance(answer.body, dict) else {}
    for key, shown in found.items():
        if key in ("denied_by", "denied_by_more", "kept", "reason"):
            continue
        if key == "seconds_left":
            show(context, f"left      {duration(shown)}")
        else:
            text = {True: "yes", False: "no", None: "-"}.get(shown) if isinstance(shown, bool | None) else shown
            show(context, f"{key:<9} {text}")
    return OK


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    _target(parser)
    parser.add_argument("--time", metavar="SECONDS", type=checks.seconds,
                        help="how long (default: the daemon's --whitelist-time); a known host is never shortened")
    parser.add_argument("--note", metavar="TEXT", type=checks.note, help="why; list, show and explain print it")


def _add(context: Context) -> int:
    arguments = context.arguments
    body: dict[str, object] = {"network" if "/" in arguments.target else "address": arguments.target}
    if arguments.time is not None:
        body["seconds"] = arguments.time
    if arguments.note is not None:
        body["note"] = arguments.note
    answer = context.daemon.ask("POST", "/v1/entries", body=body)
    status = _entry(context, answer)
    left = value(answer.body, "seconds_left")
    if status == OK and arguments.time is not None and isinstance(left, int) and left > arguments.time:
        warn(context, f"it was in already, for {duration(left)} from now; nothing was shortened (remove it first)")
    if status == OK:
        unkept(context, answer.body)
    return status or (NO if overruled(context, arguments.target, answer.body) else OK)


def _remove_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="ADDRESS|NETWORK", type=checks.target, nargs="?",
                        help="an address, or a network")
    parser.add_argument("--gateway", metavar="NAME", type=checks.gateway,
                        help="in its place: all of which this gateway (its fleet-origin) alone has told")


def _remove(context: Context) -> int:
    target, gateway = context.arguments.target, context.arguments.gateway
    if (target is None) == (gateway is None):
        refuse(context, "usage", "remove needs either ADDRESS|NETWORK or --gateway NAME")
        return USAGE
    if gateway is not None:
        return _removed(context, context.daemon.ask("DELETE", "/v1/entries", query={"gateway": gateway}))
    answer = context.daemon.ask("DELETE", f"/v1/entries/{target}")
    status = _removed(context, answer)
    return status or (NO if overruled(context, target, answer.body) else OK)


def _removed(context: Context, answer: Answer) -> int:
    if failed(context, answer):
        return NO
    if context.arguments.json:
        show_json(context, answer.body)
    else:
        count = answer.body.get("removed") if isinstance(answer.body, dict) else None
        show(context, f"removed {count}")
    return OK


def _flush_arguments(parser: argparse.ArgumentParser) -> None:
    # It never asks: what a script and a person type is the same, and nobody waits for an answer that never comes.
    parser.add_argument("--yes", action="store_true", help="needed: every sender has to meet the fake server again")


def _flush(context: Context) -> int:
    if not context.arguments.yes:
        refuse(context, "usage", "flush empties the whole whitelist, so every sender has to meet the fake server "
               "again: say so with --yes")
        return USAGE
    return _removed(context, context.daemon.ask("DELETE", "/v1/entries"))


COMMANDS = (
    Command("list", "print the whitelist, as it comes",
            "mxallowctl list --network 203.0.113.0/24 --unused", _list_arguments, _list),
    Command("show", "print the entry of one address; status 1 if there is none", "mxallowctl show 203.0.113.7",
            _show_arguments, _show),
    Command("add", "let a host in at once, or a network for some time",
            "mxallowctl add 203.0.113.7 --time 86400 --note 'bank, ticket 4711'", _add_arguments, _add),
    Command("remove", "take a host out, or all of a network and the network itself; status 1 if nothing was in",
            "mxallowctl remove 203.0.113.7", _remove_arguments, _remove),
    Command("flush", "empty the whitelist and what was added by hand, never the lists of files",
            "mxallowctl flush --yes", _flush_arguments, _flush),
)
