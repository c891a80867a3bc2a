"""reload and log-level: what changes the running daemon itself."""
import argparse

from mxallowd.ctl.command import NO, OK, Command, Context, no_arguments
from mxallowd.ctl.output import failed, show, show_json, value, warn


def _reload(context: Context) -> int:
    answer = context.daemon.ask("POST", "/v1/reload")
    if failed(context, answer):
        return NO
    if context.arguments.json:
        show_json(context, answer.body)
        return NO if value(answer.body, "failed") else OK
    changed, waiting, lists, warnings, faults = (
        found if isinstance(found := value(answer.body, key), list) else []
        for key in ("changed", "restart_needed", "lists", "warnings", "failed"))
    if changed:
        show(context, f"changed: {', '.join(map(str, changed))}")
    elif not any(value(one, "changed") for one in lists) and not faults:
        show(context, "nothing has changed")
    for one in lists:
        show(context, f"{value(one, 'list')} {value(one, 'source')}: {_counted(one)}")
    if waiting:
        show(context, f"holds after a restart only: {', '.join(map(str, waiting))}")
    for warning in warnings:
        warn(context, f"warning: {warning}")
    for fault in faults:
        warn(context, str(fault))
    return NO if faults else OK


def _counted(one: object) -> str:
    """What a list has now, and had before."""
    networks, before = value(one, "networks"), value(one, "before")
    if value(one, "fault"):
        return "not read" if before is None else f"not read, the {before} networks from before hold"
    if before is None:
        return f"{networks} networks, new"
    return f"{networks} networks, {f'before {before}' if value(one, 'changed') else 'unchanged'}"


def _level_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("level", metavar="LEVEL", nargs="?", choices=("info", "error"),
                        help="from now on: info, or error as with --quiet; without it the level is shown")


def _log_level(context: Context) -> int:
    level = context.arguments.level
    answer = (context.daemon.ask("PUT", "/v1/log-level", body={"level": level}) if level
              else context.daemon.ask("GET", "/v1/log-level"))
    if failed(context, answer):
        return NO
    if context.arguments.json:
        show_json(context, answer.body)
    else:
        show(context, str(value(answer.body, "level")))
    return OK


COMMANDS = (
    Command("reload", "read the configuration and the lists again, as SIGHUP does; status 1 if any cannot be used",
            "mxallowctl reload", no_arguments, _reload),
    Command("log-level", "show or change what is logged, until a reload or the next start",
            "mxallowctl log-level error", _level_arguments, _log_level),
)
