"""The counters: one table with name, part and meaning of each, and the report that is made from it.

docs/reference/counters.md is made from it, and parts that count in Python take their names from here. This module
imports nothing of the package, so every module may import it.

Which way it fails: a counter whose name is not in the table is still reported, after all others; a counter that no part
gives is not reported, like those of a part that does not run. Neither stops the daemon; both fail the tests.
"""
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum


class Part(Enum):
    """Who counts."""

    DAEMON = "daemon"
    WHITELIST = "whitelist"
    DECISION = "decision"
    REFUSED = "refused hosts"
    OUTBOUND = "outbound mail"
    INPUT = "queue, capture"
    RDNS = "reverse DNS"
    DIRECT = "direct hosts"
    KERNEL_TABLE = "kernel table"
    KERNEL_LISTS = "kernel lists"
    STATE = "state directory"
    TRUST = "trusted senders"
    FLEET = "fleet"


class Kind(Enum):
    """How a number moves."""

    COUNTER = "counter"  # up, from 0 at the start of the daemon
    GAUGE = "gauge"  # up and down


@dataclass(frozen=True)
class Counter:
    """One number.

    Counters of a `family` are one number taken apart: `label` says by what, and which part this is.
    """

    name: str
    part: Part
    help: str
    kind: Kind = Kind.COUNTER
    family: str = ""
    label: tuple[str, str] = ("", "")


def _outcome(name: str, text: str) -> Counter:
    return Counter(name, Part.DECISION, f"packets: {text}", family="packets", label=("outcome", name))


COUNTERS: tuple[Counter, ...] = (
    Counter("blocked", Part.DAEMON,
            "packets to the real server that were dropped, each SYN that was sent again included: `real-refused` and "
            "`real-denied`, or `kernel-refused` where that is higher; 0 in a dry run"),
    Counter("successful", Part.WHITELIST,
            "expired entries of hosts that had contacted the real server; children do not count"),
    Counter("direct-to-fake", Part.WHITELIST,
            "expired entries of hosts that never contacted the real server; children do not count"),
    Counter("would-refuse", Part.DAEMON,
            "with `--dry-run`: packets to the real server that would have been dropped and were accepted; otherwise 0"),
    Counter("refused-later-passed", Part.DAEMON,
            "hosts that were refused (in a dry run: would have been) and connected to the real server as whitelisted "
            "ones within a day: good senders that were delayed, as a rule (`docs/trial.md`)"),
    Counter("entries", Part.WHITELIST, "hosts in the whitelist now", Kind.GAUGE),
    Counter("added", Part.WHITELIST, "entries that were made"),
    Counter("evicted", Part.WHITELIST, "entries that were removed before their time was over, to make room"),
    Counter("proven", Part.WHITELIST,
            "entries whose host completed a handshake with the real server for the first time; they make room last"),
    Counter("ended", Part.WHITELIST,
            "entries that an operator removed before their time was over"),
    _outcome("fake-new", "a host contacted the fake server and was whitelisted"),
    _outcome("fake-known", "a whitelisted host contacted the fake server again"),
    _outcome("fake-no-host",
             "the source of a contact with the fake server is an address that no remote host has (for example 0.0.0.0, "
             "loopback, link-local or multicast), or a server of the configuration; accepted, and not whitelisted"),
    _outcome("fake-denied",
             "a host that a list denies contacted the fake server; accepted, since the fake refuses it, and not "
             "whitelisted"),
    _outcome("real-first", "a whitelisted host contacted the real server for the first time"),
    _outcome("real-again", "a whitelisted host contacted the real server again"),
    _outcome("real-allowed", "a host that a list allows contacted the real server; accepted"),
    _outcome("real-untold",
             "a host that is not whitelisted contacted the real server while the queue overflows, or up to 0.6 seconds "
             "after; accepted, since its contact with the fake server may have passed unseen (`--on-overload accept`)"),
    _outcome("real-patient",
             "a host that is not whitelisted contacted the real server after as many refusals as `--patience` asks "
             "for; accepted, and whitelisted"),
    _outcome("real-network",
             "with `--network-key`: a host that is not whitelisted contacted the real server, and a contact had let in "
             "its network; accepted"),
    _outcome("real-refused", "a host that is not whitelisted contacted the real server; dropped"),
    _outcome("real-denied", "a host that a list denies contacted the real server; dropped"),
    _outcome("other",
             "the destination is no server of the configuration, or this host itself contacted the real server; "
             "accepted"),
    _outcome("no-syn",
             "no TCP segment with SYN and without ACK, RST and FIN, so no attempt to connect; accepted. The rule of "
             "the firewall should not send such packets (`docs/firewall.md`)"),
    _outcome("malformed", "the header cannot be parsed; accepted"),
    Counter("refused-attempts", Part.REFUSED,
            "connection attempts that were refused; SYNs that were sent again do not count"),
    Counter("refused-hosts", Part.REFUSED, "hosts in the memory of refused hosts now", Kind.GAUGE),
    Counter("refused-pushed-out", Part.REFUSED, "hosts that were removed from this memory, to make room for others"),
    Counter("refused-untold", Part.REFUSED,
            "times that an event about a refused host was due and found no room in the event ring; `suppressed` in "
            "the log includes them"),
    Counter("patience-waiting", Part.REFUSED,
            "with `--patience`: hosts, or networks, whose refusals are counted now", Kind.GAUGE),
    Counter("patience-let-in", Part.REFUSED, "with `--patience`: hosts that were let in for it"),
    Counter("patience-pushed-out", Part.REFUSED,
            "with `--patience`: hosts that were forgotten before a day was over, to make room for others"),
    Counter("patience-left-out", Part.REFUSED,
            "with `--patience`: refusals that were not counted: too many came at once, or others had a better claim"),
    Counter("networks-noted", Part.REFUSED,
            "with `--network-key`: networks that a contact let in; one that was forgotten, or not let in any more, "
            "counts again"),
    Counter("networks-pushed-out", Part.REFUSED,
            "with `--network-key`: networks that were forgotten before their time was over, to make room for others"),
    Counter("outbound-learned", Part.OUTBOUND,
            "hosts that were whitelisted since the own mail server connected to them"),
    Counter("outbound-renewed", Part.OUTBOUND, "times that a listed host's time was restarted for that"),
    Counter("outbound-left-out", Part.OUTBOUND,
            "connections to hosts that were not whitelisted: there were too many in this second, or no room for more"),
    Counter("received", Part.INPUT, "packets that came from the kernel"),
    Counter("verdict-accept", Part.INPUT, "packets that were accepted", family="verdicts", label=("verdict", "accept")),
    Counter("verdict-drop", Part.INPUT, "packets that were dropped", family="verdicts", label=("verdict", "drop")),
    Counter("verdict-reset", Part.INPUT, "packets that were given to the rule that rejects them (`--refuse reset`)",
            family="verdicts", label=("verdict", "reset")),
    Counter("overruns", Part.INPUT, "times that the kernel had no room for a message to mxallowd (ENOBUFS)"),
    Counter("interrupted", Part.INPUT, "system calls that a signal interrupted (EINTR); mxallowd repeats them"),
    Counter("unknown", Part.INPUT, "verdicts for packets that were no longer in the queue (ENOENT)"),
    Counter("errors", Part.INPUT, "other errors that the kernel returned"),
    Counter("broken", Part.INPUT, "messages and captured packets that were too short or inconsistent to be read"),
    Counter("unsent", Part.INPUT, "verdicts that could not be sent"),
    Counter("queue-full", Part.INPUT,
            "packets that found no room in the queue; the kernel gave them the verdict of `--on-overload`"),
    Counter("came-again", Part.INPUT,
            "accepted packets that already had the mark of `--verdict-mark` when they came; accepted for good"),
    Counter("not-rejected", Part.INPUT,
            "refused packets that already had the mark of `--refuse-mark` when they came; dropped for good"),
    Counter("lost-by-kernel", Part.INPUT,
            "packets that the kernel dropped because it could not hand them over; for a queue, only a daemon that was "
            "started as root can read this"),
    Counter("lost-events", Part.DAEMON, "events that found no room in an event ring; the log does not show them"),
    Counter("no-hosts", Part.DAEMON,
            "addresses that a name or a kernel table gave and that were not whitelisted, because no host can have them "
            "(loopback, link-local, multicast and the like) or they are those of the own servers"),
    Counter("looked-up", Part.RDNS, "hosts whose name was looked up"),
    Counter("confirmed", Part.RDNS, "names whose addresses contain the host"),
    Counter("unconfirmed", Part.RDNS, "names whose addresses do not contain the host"),
    Counter("children", Part.RDNS, "hosts that were whitelisted because of their name"),
    Counter("pool-children", Part.RDNS, "of these: with `--pool-domain`, because of its registered domain"),
    Counter("children-renewed", Part.RDNS,
            "times that a listed host's time was prolonged, because a host of the same name contacted the fake server"),
    Counter("children-left-out", Part.RDNS,
            "addresses of a name that were not whitelisted, because of a bound or because there was no room; of one "
            "contact those above its own bound count once"),
    Counter("dns-queries", Part.RDNS, "DNS queries (of these, c-ares answers some itself from what it has cached)"),
    Counter("zones-set-aside", Part.RDNS, "times that a zone was set aside, because its name servers did not answer"),
    Counter("limited", Part.RDNS, "hosts that were not looked up, because a bound was reached"),
    Counter("lookup-failed", Part.RDNS, "lookups that failed"),
    Counter("timed-out", Part.RDNS, "lookups that no name server answered in time"),
    Counter("direct-learned", Part.DIRECT,
            "with `--direct-after`: hosts that were learned to try the first MX alone, and are led to the real server"),
    Counter("direct-unfit", Part.DIRECT,
            "with `--direct-after`: hosts that met the fake server as often as it asks for, and have no confirmed "
            "name, or one that carries their address; asked about again after an hour"),
    Counter("direct-left-out", Part.DIRECT, "with `--direct-after`: hosts that were not learned, for want of room"),
    Counter("kernel-table-changed", Part.KERNEL_TABLE, "hosts that were entered, corrected or removed"),
    Counter("kernel-table-filled", Part.KERNEL_TABLE, "times that a kernel table was filled again"),
    Counter("kernel-table-failed", Part.KERNEL_TABLE, "operations on a kernel table that failed"),
    Counter("kernel-table-rejected", Part.KERNEL_TABLE,
            "hosts that a kernel table did not take, although it takes others"),
    Counter("kernel-table-limited", Part.KERNEL_TABLE,
            "changes for which there was no room in the queue of changes; the table is filled again"),
    Counter("kernel-accepted", Part.KERNEL_TABLE,
            "packets that the counter `mx_accepted` of the ruleset has counted (`docs/firewall.md`)",
            family="kernel-packets", label=("verdict", "accept")),
    Counter("kernel-refused", Part.KERNEL_TABLE, "packets that the counter `mx_refused` of the ruleset has counted",
            family="kernel-packets", label=("verdict", "drop")),
    Counter("kernel-denied", Part.KERNEL_TABLE, "packets that the counter `mx_denied` of the ruleset has counted",
            family="kernel-packets", label=("verdict", "deny")),
    Counter("kernel-lists-filled", Part.KERNEL_LISTS, "times that a set of allowed or denied networks was filled"),
    Counter("kernel-lists-failed", Part.KERNEL_LISTS, "looks at these sets, or changes of them, that failed"),
    Counter("state-changes", Part.STATE, "hosts of which a change was written to the state directory"),
    Counter("state-snapshots", Part.STATE, "times that the whole whitelist was written to the state directory"),
    Counter("state-failed", Part.STATE, "times that the state directory could not be read or written"),
    Counter("trust-networks", Part.TRUST, "with `--trust`: networks of its spf and network lines now", Kind.GAUGE),
    Counter("trust-hosts", Part.TRUST, "with `--trust`: hosts that are let in by dnswl and domain lines now",
            Kind.GAUGE),
    Counter("trust-faults", Part.TRUST,
            "with `--trust`: lines without a good answer now, and the file itself where it could not be read again; "
            "`mxallowctl status` names them", Kind.GAUGE),
    Counter("trust-questions", Part.TRUST, "with `--trust`: questions to name servers"),
    Counter("trust-learned", Part.TRUST, "SPF records of trusted senders that were believed"),
    Counter("trust-failed", Part.TRUST, "SPF records of trusted senders without an answer, or not believed"),
    Counter("trust-pushed-out", Part.TRUST, "hosts by dnswl and domain lines that made room for others"),
    Counter("dnswl-listed", Part.TRUST, "hosts that a list of the file of trusted senders has let in"),
    Counter("dnswl-passed-over", Part.TRUST,
            "hosts of which such a list was not asked, since too many questions were under way or the day's were used "
            "up"),
    Counter("dnswl-distrusted", Part.TRUST, "times that such a list was distrusted"),
    Counter("fleet-said", Part.FLEET, "with `--fleet`: entries that were said to the other gateways"),
    Counter("fleet-rounds", Part.FLEET, "times that entries were said again, since the engine may have lost them"),
    Counter("fleet-waiting", Part.FLEET, "hosts that are to be said now", Kind.GAUGE),
    Counter("fleet-heard", Part.FLEET, "entries of other gateways that were heard, those said again included"),
    Counter("fleet-entered", Part.FLEET, "entries that came in because another gateway told of them"),
    Counter("fleet-removed", Part.FLEET, "entries that were ended because another gateway did"),
    Counter("fleet-refused", Part.FLEET,
            "batches and entries that were not taken, or made room for newer ones; `mxallowctl fleet status` has the "
            "reasons"),
    Counter("fleet-gateways", Part.FLEET, "other gateways that were heard", Kind.GAUGE),
    Counter("fleet-broken", Part.FLEET, "times that the engine could not be used any more"),
    Counter("stress", Part.DAEMON, "times that stress mode started"),
)


def names(part: Part) -> tuple[str, ...]:
    """The counters of a part, in the order of the table."""
    return tuple(counter.name for counter in COUNTERS if counter.part is part)


def collect(parts: Iterable[Mapping[str, int]], *, dry_run: bool = False) -> dict[str, int]:
    """What these parts have counted, in the order of the table; equal names are added up."""
    sums: dict[str, int] = {}
    for part in parts:
        for name, value in part.items():
            sums[name] = sums.get(name, 0) + value
    # Where the kernel refuses by itself, it shows the daemon only a part of these packets and counts all of them.
    refused = max(sums.get("real-refused", 0) + sums.get("real-denied", 0), sums.get("kernel-refused", 0))
    sums["blocked"], sums["would-refuse"] = (0, refused) if dry_run else (refused, 0)
    report = {counter.name: sums.pop(counter.name) for counter in COUNTERS if counter.name in sums}
    return report | sums
