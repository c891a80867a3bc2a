"""The settings: made from the command line and the configuration file, checked and frozen.

Servers of both sources are added up. Of single values the last one counts, and the command line comes after the file.
A setting that cannot be used becomes a Problem, with the place where it stood. The caller decides what to do with the
problems; if one of them is fatal, there are no settings.
"""
import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from mxallowd.captures.filters import compile_filter
from mxallowd.settings.fleet import Engine, Secret
from mxallowd.settings.options import OPTIONS, Kind, Option
from mxallowd.settings.values import Address, Network
from mxallowd.text import quoted

ON_BSD = "bsd" in sys.platform or sys.platform.startswith("dragonfly")
SERVERS = ("fake-mailserver", "real-mailserver")
TOLD_AGAIN_US = 60_000_000
PFLOG_INTERFACE, PF_TABLE = "pflog0", "mx-white"


@dataclass(frozen=True)
class Assignment:
    """An option with the text of its value (empty for a flag) and where it stood."""

    option: Option
    text: str
    where: str
    line: int = 0  # of the file; 0 elsewhere


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with the input. `where` is `file:line` or `command line`."""

    where: str
    message: str
    fatal: bool = True
    missing: bool = False  # something required was not given at all: the usage helps
    line: int = 0  # of the file; 0 elsewhere
    passed_over: Option | None = None  # a flag that counts all the same

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.fatal else f"{self.where}: warning: {self.message}"


@dataclass(frozen=True)
class Settings:
    """All settings, converted; the names are those of the options."""

    config: Path
    fake_mailserver: tuple[Address, ...]
    real_mailserver: tuple[Address, ...]
    queue_num: range | None
    whitelist_time: int  # seconds
    renew: str  # never, contact, use or both
    proven_time: int | None  # seconds after the last connection; None: a proven host lives as long as any
    patience: tuple[int, int] | None  # times and seconds; None: nobody comes in for it
    patience_network: bool
    pool_domain: bool
    network_key: tuple[int, int] | None  # bits of IPv4 and IPv6 prefixes; None: a contact lets in itself alone
    learn_outbound: str | None  # nflog:GROUP; None: nobody is learned from outbound mail
    no_rdns_whitelist: bool
    rdns_unconfirmed: bool
    dns_server: tuple[str, ...]  # ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT[%INTERFACE]; none: those of resolv.conf
    dns_rate: int  # lookups a second
    log_hosts: int  # lines about hosts a second; 0: none
    log_format: str  # text or json
    allow: tuple[Network | Path, ...]
    deny: tuple[Network | Path, ...]
    trust: Path | None
    direct_after: tuple[int, int] | None  # attempts and seconds; None: nobody is learned
    direct_table: str | None  # FAMILY NAME, or ipset; None: nft_table and ipset
    dry_run: bool
    state_dir: Path
    control: Path
    control_change_group: str | None  # a name or a number; None: root and the daemon's user alone may change it
    metrics: tuple[Address, int] | None  # address and port; None: by the control socket alone
    fleet: Engine | None  # None: the whitelist is this gateway's alone
    fleet_site: str | None
    fleet_key_file: Path | None
    fleet_origin: str | None  # None: the host's name
    fleet_login_file: Path | None
    fleet_ca_file: Path | None
    fleet_cert_file: Path | None
    fleet_cert_key_file: Path | None
    dns_zone_rate: int  # queries a second to one zone
    dns_query_rate: int  # queries a second in all
    rdns_max_children: int  # of one contact
    stdout: bool
    quiet: bool
    foreground: bool
    pflog_interface: str | None  # an interface, nflog:GROUP or file:PATH; None: nothing is captured
    pcap_filter: str
    pf_table: str | None
    nft_table: str | None  # FAMILY NAME
    nft_setup: bool
    door: tuple[str, ...]  # interfaces; none: no chain stands at one
    ipset: bool
    flush_on_exit: bool
    queue_length: int  # packets
    on_overload: str  # accept or drop
    verdict_mark: tuple[int, int] | None  # value and mask
    refuse: str  # drop or reset
    refuse_mark: tuple[int, int]  # value and mask
    no_watchdog: bool
    max_entries: int
    max_refused: int  # hosts
    user: str | None  # a name or a number; None: mxallowd, where there is such a user, else nobody
    no_sandbox: bool
    pid_file: Path


    @property
    def copied_entries(self) -> int:
        """For so many hosts of the whitelist, twice, a set of the firewall needs room: with what a fleet tells."""
        return 2 * self.max_entries if self.fleet else self.max_entries

    @property
    def renewed_after_us(self) -> int:
        """Once an entry has lost so many microseconds of its time, what `renew` names restarts that.

        With a fleet, another gateway may have forgotten the host meanwhile, and a contact here is to count there.
        """
        eighth_us = self.whitelist_time * 1_000_000 // 8
        return min(eighth_us, TOLD_AGAIN_US) if self.fleet else eighth_us

    @property
    def tells_contacts(self) -> bool:
        """Whether other gateways are to be told of contacts that renew nothing here.

        They do not where `renew` says so, nor where a host is listed for longer than a contact would let it be.
        """
        return self.fleet is not None and (
            self.renew not in ("contact", "both") or self.longest_time > self.whitelist_time)

    @property
    def longest_time(self) -> int:
        """Seconds that an entry nobody else gave a time of its own can last, from now on."""
        return max(self.whitelist_time, self.proven_time or 0)


def build(assignments: Iterable[Assignment]) -> tuple[Settings | None, list[Problem]]:
    """Settings from assignments, the later ones counting more, and every problem found. None where one is fatal."""
    values: dict[str, object] = {
        option.field: {} if option.kind is Kind.LIST else option.default
        for option in OPTIONS
        if option.kind is not Kind.ACTION
    }
    given: set[str] = set()
    roles: dict[object, Option] = {}
    problems: list[Problem] = []
    for assignment in assignments:
        option = assignment.option
        given.add(option.name)
        if option.kind is Kind.FLAG:
            values[option.field] = True
            continue
        try:
            value = option.convert(assignment.text)
        except ValueError as error:
            shown = error.shown if isinstance(error, Secret) else assignment.text
            problems.append(Problem(assignment.where, f"{option.name}: {quoted(shown)} {error}", line=assignment.line))
            continue
        collected = values[option.field]
        if not isinstance(collected, dict):
            values[option.field] = value
        elif option.name in SERVERS and roles.setdefault(value, option) is not option:
            message = f"{option.name}: {quoted(assignment.text)} is a {roles[value].name} already"
            problems.append(Problem(assignment.where, message, line=assignment.line))
        else:
            # A dict for its keys: each server once, in the order given.
            collected[value] = None
    _complete(values)
    problems += _dry_run(values)
    problems += _times(values)
    problems += _names(values)
    problems += _door(values)
    problems += _missing(given, values)
    problems += _fleet(given, values)
    problems += _filter_problems(str(values["pflog_interface"] or ""), str(values["pcap_filter"]))
    if any(problem.fatal for problem in problems):
        return None, problems
    frozen = {name: tuple(value) if isinstance(value, dict) else value for name, value in values.items()}
    return Settings(**frozen), problems  # type: ignore[arg-type]  # the converters of the table gave the types


def _complete(values: dict[str, object]) -> None:
    """What a BSD does where nothing else is said: capture from pflog0, and feed pf's table, as mxallowd 1.9 did."""
    if not ON_BSD:
        return
    if values["queue_num"] is None and values["pflog_interface"] is None:
        values["pflog_interface"] = PFLOG_INTERFACE
    # A rehearsal from a file leaves the firewall alone unless it is told otherwise.
    if values["pf_table"] is None and not str(values["pflog_interface"] or "file:").startswith("file:"):
        values["pf_table"] = PF_TABLE


def _dry_run(values: dict[str, object]) -> list[Problem]:
    """Nothing is refused in a dry run, by a full queue neither."""
    if not values["dry_run"] or values["on_overload"] == "accept":
        return []
    values["on_overload"] = "accept"
    return [Problem("settings", "dry-run accepts everything, so on-overload is accept", fatal=False)]


def _times(values: dict[str, object]) -> list[Problem]:
    """A time that changes nothing."""
    proven, every = values["proven_time"], values["whitelist_time"]
    if not isinstance(proven, int) or not isinstance(every, int) or proven > every:
        return []
    message = f"proven-time {proven} changes nothing: whitelist-time {every} is as long"
    return [Problem("settings", message, fatal=False)]


def _names(values: dict[str, object]) -> list[Problem]:
    """What stands on names of hosts, which are not looked up then. Nobody is learned as direct: no sink has to ask."""
    why = ("no-rdns-whitelist" if values["no_rdns_whitelist"]
           else "rdns-max-children 0" if values["rdns_max_children"] == 0 else None)
    if why is None:
        return []
    idle = [name for name, field in (("pool-domain", "pool_domain"), ("direct-after", "direct_after")) if values[field]]
    values["direct_after"] = None
    return [Problem("settings", f"{name} does nothing: with {why} no name is looked up", fatal=False) for name in idle]


def _door(values: dict[str, object]) -> list[Problem]:
    """A door whose chain nobody can look for. Mail comes in all the same, so it is a warning."""
    if not values["door"] or values["nft_table"] is not None:
        return []
    return [Problem("settings", "door does nothing without nft-table, whose chain stands there", fatal=False)]


def _fleet(given: set[str], values: dict[str, object]) -> list[Problem]:
    """What the fleet needs, and what does nothing without it."""
    names = [option.name for option in OPTIONS if option.name.startswith("fleet-") and values[option.field] is not None]
    engine = values["fleet"]
    if not isinstance(engine, Engine) and "fleet" in given:
        # One that cannot be used is a problem of its own.
        return []
    if not isinstance(engine, Engine):
        return [Problem("settings", f"{name} does nothing without fleet", fatal=False) for name in names]
    problems = [Problem("settings", f"fleet needs {name}") for name in ("fleet-site", "fleet-key-file")
                if name not in names]
    if "fleet-cert-key-file" in names and "fleet-cert-file" not in names:
        problems.append(Problem("settings", "fleet-cert-key-file needs fleet-cert-file, the certificate of that key"))
    if engine.master is not None and len(engine.hosts) == 1:
        problems.append(Problem(
            "settings", f"fleet: {engine} asks one Sentinel, {engine.hosts[0][0]} port {engine.hosts[0][1]}, for the "
            f"master {engine.master}; the name of the site is for fleet-site", fatal=False))
    if not engine.tls:
        problems += [Problem("settings", f"{name} does nothing: {engine} is without TLS (rediss)", fatal=False)
                     for name in names if name in ("fleet-ca-file", "fleet-cert-file", "fleet-cert-key-file")]
    return problems


def _missing(given: set[str], values: dict[str, object]) -> list[Problem]:
    problems = [
        Problem("settings", f"no {name} is given: at least one is needed", missing=True)
        for name in ("fake-mailserver", "real-mailserver")
        if name not in given
    ]
    if not given & {"queue-num", "pflog-interface"} and values["pflog_interface"] is None:
        problems.append(Problem("settings", "no queue-num is given: it is the number in the firewall rule "
                                "(or pflog-interface, to capture)", missing=True))
    if str(values["pflog_interface"] or "").startswith("file:") and "queue-num" in given:
        problems.append(Problem("settings", "a file (pflog-interface) is rehearsed alone, without queue-num"))
    if "verdict-mark" in given and "queue-num" not in given:
        problems.append(Problem("settings", "verdict-mark needs queue-num: captured packets get no verdict"))
    if values["refuse"] == "reset" and values["queue_num"] is None and values["pflog_interface"] is not None:
        problems.append(Problem("settings", "refuse reset needs queue-num: where the firewall decides, its rules "
                                "reject (docs/firewall.md)"))
    elif values["refuse"] == "reset" and shares_bits(values["verdict_mark"], values["refuse_mark"]):
        problems.append(Problem("settings", "refuse-mark and verdict-mark share bits: a rule could take a refused "
                                "packet for an accepted one"))
    if values["learn_outbound"] is not None and values["learn_outbound"] == values["pflog_interface"]:
        problems.append(Problem("settings", "learn-outbound needs a group of its own, not that of pflog-interface"))
    if values["pflog_interface"] == "file:-" and not values["foreground"]:
        problems.append(Problem("settings", "file:- (pflog-interface) reads standard input, which needs foreground"))
    if "patience-network" in given and "patience" not in given:
        problems.append(Problem("settings", "patience-network needs patience, the refusals that it counts"))
    if "nft-setup" in given and "nft-table" not in given:
        problems.append(Problem("settings", "nft-setup needs nft-table, the table that it is to create"))
    tables = ("pf_table", "nft_table", "ipset", "direct_table")
    if "flush-on-exit" in given and not any(values[table] for table in tables):
        problems.append(Problem("settings", "flush-on-exit needs a table to empty: pf-table, nft-table, ipset or "
                                "direct-table"))
    return problems


def shares_bits(one: object, other: object) -> bool:
    """Whether two marks, (value, mask) each or None, can be taken for each other."""
    return isinstance(one, tuple) and isinstance(other, tuple) and bool(one[1] & other[1])


def _filter_problems(source: str, expression: str) -> list[Problem]:
    """What is wrong with a filter that libpcap will not compile; of the others it is seen at the start."""
    if not source.startswith(("nflog:", "pflog")):
        return []
    try:
        compile_filter(expression)
    except ValueError as error:
        return [Problem("settings", f"pcap-filter: {quoted(expression)} {error}")]
    return []


def changed(before: Settings, after: Settings) -> tuple[str, ...]:
    """The names of the options whose settings differ."""
    names = [field.name for field in fields(Settings) if getattr(before, field.name) != getattr(after, field.name)]
    return tuple(option.name for option in OPTIONS if option.field in names)
