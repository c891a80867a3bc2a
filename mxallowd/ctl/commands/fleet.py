"""`mxallowctl fleet`: the fleet as this gateway sees it, and a new key for its site."""
import argparse
from collections.abc import Mapping
from typing import Any

from mxallowd.ctl.command import NO, OK, Command, Context
from mxallowd.ctl.output import columns, duration, failed, show, show_json


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("status", "key"), default="status",
                        help="status shows the engine and each other gateway (the default); key prints a new key for a "
                             "site, and asks no daemon")


def _run(context: Context) -> int:
    if context.arguments.action == "key":
        return _key(context)
    answer = context.daemon.ask("GET", "/v1/fleet")
    if failed(context, answer):
        return NO
    if context.arguments.json:
        show_json(context, answer.body)
    else:
        _show(context, answer.body)
    found: Any = answer.body
    return OK if found["connected"] else NO


def _key(context: Context) -> int:
    # It needs parts of the daemon, which no other command imports.
    from mxallowd.fleet.keys import new_key  # noqa: PLC0415

    key = new_key()
    if context.arguments.json:
        show_json(context, {"key": key})
    else:
        show(context, key)
    return OK


def _show(context: Context, found: Any) -> None:
    state = (f"connected for {duration(found['since_seconds'])}" if found["connected"]
             else f"cannot be used for {duration(found['since_seconds'])}: {found['fault']}")
    lines = [("site", f"{found['site']}, this gateway is {found['origin']}")]
    if found["origin_shared"]:
        lines.append(("warning", f"another gateway is {found['origin']}, too: give each a fleet-origin of its own"))
    lines += [("keys", ", ".join(f"{number}{'' if place else ' signs'}" for place, number in enumerate(found["keys"]))),
              ("engine", found["engine"]), ("", state)]
    if found["remedy"]:
        lines.append(("", f"mend: {found['remedy']}"))
    lines += [("warning", text) for text in found["warnings"]]
    lines.append(("last", f"heard {_ago(found['heard_seconds'])}, said {_ago(found['said_seconds'])}, the engine "
                          f"answered {_ago(found['read_seconds'])}"))
    lines += [("waiting", f"{found['waiting']} hosts to be said"),
              ("told", f"{found['told']} entries of {found['told_room']}")]
    if stream := found["stream"]:
        lines.append(("stream", f"{stream['length']} batches, {stream['first'] or '-'} to {stream['last'] or '-'}"))
    lines.append(("refused", _refused(found["refused"])))
    for name, text in lines:
        show(context, f"{name:<9} {text}".rstrip())
    show(context)
    _show_peers(context, found)
    for one in found["strangers"]:
        what = "with another key" if one["reason"] == "key" else "with a signature that is forged"
        show(context, f"somebody speaks as {one['origin']} {what}: {one['messages']} messages"
                      + ("" if one["heard_seconds"] is None else f", the last {_ago(one['heard_seconds'])}"))


def _show_peers(context: Context, found: Any) -> None:
    if not found["peers"]:
        show(context, "no other gateway was heard yet")
        return
    rows = [(one["origin"], _ago(one["heard_seconds"]), "-" if one["lag_ms"] is None else f"{one['lag_ms']} ms",
             one["entries"], one["records"], _refused(one["refused"])) for one in found["peers"]]
    columns(context, [("gateway", "last heard", "lag", "entries", "records", "refused"),
                      *(tuple(map(str, row)) for row in rows)])
    if found["peers_left_out"]:
        show(context, f"and {found['peers_left_out']} further gateways")
    for one in found["peers"]:
        if one["shared"]:
            show(context, f"two gateways are {one['origin']}: give each a fleet-origin of its own")
        if one["longest_seconds"] not in (None, found["longest_seconds"]):
            show(context, f"{one['origin']} has another time: hosts stay there for {one['longest_seconds']} s at most, "
                          f"here for {found['longest_seconds']} s (whitelist-time, proven-time)")


def _ago(seconds: object) -> str:
    return "never" if seconds is None else f"{duration(seconds)} ago"


def _refused(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in reasons.items() if count) or "-"


COMMANDS: tuple[Command, ...] = (
    Command("fleet", "show the fleet: the engine and the other gateways; or make a key for a site",
            "mxallowctl fleet key", _arguments, _run),
)
