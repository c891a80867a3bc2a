"""What explain concludes: why a host is in or not, what to do, and what holds for a network. Pure functions."""
from collections.abc import Collection, Mapping, Sequence

from mxallowd.control.answers.ways import Kernel, differences
from mxallowd.control.exchange import timestamp
from mxallowd.engine._refused import STEP_US
from mxallowd.engine.hosts import is_host
from mxallowd.history.hosts import Happening
from mxallowd.lists.composition import ALLOW, DENY, Match
from mxallowd.provenance import pool_of
from mxallowd.settings.values import Network
from mxallowd.whitelist import Entry

WHY = {
    "contact": "it contacted the fake server", "by-hand": "it was let in by hand",
    "restored": "it was whitelisted before a restart", "peer": "another gateway told of it",
    "trusted": "it is let in for what it is known to be",
    "patience": "it was refused as often as --patience asks for",
    "outbound": "our own mail server connects to it",
}
SAME_S = 2 * STEP_US / 1_000_000  # between an event and the record of the same attempt
# What happened, in the words of a dry run's log.
IN_A_DRY_RUN = {"refused": "would-refuse", "denied": "would-deny"}


def no_sender(host: bytes, servers: Collection[bytes]) -> str | None:
    """Why no mail comes from this address; None: some may."""
    if host in servers:
        return "it is a server of the configuration, and no remote host"
    return None if is_host(host) else "no remote host has such an address: it is never whitelisted"


def why(
    entry: Entry | None, match: Match | None, exempt: str | None, ended: str | None,
    network: Mapping[str, object] | None = None,
) -> str:
    """Why it is in or not, in few words. `ended`: what became of its entry; `network`: which a contact has let in."""
    if exempt is not None:
        return f"the rules exempt it: a set mx_exempt of {exempt} holds it"
    if match is not None:
        return f"{match.what}, {match.where}"
    if entry is None:
        return (f"a contact of another host let in its network {network['network']} until {network['until']}" if network
                else f"it is not in the whitelist{f': {ended}' if ended else ''}")
    if entry.origin == "child":
        name = entry.way
        if (pool := pool_of(name)) is not None:
            return (f"pool {pool.domain}: its name {pool.name} is below this domain, as a name of {pool.founder} is, "
                    "which was whitelisted before")
        # A name has no blank.
        return f"child of its {name}, which a contact of another host let in" if " " in name else (
            f"child of {name}: another host of this name contacted the fake server" if name else
            "child: another host of its name contacted the fake server")
    return f"the gateway {entry.gateway} told of it" if entry.gateway else WHY.get(entry.origin, entry.origin)


def rehearsed(reason: str, outcomes: Collection[str]) -> str:
    """Why, in the words of a dry run where it would be refused; `outcomes` are those at the real servers in one."""
    words = [word for outcome, word in (("real-denied", "would-deny"), ("real-refused", "would-refuse"))
             if outcome in outcomes]
    return f"dry run, {words[0]}: {reason}" if words else reason


def attempts_s(first_us: int, last_us: int, times: int, happened: Sequence[Happening]) -> tuple[int, int]:
    """When the first and the last attempt of a refused host were, in whole seconds of the packet path's clock.

    Its record has steps of STEP_US, and counts a packet that is sent again, too; an event of the same attempt has its
    own second, which counts. Of one attempt the two are the same.
    """
    events = [one.time_s for one in happened if one.what in ("refused", "denied")]
    first, last = (next((at for at in order if abs(at - us / 1_000_000) < SAME_S), us // 1_000_000)
                   for us, order in ((first_us, events), (last_us, events[::-1])))
    return first, max(first, last) if times > 1 else first


def ended(
    happened: Sequence[Happening], lasts_s: int, now_s: int, wall: float, removed: tuple[str, float] | None = None,
) -> str | None:
    """What became of the entry of a host that has none now; None: not known. `wall` is 1970's time of second 0.

    `removed`: which gateway has removed it, and when (1970).
    """
    last = max((one.time_s for one in happened if one.what in ("contact", "renewed")), default=None)
    if removed is not None and (last is None or wall + last <= removed[1]):
        return f"the gateway {removed[0]} removed its entry at {timestamp(removed[1])}"
    if last is None:
        return None
    if last + lasts_s <= now_s:
        return f"its entry of {timestamp(wall + last)} ended at {timestamp(wall + last + lasts_s)}"
    return f"its entry of {timestamp(wall + last)} was removed, or made room for others"


def what_to_do(  # noqa: PLR0913  # what is known
    address: str, match: Match | None, *, gets_in: bool, has_server: bool, kernel: Sequence[Mapping[str, object]],
    shared: bool = False,
) -> list[str]:
    """Commands that let a host in, best first. `shared`: with other gateways (--fleet)."""
    if not has_server:
        return ["no real server of this address family is configured: the host cannot come to one"]
    if gets_in:
        return []
    if match is not None and match.verdict == DENY:
        if match.network.num_addresses == 1:
            # One that is equally long is denied all the same.
            return [removed(match)]
        return [removed(match), f"or let this address in all the same: mxallowctl allow add {address}"]
    longest = "  # at the other gateways for their whitelist-time at most" if shared else ""
    commands = [f"mxallowctl add {address} --time 86400{longest}", f"mxallowctl allow add {address}"]
    if any(one["fault"] for one in kernel):
        commands.append("mxallowctl doctor")
    return [*commands, "or let it contact the fake server first, as senders that keep to RFC 5321 do"]


def unheard(fleet: Mapping[str, object]) -> str | None:
    """What is not heard of other gateways now, by the status of a fleet; None: nothing is known to be missing."""
    if fleet["connected"]:
        return None
    return (f"the fleet is broken for {fleet['since_seconds']} s: a contact at another gateway since then is not known "
            f"here (mxallowctl fleet status): {fleet['fault']}")


def removed(match: Match) -> str:
    """How to take a denied network out of its list."""
    return (f"mxallowctl deny remove {match.network}" if match.source == "by hand"
            else f"remove {match.network} at {match.where}, then mxallowctl reload")


def of_network(network: Network, matches: Sequence[Match], *, more: bool) -> tuple[str | None, list[str]]:
    """What the lists say of all addresses of a network (`allow`, `deny`, `mixed`, None: nothing), and what to do.

    `matches` share an address with it; `more`: there are further ones.
    """
    around = [one for one in matches if one.network.prefixlen <= network.prefixlen]
    within = [one for one in matches if one.network.prefixlen > network.prefixlen]
    # The longest holds, and deny where two are equally long.
    holds = max(around, key=lambda one: (one.network.prefixlen, one.verdict == DENY), default=None)
    verdict = _decides(holds) if holds else None
    if more or any(_decides(one) != verdict for one in within):
        verdict = "mixed"
    add = [f"mxallowctl allow add {network}", f"mxallowctl add {network} --time 86400"]
    if verdict == "allow":
        return verdict, []
    denied = [one for one in within if one.verdict == DENY]
    if holds is not None and holds.verdict == DENY and holds.network == network:
        # An allowed network that is equally long would do nothing.
        add = [removed(holds), *(f"then {one}" for one in add)]
    elif holds is not None and holds.verdict != DENY:
        add = []
    return verdict, [*add, *(removed(one) for one in denied)]


def _decides(match: Match) -> str:
    """What it means at the real server: who is direct is allowed."""
    return DENY if match.verdict == DENY else ALLOW


def listed(match: Match) -> dict[str, object]:
    """A network of a list, as JSON has it."""
    return {"verdict": match.verdict, "network": str(match.network), "origin": match.origin, "where": match.where,
            "note": match.note,
            "until": None if match.until is None else timestamp(match.until)}


def together(tables: Sequence[Kernel]) -> Kernel | None:
    """All tables as one: a rule of any of them counts."""
    if not tables:
        return None
    sets: dict[str, bool] = {}
    for one in tables:
        for name, held in one.sets.items():
            sets[name] = held or sets.get(name, False)
    return Kernel(sets, tables[0].version, tables[0].pf_table, next((one.fault for one in tables if one.fault), None))


def table(
    name: str, kernel: Kernel, entry: Entry | None, match: Match | None, *, denies: bool,
) -> dict[str, object]:
    """What one table of the firewall said."""
    if kernel.fault:
        return {"table": name, "sets": None, "listed": None, "used": None, "in_step": None, "fault": kernel.fault}
    verdict = None if match is None or (match.verdict == DENY and not denies) else _decides(match)
    differs = differences(entry is not None, entry is not None and entry.used, verdict, kernel)
    listed = bool(kernel.sets.get(kernel.pf_table)) if kernel.pf_table is not None else kernel.held("mx_white")
    return {"table": name, "sets": dict(kernel.sets), "listed": listed, "used": kernel.held("mx_used"),
            "in_step": differs is None, "fault": differs}
