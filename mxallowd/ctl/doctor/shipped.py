"""Rulesets as the project ships them: whether rules are of one, which way it is, and the command that loads it again.

What is wrong with such a ruleset is mended by loading it anew, never rule by rule: its chains belong together, and a
rule that accepts known hosts looks like one that accepts strangers to whoever sees one rule alone.
"""
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mxallowd.ctl.doctor.walk import Chain, Ruleset, Step

DEFAULT_CONFIG = "/etc/mxallowd.conf"
_NFT = {"mx_new", "mx_real", "mx_fake"}  # of set.nft, door.nft and door-raw.nft; ways a and b have no mx_real
_IPTABLES = "MXALLOWD"  # and MXALLOWD_FAKE, MXALLOWD_REAL


def holds(rules: Ruleset, one: Step | Chain) -> bool:
    """Whether a rule or chain is of the ruleset of way c or d."""
    if one.program != "nft":
        return (one.chain if isinstance(one, Step) else one.name).startswith(_IPTABLES)
    return {chain.name for chain in rules.chains if chain.program == "nft" and chain.table == one.table} >= _NFT


def way(rules: Ruleset, settings: Mapping[str, Any]) -> str:
    """`d` where the daemon knows of doors or the rules have one (door-raw.nft needs no --door); else `c`."""
    door = any(chain.name == "door" and holds(rules, chain) for chain in rules.chains if chain.program == "nft")
    return "d" if door or settings.get("door") else "c"


def load(settings: Mapping[str, Any], pid: int | None, letter: str) -> str:
    """The command that prints the ruleset of a way as the daemon was started, and loads it if that succeeded.

    `pid` is the daemon's; None: it does not run.
    """
    iptables = letter != "d" and settings.get("nft_table") is None and bool(settings.get("ipset"))
    words = ["mxallowd", *_given(settings, pid), "--print-ruleset", letter, *(["--iptables"] if iptables else [])]
    # A pipe alone would hide that nothing was printed: nft loads nothing with success.
    return f"rules=$({shlex.join(words)}) && printf '%s\\n' \"$rules\" | {'sh' if iptables else 'nft -f -'}"


def _given(settings: Mapping[str, Any], pid: int | None) -> Sequence[str]:
    """The daemon's command line; where it cannot be seen, its configuration file."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="surrogateescape").split("\0")[:-1]
    except OSError:
        words = []
    # An interpreter with its options may stand in front: python3 -m mxallowd, python3 /usr/bin/mxallowd.
    at = next((at for at, word in enumerate(words[:5]) if Path(word).name == "mxallowd"), None)
    if pid is not None and at is not None:
        return words[at + 1 :]
    config = str(settings.get("config") or DEFAULT_CONFIG)
    return ["-c", config] if config != DEFAULT_CONFIG else []
