"""What the daemon says of itself; where it does not answer, what its configuration file says."""
import ipaddress
from collections.abc import Mapping
from typing import Any, NamedTuple

from mxallowd.ctl.client import Unreachable
from mxallowd.ctl.command import Daemon
from mxallowd.ctl.doctor.findings import AS_ROOT, BROKEN, OK, WARNING, Finding
from mxallowd.settings.options import OPTIONS
from mxallowd.settings.values import Address

Document = Mapping[str, Any]


class Facts(NamedTuple):
    """What all checks start from."""

    fake: tuple[Address, ...]
    real: tuple[Address, ...]
    settings: Document  # as in /v1/doctor
    daemon: Document | None  # all of /v1/doctor; None: it does not answer

    @property
    def pid(self) -> int | None:
        """The daemon's process; None: it does not answer."""
        return self.daemon.get("pid") if self.daemon else None

    @property
    def queues(self) -> list[int]:
        """Its queues; none in way c."""
        return list(self.settings["queues"])

    @property
    def group(self) -> int | None:
        """The NFLOG group of way c."""
        text = str(self.settings["capture"] or "").removeprefix("nflog:")
        return int(text) if text.isdigit() else None

    @property
    def versions(self) -> list[int]:
        """Of IP: those of the servers."""
        return sorted({one.version for one in (*self.fake, *self.real)})


def gather(daemon: Daemon, config: str) -> tuple[Facts | None, list[Finding]]:
    """The facts, and whether the daemon answers; None: nothing is known, as a finding says."""
    try:
        answer = daemon.ask("GET", "/v1/doctor")
    except Unreachable as error:
        if isinstance(error.__cause__, PermissionError):
            return _of_configuration(config, str(error), Finding(
                "daemon", WARNING, str(error), "what only the daemon knows is not known", AS_ROOT))
        return _of_configuration(config, str(error))
    if answer.status == 403:
        return _of_configuration(config, "this user may not ask the daemon", Finding(
            "daemon", WARNING, "this user may not ask the daemon", "what only the daemon knows is not known",
            AS_ROOT))
    if answer.status != 200 or not isinstance(answer.body, dict):
        return _of_configuration(config, f"the daemon answered with status {answer.status}: it may be an older one")
    facts = _facts(answer.body["settings"], answer.body)
    return facts, [Finding("daemon", OK, f"mxallowd {answer.body['version']} answers, process {answer.body['pid']}")]


def _of_configuration(
    config: str, reason: str, unseen: Finding | None = None,
) -> tuple[Facts | None, list[Finding]]:
    """What the configuration says; `unseen`: the daemon may run, and may not be asked by this user."""
    from mxallowd.control.answers.doctor import told  # noqa: PLC0415  # where the daemon answers, it is not needed
    from mxallowd.settings import Assignment  # noqa: PLC0415
    from mxallowd.settings.loading import load  # noqa: PLC0415

    option = next(one for one in OPTIONS if one.name == "config")
    loaded = load([Assignment(option, config, "command line")], bare=False)
    down = unseen or Finding(
        "daemon", BROKEN, reason,
        "while nobody serves the queue, mail passes unfiltered (with bypass) or not at all (without); in way c no new "
        "host gets in", "systemctl restart mxallowd" if loaded.settings else f"mxallowd --check -c {config}")
    if loaded.settings is None and unseen:
        return None, [down, Finding("configuration", WARNING, f"{config} cannot be read, or has faults",
                                    "nothing else can be compared with it", AS_ROOT)]
    if loaded.settings is None:
        problems = "; ".join(str(one) for one in loaded.fatal)
        return None, [down, Finding(
            "configuration", BROKEN, problems, "mxallowd does not start with it, and nothing else can be compared with "
            "it", f"mxallowd --check -c {config}")]
    return _facts(told(loaded.settings), None), [down]


def _facts(settings: Document, daemon: Document | None) -> Facts:
    fake, real = (tuple(ipaddress.ip_address(one) for one in settings[role]) for role in ("fake", "real"))
    return Facts(fake, real, settings, daemon)
