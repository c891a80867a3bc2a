"""The command: from argv to an exit status.

0 after a clean stop, --help, --version, or a --check without errors; 78 where nothing is set up yet; 1 otherwise. A
mistake in the input causes one line on standard error that quotes it; if a server or queue number is missing, the usage
follows.
"""
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mxallowd import __version__, backends, surroundings
from mxallowd.control import changers
from mxallowd.daemon import start
from mxallowd.errors import ConfigError
from mxallowd.lists import lists
from mxallowd.mirrors.kernel import NO_DIRECT, has_direct
from mxallowd.mirrors.kernel.nftdoor import lacking
from mxallowd.process import signals, streams
from mxallowd.process.supervisor import Supervisor
from mxallowd.settings import Assignment, arguments
from mxallowd.settings.loading import Loaded, load
from mxallowd.settings.options import BY_NAME
from mxallowd.text import quoted

# EX_CONFIG of sysexits.h. The unit of systemd does not start it again then (RestartPreventExitStatus).
NOT_SET_UP = 78

SAMPLE = "print-config"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (those of the process by default) and return the exit status."""
    closed = streams.open_standard()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        assignments, actions = arguments.parse(words)
    except ConfigError as error:
        return Supervisor().fail(str(error))
    if actions:
        # These only print something, and who reads it may have seen enough.
        signals.end_at_once()
    if "help" in actions or "version" in actions:
        return _print(arguments.help_text() if "help" in actions else f"mxallowd {__version__}\n")

    if actions.keys() & {SAMPLE, "print-ruleset", "iptables"}:
        printed = _print_config if SAMPLE in actions else _print_ruleset
        return printed(assignments, actions, closed)

    def load_again() -> Loaded:
        return load(assignments, bare=not words)

    loaded = load_again()
    if "check" in actions:
        return _check(loaded)
    if loaded.settings is None:
        return _refuse(loaded)
    return start.serve(loaded, load_again)


def _print(text: str) -> int:
    # Who asked for a text and did not get it is told so by the status.
    return 0 if streams.write(sys.stdout, text) else 1


def _print_config(assignments: Sequence[Assignment], actions: Mapping[str, str], closed: Container[int]) -> int:
    # Who gives options with it expects to find them in what is printed.
    others = [*(assignment.option.name for assignment in assignments), *(name for name in actions if name != SAMPLE)]
    if others:
        return streams.fail(f"--{SAMPLE} stands alone, it prints a sample: leave --{others[0]} out")
    if 1 in closed:
        return streams.fail(f"{SAMPLE}: standard output is closed")
    # No daemon needs it.
    from mxallowd.settings.sample import text  # noqa: PLC0415

    if not streams.write(sys.stdout, text()):
        return streams.fail(f"{SAMPLE}: the sample could not be written to standard output")
    return 0


def _print_ruleset(assignments: Sequence[Assignment], actions: Mapping[str, str], closed: Container[int]) -> int:
    if "print-ruleset" not in actions or "check" in actions:
        return streams.fail("--print-ruleset and --check are two commands: give one of them"
                            if "print-ruleset" in actions else "--iptables needs --print-ruleset")
    if 1 in closed:
        return streams.fail("print-ruleset: standard output is closed")
    # No daemon needs it.
    from mxallowd.firewall.printing import ruleset  # noqa: PLC0415
    from mxallowd.firewall.wanted import QUEUE  # noqa: PLC0415

    loaded = load(assignments, bare=False)
    settings = loaded.settings
    if settings is None:
        # Rules can be printed before it is settled where the daemon gets its packets.
        loaded = load(assignments, bare=False, assumed=(Assignment(BY_NAME["queue-num"], str(QUEUE), "print-ruleset"),))
        if loaded.settings is None:
            return _refuse(loaded)
        settings = replace(loaded.settings, queue_num=None)
    try:
        printed = ruleset(actions["print-ruleset"], settings, iptables="iptables" in actions)
    except ConfigError as error:
        return streams.fail(str(error))
    # What stands in the rules does something here.
    warnings = [str(one) for one in loaded.warnings if not one.message.startswith("door does nothing")]
    for line in (*warnings, *printed.notes):
        streams.fail(line)
    # Who loads it must not take a part of it for all.
    if not streams.write(sys.stdout, printed.text):
        return streams.fail("print-ruleset: the rules could not be written to standard output")
    return 0


def _check(loaded: Loaded) -> int:
    reasons = backends.unsupported(loaded.settings) if loaded.settings else []
    faults = lists.problems(loaded.settings) if loaded.settings else []
    doubts: list[str] = []
    if loaded.settings and loaded.settings.trust:
        # It reads the list of public suffixes, which takes a while.
        from mxallowd.trust.lines import problems  # noqa: PLC0415
        faults += problems(loaded.settings.trust)
    if loaded.settings and loaded.settings.fleet:
        # Only who has a fleet needs the package of its client.
        from mxallowd.fleet import checking  # noqa: PLC0415
        faults += checking.problems(loaded.settings)
        doubts = checking.warnings(loaded.settings)
    if loaded.unfilled:
        streams.write(sys.stdout, "".join(f"{one}\n" for one in (*loaded.warnings, _first_steps(loaded.unfilled))))
        return NOT_SET_UP
    group = changers.problem(loaded.settings) if loaded.settings else ""
    lines = [*map(str, loaded.problems), *([f"settings: {group}"] if group else []),
             *(f"{fault.where}: {fault.reason}" for fault in faults),
             *(f"system: {reason}" for reason in reasons)]
    lines += [f"system: warning: {doubt}" for doubt in doubts]
    if loaded.settings:
        if loaded.settings.direct_after and not has_direct(loaded.settings):
            lines.append(f"settings: warning: direct-after leads nobody: {NO_DIRECT}")
        servers = (*loaded.settings.fake_mailserver, *loaded.settings.real_mailserver)
        lines += [f"system: warning: {warning}"
                  for warning in lacking(loaded.settings.door, loaded.settings.nft_table, servers)]
        lines += [f"system: warning: {warning}" for warning in surroundings.warnings(loaded.settings)]
    streams.write(sys.stdout, "".join(f"{line}\n" for line in lines))
    return 1 if loaded.settings is None or reasons or faults or group else 0


def _first_steps(file: Path) -> str:
    return (f"nothing is set up in {quoted(str(file))} yet: write fake-mailserver, real-mailserver and queue-num "
            "there; see mxallowd.conf(5)")


def _refuse(loaded: Loaded) -> int:
    if loaded.unfilled:
        return Supervisor().fail(_first_steps(loaded.unfilled), NOT_SET_UP)
    first, *others = loaded.fatal
    more = f" (and {len(others)} more: --check shows all)" if others else ""
    place = "" if first.where in ("configuration", "settings") else f"{first.where}: "
    supervisor = Supervisor()
    status = supervisor.fail(f"{place}{first.message}{more}")
    # A supervisor that starts it again and again would have the usage in the log each time.
    if first.missing and not supervisor.listens:
        streams.write(sys.stderr, arguments.usage())
    return status
