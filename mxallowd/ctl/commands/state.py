"""status and stats: what an operator looks at first."""
import argparse
from collections.abc import Mapping

from mxallowd.ctl.command import NO, OK, Command, Context, no_arguments
from mxallowd.ctl.output import columns, duration, error, failed, show, show_json, value, warn
from mxallowd.text import quoted


def _status(context: Context) -> int:
    answer = context.daemon.ask("GET", "/v1/status")
    if failed(context, answer):
        return NO
    if context.arguments.json:
        show_json(context, answer.body)
        return OK
    for name, text in _lines(answer.body):
        show(context, f"{name:<10} {text}")
    return OK


def _lines(status: object) -> list[tuple[str, str]]:
    """What there is, as names and texts; parts that the daemon does not have are left out."""
    def get(*keys: str) -> object:
        return value(status, *keys)

    lines = [("mxallowd", f"{get('version')}, process {get('pid')}, user {get('user')}, since {get('since')}"),
             ("way", f"{get('way')} {_listed(get('queues')) or get('capture') or ''}".rstrip()),
             ("fake", _listed(get("servers", "fake"))), ("real", _listed(get("servers", "real")))]
    for name, key, count in (("whitelist", "whitelist", "entries"), ("refused", "refused", "hosts"),
                             ("patience", "patience", "hosts")):
        if get(key) is not None:
            lines.append((name, f"{get(key, count)} {count} of {get(key, 'room')}"))
    if get("lists") is not None:
        lines.append(("lists", f"{_count(get('lists', 'allow'))} allowed, "
                      f"{_count(get('lists', 'deny'))} denied, {_count(get('lists', 'direct'))} direct"))
        if not_led := get("lists", "direct_not_led"):
            lines.append(("lists", f"{not_led} hosts are direct, but the rules do not lead them (mxallowctl doctor)"))
        faults = get("lists", "faults")
        lines += [("lists", f"not read: {fault}") for fault in (faults if isinstance(faults, list) else ())]
    if get("trust") is not None:
        lines.append(("trust", f"{get('trust', 'file')}, {get('trust', 'lines')} lines: {get('trust', 'networks')} "
                               f"networks, {get('trust', 'hosts')} hosts"))
        faults = get("trust", "faults")
        lines += [("trust", str(fault)) for fault in (faults if isinstance(faults, list) else ())]
        if get("trust", "more_faults"):
            lines.append(("trust", f"and {get('trust', 'more_faults')} further faults; mxallowctl trust shows them"))
    lines += _fleet(value(status, "fleet"))
    if get("state") is not None:
        fault, age = get("state", "fault"), get("state", "age_seconds")
        written = f", written {duration(age)} ago" if age is not None else ""
        lines.append(("state", f"{get('state', 'directory')}{written}" + (f": {fault}" if fault else "")))
    tables = get("kernel_tables")
    for table in tables if isinstance(tables, list) else ():
        fault = value(table, "fault")
        state = "in step" if value(table, "in_step") else "not in step"
        lines.append(("table", f"{value(table, 'name')}, {state}" + (f": {fault}" if fault else "")))
    doors = get("door")
    there = "a chain of the table stands"
    lines += [("door", f"{value(door, 'interface')}: " + str(value(door, "fault") or (
        f"{there} in prerouting" if value(door, "place") == "prerouting" else f"{there} there")))
              for door in (doors if isinstance(doors, list) else ())]
    if get("dry_run"):
        lines.append(("dry run", "mxallowd refuses nobody" + (
            "" if get("queues") else "; whether the ruleset does is told by mxallowctl doctor")))
    if get("broker"):
        lines.append(("broker", str(get("broker"))))
    if get("stress"):
        lines.append(("stress", "lines about hosts and lookups are left out"))
    lines.append(("log", str(get("log_level"))))
    if get("reload") is not None:
        outcome = "done" if get("reload", "ok") else f"failed: {get('reload', 'reason')}"
        lines.append(("reload", f"{get('reload', 'at')}, {outcome}"))
    return lines


def _fleet(found: object) -> list[tuple[str, str]]:
    if found is None:
        return []
    site, engine, peers, told, fault = (value(found, key) for key in ("site", "engine", "peers", "told", "fault"))
    lines = [("fleet", f"{site} at {engine}: {peers} other gateways, {told} entries of theirs")]
    return lines if fault is None else [*lines, ("fleet", str(fault))]


def _listed(items: object) -> str:
    return ", ".join(map(str, items)) if isinstance(items, list) else ""


def _count(item: object) -> object:
    """How many a list has, whether the daemon gives the number or an object with it."""
    return value(item, "networks") if isinstance(item, Mapping) else item


def _stats_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="COUNTER", nargs="*", help="these only (default: all)")


def _stats(context: Context) -> int:
    answer = context.daemon.ask("GET", "/v1/counters")
    if failed(context, answer):
        return NO
    counters = answer.body if isinstance(answer.body, dict) else {}
    names = context.arguments.names or list(counters)
    missing = [name for name in names if name not in counters]
    wanted = {name: counters[name] for name in names if name in counters}
    told = [f"there is no counter {quoted(name)} here" for name in missing]
    if context.arguments.json:
        show_json(context, error("no-counter", "; ".join(told)) if missing and not wanted else wanted)
    elif wanted:
        columns(context, list(wanted.items()))
    for line in told:
        warn(context, line)
    return NO if missing else OK


COMMANDS = (
    Command("status", "say what runs, with which servers, and how full it is", "mxallowctl status",
            no_arguments, _status),
    Command("stats", "print the counters; status 1 if there is none of a given name",
            "mxallowctl stats received real-refused", _stats_arguments, _stats),
)
