"""doctor: what keeps nolisting from working here, with the commands that mend it."""
import argparse
import os
import shlex
from typing import TYPE_CHECKING

from mxallowd.ctl.client import DEFAULT_SOCKET
from mxallowd.ctl.command import Command, Context

if TYPE_CHECKING:
    from mxallowd.ctl.doctor.findings import Finding

DEFAULT_CONFIG = "/etc/mxallowd.conf"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("domain", metavar="DOMAIN", nargs="?",
                        help="a domain whose MX records are to be compared with the servers")
    parser.add_argument("--config", "-c", metavar="FILE", default=DEFAULT_CONFIG,
                        help=f"configuration that is read where the daemon does not answer (default: {DEFAULT_CONFIG})")
    parser.epilog = f"{parser.epilog or ''}\n\nexit status: 0 all is well, 1 there are warnings, 2 something is broken"


def _given(arguments: argparse.Namespace) -> str:
    """What of the command line says where to look, for a shell."""
    words = [*(("--socket", arguments.socket) if arguments.socket != DEFAULT_SOCKET else ()),
             *(("--config", arguments.config) if arguments.config != DEFAULT_CONFIG else ()),
             *((arguments.domain,) if arguments.domain else ())]
    return "".join(f" {shlex.quote(str(word))}" for word in words)


def _run(context: Context) -> int:
    # It needs parts of the daemon, which no other command imports.
    from mxallowd.ctl.doctor import (  # noqa: PLC0415
        facts,
        fleet,
        outbound,
        process,
        queues,
        rules,
        servers,
        system,
    )
    from mxallowd.ctl.doctor.findings import AS_ROOT, OK, Finding, as_json, status  # noqa: PLC0415
    from mxallowd.ctl.output import show, show_json  # noqa: PLC0415

    known, findings = facts.gather(context.daemon, context.arguments.config)
    if known is not None:
        for module in (servers, rules, outbound, queues, process, fleet, system):
            findings += module.check(known)
        if context.arguments.domain:
            from mxallowd.ctl.doctor import records  # noqa: PLC0415

            findings += records.check(known, context.arguments.domain, known.settings["dns_servers"])
        else:
            findings.append(Finding(
                "mx", OK, "MX records were not looked at: name a domain, as in mxallowctl doctor DOMAIN"))
    again = f"{AS_ROOT}{_given(context.arguments)}"
    findings = [one._replace(command=again) if one.command == AS_ROOT else one for one in findings]
    if context.arguments.json:
        show_json(context, as_json(findings))
    else:
        for one in findings:
            show(context, f"{one.state:8} {one.what}")
            for label, text in (("why", one.why), ("mend", one.command)):
                if text:
                    show(context, f"{'':8} {label}: {text}")
    if known is not None and known.daemon is not None:
        _leave(context, findings)
    return status(findings)


def _leave(context: Context, findings: "list[Finding]") -> None:
    """Leave them with the daemon, for those who may not look at all of this; only root has seen all of it."""
    if os.geteuid() != 0:
        return
    try:
        # Whoever waits for the output has it before anything else is waited for.
        context.out.flush()
    except OSError:
        return
    from mxallowd.ctl.doctor.report import send  # noqa: PLC0415

    send(context.daemon, findings)


COMMANDS = (Command(
    "doctor", "look for what keeps nolisting from working here, and how to mend it", "mxallowctl doctor example.org",
    _arguments, _run),)
