"""mxallowctl forecast, and mxallowctl first-mx-only: what a trial shows, and whose mail may be lost here."""
import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mxallowd.ctl.command import NO, OK, Command, Context
from mxallowd.ctl.output import failed, safe, show, show_json

MOST = 1000


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=_limit, default=20, metavar="N",
                        help=f"hosts to name, 0 to {MOST} (default: %(default)s)")


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text) <= MOST):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {MOST}")
    return int(text)


def _asks(path: str, lines: Callable[[Any], list[str]]) -> Callable[[Context], int]:
    """A subcommand that shows the answer of this path, as `lines` has it."""
    def run(context: Context) -> int:
        answer = context.daemon.ask("GET", path, query={"limit": str(context.arguments.limit)})
        if failed(context, answer):
            return NO
        if context.arguments.json:
            show_json(context, answer.body)
        else:
            for line in lines(answer.body):
                show(context, line)
        return OK
    return run


def _forecast(found: Any) -> list[str]:
    verb = "would have been refused" if found["dry_run"] else "were refused"
    hosts, connections = found["hosts"], found["connections"]
    lines = [f"Since {found['since']} {hosts} hosts {verb}{' (estimated from a sample)' if found['sampled'] else ''}."]
    lines += how_exact(found["seen"])
    if connections["share_refused"] is not None:
        of_all = f"{connections['refused']} of {connections['refused'] + connections['accepted']}"
        lines.append(f"Connections to the real server: {of_all} {verb} ({_percent(connections['share_refused'])}).")
    if hosts:
        lines.append("Of these hosts")
        for met in found["met_the_fake"]:
            still = f", {met['still_may']} still may" if met["still_may"] else ""
            lines.append(f"  {met['hosts']:>7}  got in within {span(met['within_seconds'])}"
                         f" ({_percent(met['share'])}{still})")
        lines += [f"  {number:>7}  {text}" for number, text in outcomes(found)]
    lines.append(f"Refused, later passed: {found['refused_later_passed']} (good senders that were delayed, as a rule)")
    lines += _table("Hosts that kept trying", ("attempts", "address", "name", "first", "last"),
                    [(str(one["attempts"]), one["address"], _name(one), one["first"], one["last"])
                     for one in found["hosts_that_kept_trying"]])
    lines += _table("Networks whose hosts kept trying", ("attempts", "network", "hosts", "names", "last"),
                    [(str(one["attempts"]), one["network"], str(one["hosts"]), " ".join(one["names"]) or "-",
                      one["last"]) for one in found["networks_that_kept_trying"]])
    return lines


def outcomes(found: Mapping[str, Any]) -> list[tuple[int, str]]:
    """What became of the hosts, each in one of these, with their number."""
    patient = found.get("let_in_by_patience", 0)  # an older daemon does not tell
    contacts = max(0, found["met_the_fake"][-1]["hosts"] - patient - found["let_in_otherwise"])
    return [(contacts, "got in since they met the fake server"),
            (patient, "got in by patience, refused often enough"),
            (found["let_in_otherwise"], "got in by their names or networks, or by hand"),
            (found["came_once"], "came once and not again"),
            (found["kept_trying"], "kept trying, and never met the fake server")]


def how_exact(seen: Mapping[str, Any] | None) -> list[str]:
    """How exact the numbers of hosts are, where the firewall shows a part of what it refuses."""
    if seen is None:
        return []
    if seen["of"] is None:
        return ["The firewall shows mxallowd at most 100 refused packets a second; hosts whose packets it did not show "
                "are missing here."]
    if seen["packets"] >= seen["of"]:
        return []
    return [f"mxallowd was shown {seen['packets']} of {seen['of']} such packets ({_percent(seen['share'])}): hosts "
            "that sent none of these are missing here, attempts of the others may be."]


def _first_mx_only(found: Any) -> list[str]:
    if not found["count"]:
        return [f"No host met the fake server {found['contacts']} times in a day without coming to the real one."]
    lines = [f"{found['count']} hosts met the fake server {found['contacts']} times or more in a day and did not come"
             " to the real one.",
             "Where one of them is a sender that you want, let it reach the real server through the fake address "
             "(docs/trial.md)."]
    rows = [(str(one["contacts"]), one["address"], _name(one), one["first"], one["last"],
             "direct, but not led" if one.get("direct_not_led") else "") for one in found["hosts"]]
    lines += _table("", ("contacts", "address", "name", "first", "last", ""), rows)
    if any(row[-1] for row in rows):
        lines.append("No rule leads those that are direct to the real server: mxallowctl doctor (docs/direct.md).")
    return lines


def _name(one: Mapping[str, Any]) -> str:
    if one["name"] is None:
        return "-"
    return str(one["name"]) if one["name_confirmed"] else f"{one['name']} (unconfirmed)"


def span(seconds: int) -> str:
    """A time in hours, or in minutes."""
    return f"{seconds // 3600} h" if seconds >= 3600 else f"{seconds // 60} min"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    rows = [[safe(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in (heads, *rows)]
    return ["", *([f"{title}:"] if title else []), *lines]


COMMANDS: tuple[Command, ...] = (
    Command("forecast", "what became of the hosts that were refused, or would have been in a dry run",
            "mxallowctl forecast --limit 50", _arguments, _asks("/v1/forecast", _forecast)),
    Command("first-mx-only", "hosts that keep meeting the fake server and never come to the real one",
            "mxallowctl first-mx-only", _arguments,
            _asks("/v1/first-mx-only", _first_mx_only)),
)
