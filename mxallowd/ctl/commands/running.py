"""reload and log-level: what changes the running daemon itself."""
import argparse

from mxallowd.ctl.command import NO, OK, Command, Context
from mxallowd.ctl.output import failed, show, show_json, value


def _nothing(_: argparse.ArgumentParser) -> None:
    pass


def _reload(context: Context) -> int:
    answer = context.daemon.ask("POST", "/v1/reload")
    if failed(context, answer):
        return NO
    if context.arguments.json:
        show_json(context, answer.body)
        return OK
    for key, before, none in (
            ("changed", "changed", "nothing has changed"), ("restart_needed", "holds after a restart only", "")):
        names = value(answer.body, key)
        if isinstance(names, list) and names:
            show(context, f"{before}: {', '.join(map(str, names))}")
        elif none:
            show(context, none)
    return OK


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
    Command("reload", "read the configuration again, as SIGHUP does", "mxallowctl reload", _nothing, _reload),
    Command("log-level", "show or change what is logged, until the next start", "mxallowctl log-level error",
            _level_arguments, _log_level),
)
