"""What follows from the daemon's word about its fleet: the names in it, and what the other gateways say.

As told.py has it for the daemon itself; `daemon` is the fleet in the answer of GET /v1/doctor.
"""
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from mxallowd.ctl.doctor.findings import OK, WARNING, Finding
from mxallowd.settings.fleet import CLI

SILENT_S, GONE_S = 300, 86_400  # since the last batch, of which there is one a minute: down; taken out of service
THERE = "on the engine's host (docs/fleet.md); another engine than that of make-site has its own options"
ALONE = "entries of other gateways do not come in; this one decides by what it has"
# Reasons for which records of a gateway were not taken: what it means, and what mends it.
REASONS = {
    "too-fast": ("it says more than a gateway may, and a part of it was not taken",
                 "mxallowctl stats  # there: what lets in so many; change the key of the site if it was taken over"),
    "too-many": ("it has more entries than a gateway may have here, and its older ones made room for newer ones",
                 "mxallowctl stats  # there: what lets in so many; if these are good hosts, raise max-entries here"),
    "left-out": ("no told entry could make room for its entries", "mxallowctl status  # then raise max-entries here"),
    "late": ("they came into the stream more than 15 minutes after they were signed: the engine's clock was set, or "
             "somebody puts old batches into the stream",
             f"timedatectl  # {THERE}; {CLI} acl list: who may write to it"),
    "replayed": ("somebody puts old batches of it into the stream",
                 f"{CLI} acl list  # {THERE}: who may write to it"),
    "version": ("its mxallowd is newer than this one", "mxallowctl --version  # there and here"),
}


def names(daemon: Mapping[str, Any], config: str) -> Iterator[Finding]:
    """Who speaks in a name that is not his, or that two have."""
    mend = (f"echo 'fleet-origin NAME' >>{shlex.quote(config)} && systemctl restart mxallowd  # on one of them, with "
            "another name")
    shared = [daemon["origin"]] if daemon["origin_shared"] else []
    shared += [one["origin"] for one in daemon["peers"] if one["shared"]]
    for origin in shared:
        yield Finding("fleet-origin", WARNING,
                      f"two gateways have the name {origin}, or somebody with the key speaks in it",
                      "a part of what they say is taken for replayed, and refused", mend)
    for one in daemon["strangers"]:
        ago = one["heard_seconds"]
        if ago is not None and ago > GONE_S:
            continue
        last = "" if ago is None else f", the last {ago} s ago"
        how = "signed with a key that is not this site's" if one["reason"] == "key" else "with a forged signature"
        yield Finding(
            "fleet-key", WARNING, f"{one['messages']} batches of {one['origin']} were {how}{last}",
            "they are refused: that gateway shares nothing, or it is somebody else",
            f"mxallowctl fleet status  # on {one['origin']}: both need the same fleet-key-file and fleet-site")


def peers(daemon: Mapping[str, Any]) -> Iterator[Finding]:
    """The other gateways."""
    # Under our own name is what an earlier run has said.
    others = [one for one in daemon["peers"] if one["origin"] != daemon["origin"]]
    if not others:
        yield Finding("fleet-peers", WARNING, "no other gateway of the site was heard yet",
                      "nothing is shared", "mxallowctl doctor  # on the other gateways; fleet-site has to be the same")
    else:
        yield Finding("fleet-peers", OK, f"{len(others) + daemon['peers_left_out']} other gateways were heard, the "
                      f"last {daemon['heard_seconds'] or 0} s ago")
    for one in others:
        if daemon["connected"] and SILENT_S < (one["heard_seconds"] or 0) < GONE_S:
            yield Finding("fleet-silent", WARNING, f"{one['origin']} was not heard for {one['heard_seconds']} s",
                          "it does not run, or does not reach the engine: nothing is shared with it",
                          f"mxallowctl fleet status  # on {one['origin']}")
        if (one["heard_seconds"] or 0) < GONE_S and one["longest_seconds"] not in (None, daemon["longest_seconds"]):
            yield Finding("fleet-times", WARNING, f"hosts stay {one['longest_seconds']} s at most in the whitelist of "
                          f"{one['origin']}, and {daemon['longest_seconds']} s here",
                          "who is known to the one may be refused by the other, until he meets a fake server again",
                          "mxallowctl status  # there and here: give both the same whitelist-time and proven-time")
        for reason, (why, mend) in REASONS.items():
            if count := one["refused"].get(reason):
                yield Finding("fleet-refused", WARNING,
                              f"{count} records of {one['origin']} were not taken as it said them: {reason}", why, mend)
