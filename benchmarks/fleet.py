"""A fleet of 100 gateways on one machine: entries a second, how soon the others have them, what it costs.

    python benchmarks/fleet.py [--part crowd,daemon,tree,load] [--gateways 100] [--seconds 4] [--json]

    crowd   the engine with all gateways: rates, TLS, an engine that keeps its list on disk; two of the gateways are the
            product's own (its whitelist, writer and reader), one says and one hears; all others only load the engine
    daemon  what the product spends in a gateway that hears so many entries a second
    tree    what more gateways rest on (docs/fleet.md): readers that wait longer, or stand at a replica; writers alone
    load    a gateway that starts while the stream has 1,000,000 entries

The engine is redis-server on the first processor, the gateways share the others. All of them have real-time priority,
since they stand for other machines; so nothing else gets much of this one meanwhile. As root.
"""
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.command import BenchError, give, measured, parser, positive, run
from benchmarks.fleet_gateway import Found
from benchmarks.fleet_site import Site
from benchmarks.report import show
from benchmarks.scrape import quantile

RATES = (2000, 10_000, 50_000)
OWN = 8_000_000  # hosts of the product's own gateway begin here
SETTINGS: dict[str, dict[str, Any]] = {"plain": {}, "TLS": {"tls": True}, "appendonly": {"keep": True}}
STARTS_S = 1.0  # the crowd does, within that time
SHARES = {"p50": 0.5, "p99": 0.99}
PARTS = ("crowd", "daemon", "tree", "load")
Row = dict[str, Any]


def crowd(gateways: int, seconds: float, rates: Sequence[int], settings: Sequence[str]) -> list[Row]:
    """The engine with all of them, for each of these settings."""
    rows = []
    for setting in settings:
        for rate in rates:
            with Site(**SETTINGS[setting]) as site:
                sayer, hearer = site.gateway("sayer", max(1, rate // gateways)), site.gateway("hearer")
                others = gateways - 2
                schedule, came_us = site.schedule(rate * others // gateways, seconds - 0.2, others)
                sayer.begin(OWN, seconds)
                hearer.begin(OWN, seconds + STARTS_S)
                found = site.crowd(schedule, seconds, others, others).found()
                said, heard = sayer.found(), hearer.found()
                delays = own_delays(said, heard)
                rows.append({
                    "setting": setting, "rate": rate, "engine_share": found.engine_share, "errors": found.errors,
                    "crowd_p50_us": found.p50_us, "crowd_p99_us": found.p99_us,
                    "crowd_mb_s": found.bytes / seconds / 1e6, **quantiles("own", delays),
                    **quantiles("heard", [at - found.begun_us - came_us[host]
                                          for host, at in zip(heard.heard, heard.heard_us, strict=True) if host < OWN]),
                    "missing": len(said.own) - len(delays) + len(came_us) - sum(host < OWN for host in heard.heard),
                    "hearer_share": heard.processor_s / seconds, "sayer_share": said.processor_s / seconds})
                for one in (sayer, hearer):
                    one.close()
    return rows


def own_delays(said: Found, heard: Found) -> list[int]:
    """From the moment in which one gateway let a host in until the other one had it, in microseconds."""
    when = dict(zip(said.own, said.own_us, strict=True))
    return [at - when[host] for host, at in zip(heard.heard, heard.heard_us, strict=True) if host in when]


def quantiles(name: str, times: Sequence[int]) -> Row:
    """p50 and p99 of these, None where there are none."""
    return {f"{name}_{word}_us": quantile(times, share) if times else None for word, share in SHARES.items()}


def daemon(gateways: int, seconds: float, rates: Sequence[int]) -> list[Row]:
    """The product's processor time in a gateway that hears so much, and while nobody says anything."""
    rows = []
    for rate in (0, *rates):
        with Site() as site:
            hearer = site.gateway("hearer")
            schedule, _ = site.schedule(rate, seconds, gateways)
            hearer.begin(OWN, seconds + STARTS_S)
            site.crowd(schedule, seconds, 0, gateways).found()
            found = hearer.found()
            rows.append({"rate": rate, "share": found.processor_s / seconds, "resident_mib": found.resident_mib,
                         "entries": len(found.heard)})
            hearer.close()
    return rows


def tree(gateways: int, seconds: float, rate: int) -> list[Row]:
    """The engine's share where readers wait longer, stand at a replica, or where ten times as many write alone."""
    rows: list[Row] = []
    for pace_ms in (10, 20, 50):
        with Site() as site:
            schedule, _ = site.schedule(rate, seconds, gateways)
            found = site.crowd(schedule, seconds, gateways, gateways, pace_ms).found()
            rows.append({"what": f"{gateways} gateways that read each {pace_ms} ms", "engine_share": found.engine_share,
                         "p50_us": found.p50_us, "p99_us": found.p99_us, "replica_share": None})
    with Site(replica=True) as site:
        schedule, _ = site.schedule(rate, seconds, gateways)
        reading = site.crowd(b"", seconds, gateways, 0)
        found = site.crowd(schedule, seconds, 0, gateways).found()
        rows.append({"what": f"{gateways} gateways that read at a replica", "engine_share": found.engine_share,
                     "p50_us": None, "p99_us": None, "replica_share": reading.found().engine_share})
    with Site() as site:
        schedule, _ = site.schedule(rate, seconds, 10 * gateways)
        found = site.crowd(schedule, seconds, 0, 10 * gateways).found()
        rows.append({"what": f"{10 * gateways} gateways write, nobody reads", "engine_share": found.engine_share,
                     "p50_us": None, "p99_us": None, "replica_share": None})
    return rows


def load(entries: int) -> list[Row]:
    """How long a gateway needs to load so many."""
    rows = []
    for a_batch in (1, 5, 256):
        with Site() as site:
            bytes_an_entry = site.fill(entries, a_batch, 10)
            new = site.gateway("new", waits_for=entries)
            rows.append({"a_batch": a_batch, "bytes_an_entry": bytes_an_entry, "joined_s": new.joined_s,
                         "entries": new.told})
            new.close()
    return rows


def _show(found: dict[str, list[Row]], gateways: int) -> None:
    def ms(row: Row, name: str) -> str:
        values = [row[f"{name}_{word}_us"] for word in SHARES]
        return " / ".join("-" if value is None else f"{value / 1000:.1f}" for value in values)

    def share(value: float) -> str:
        return f"{100 * value:.1f}"

    if rows := found.get("crowd"):
        show(f"{gateways} gateways; ms from the entry to the other gateway, p50 / p99", (
            "new entries/s", "engine, % of a core", "sayer to hearer", "crowd to hearer", "oldest of a batch", "MB/s",
            "missing"),
             [(f"{row['rate']:,} {row['setting']}", share(row["engine_share"]), ms(row, "own"),
               ms(row, "heard"), ms(row, "crowd"), f"{row['crowd_mb_s']:.0f}", row["missing"]) for row in rows])
    if rows := found.get("daemon"):
        show("a gateway that hears", ("entries/s", "processor, % of a core", "resident, MiB", "entries"),
             [(f"{row['rate']:,}", share(row["share"]), f"{row['resident_mib']:.0f}", row["entries"]) for row in rows])
    if rows := found.get("tree"):
        show("the most entries a second", ("", "engine, % of a core", "replica, % of a core", "p50 / p99, ms"),
             [(row["what"], share(row["engine_share"]),
               "-" if row["replica_share"] is None else share(row["replica_share"]),
               "-" if row["p50_us"] is None else f"{row['p50_us'] / 1000:.1f} / {row['p99_us'] / 1000:.1f}")
              for row in rows])
    if rows := found.get("load"):
        show("a gateway that starts", ("entries a batch", "engine, bytes an entry", "until it has all, s", "entries"),
             [(row["a_batch"], f"{row['bytes_an_entry']:.0f}", f"{row['joined_s']:.2f}", row["entries"])
              for row in rows])


def main() -> int:
    """Run the command."""
    arguments = parser(__doc__)
    arguments.add_argument("--part", default=",".join(PARTS), help="default: %(default)s")
    arguments.add_argument("--gateways", type=positive, default=100)
    arguments.add_argument("--seconds", type=positive, default=4, help="of each run")
    arguments.add_argument("--settings", default=",".join(SETTINGS), help="of the crowd (default: %(default)s)")
    arguments.add_argument("--rates", default=",".join(map(str, RATES)), help="entries a second (default: %(default)s)")
    arguments.add_argument("--entries", type=positive, default=1_000_000, help="of a load")
    options = arguments.parse_args()
    parts, settings = options.part.split(","), options.settings.split(",")
    for given, known in ((parts, PARTS), (settings, tuple(SETTINGS))):
        if unknown := set(given) - set(known):
            raise BenchError(f"{', '.join(sorted(unknown))}: none of {', '.join(known)}")
    rates = [positive(one) for one in options.rates.split(",")]
    measures = {"crowd": lambda: crowd(options.gateways, options.seconds, rates, settings),
                "daemon": lambda: daemon(options.gateways, options.seconds, rates),
                "tree": lambda: tree(options.gateways, options.seconds, max(rates)),
                "load": lambda: load(options.entries)}
    found = {part: measured(measures[part]) for part in PARTS if part in parts}
    return give(options, "gateways seconds", found, lambda: _show(found, options.gateways))


if __name__ == "__main__":
    sys.exit(run("fleet", main))
