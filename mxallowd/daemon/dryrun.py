"""What a dry run says of itself, above all where the firewall refuses all the same.

In ways c) and d), and with pf, the kernel decides by a ruleset of the operator's. mxallowd looks at that of nft alone:
whether a rule drops behind the counter `mx_refused`. Of other rulesets it says what they have to do.
"""
from collections.abc import Sequence

from mxallowd.mirrors.mirror import Mirror
from mxallowd.settings import Settings

_QUEUED = "mxallowd refuses nobody: each packet is decided, counted, logged, and accepted"
_CAPTURED = ("mxallowd refuses nobody, but here the firewall decides: its ruleset has to count in place of dropping "
             "(docs/trial.md)")
_DROPS = ("mxallowd refuses nobody, but the firewall does: unknown hosts are dropped by the ruleset of {}. Take its "
          "lines with #dry (docs/trial.md)")
# Without the name: strangers may ask for metrics.
_WARNING = "a dry run, but the firewall's ruleset drops unknown hosts: take its lines with #dry (docs/trial.md)"


def reason(settings: Settings, mirrors: Sequence[Mirror]) -> str:
    """What the line at the start says."""
    dropping = next((mirror.name for mirror in mirrors if mirror.drops), None)
    if dropping is not None:
        return _DROPS.format(dropping)
    return _CAPTURED if settings.pflog_interface else _QUEUED


def warnings(mirrors: Sequence[Mirror]) -> list[str]:
    """What /readyz says."""
    return [_WARNING] if any(mirror.drops for mirror in mirrors) else []
