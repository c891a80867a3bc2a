"""What delivery.py found: kept in files, judged by its goals, shown as tables, drawn.

Each part is a dict from a key, `NAME | NAME | …`, to the result: of the matrix an Outcome's row, of `regular` and
`days` such rows by sender, of `spam` how many bots of each model were refused.
"""
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.command import BenchError
from benchmarks.report import show
from benchmarks.situations import HOUR_S, MINUTE_S
from mxallowd.text import quoted

PARTS = ("matrix", "regular", "days", "spam")
Found = dict[str, dict[str, Any]]
Row = Mapping[str, Any]
# The settings that the goals are for, and those which leave the options for pools out.
JUDGED, WITHOUT_POOLS = "recommended", "patience alone"
FIRST_S, PATIENCE_S, LEARNED_S = 0.5, 31 * MINUTE_S, 6 * HOUR_S
MOST_NAMED = 3  # of what fails
REFUSED = ("first MX only", "last MX only", "straight to the A record", "a random MX")
THRICE = ("a random MX, three times",)


def earlier(paths: Sequence[Path]) -> Found:
    """What earlier runs found, all together; of two with the same key the later file counts."""
    found: Found = {part: {} for part in PARTS}
    for path in paths:
        try:
            one = json.loads(path.read_text(encoding="utf-8"))
            for part in PARTS:
                found[part].update(dict(one[part]))
        except (ValueError, TypeError, KeyError) as error:
            raise BenchError(f"{quoted(str(path))} is no output of --json or --save: {error!r}") from error
    return found


def save(path: Path, found: Found) -> None:
    """Write it; a reader finds the file whole. Raises OSError."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def rows(found: Found, part: str) -> Iterator[tuple[list[str], Any]]:
    """The words of each key, and its result."""
    return ((key.split(" | "), result) for key, result in found[part].items())


def goals(found: Found) -> list[tuple[str, str, str]]:
    """For each goal its name, what was measured, and `pass`, `FAIL` or `-` where nothing was."""
    matrix = [(name, way, agent, row) for (name, setting, way, agent), row in rows(found, "matrix")
              if setting == JUDGED]
    alone = [(name, way, agent, row) for (name, setting, way, agent), row in rows(found, "matrix")
             if setting == WITHOUT_POOLS]
    pools = [one for one in matrix if ", one " in one[0]]
    own = [one for one in pools if "own names" in one[0] or "one domain" in one[0]]
    standard = [one for one in matrix if one not in own and "nothing in common" not in one[0]
                and not one[0].startswith(("knows", "fake silent"))]
    judged = [
        # On a busy machine programs alone take longer. What mxallowd adds is that a SYN has to come again, after 1 s.
        _worst("standard agents, all situations: first try, added delay at most 0.5 s", standard,
               lambda row: not row["late"] and (row["longest_s"] <= FIRST_S or not row["sent_again"])),
        *(_each(f"{setting}: each 30 min, 50 min, hour, 2 h: 0 late, 0 bounced", {
            name: row for (name_of, *_), result in rows(found, "regular") if name_of == setting
            for name, row in result.items()}, lambda row: not row["late"] and not row["bounced"])
          for setting in (JUDGED, "defaults")),
        # Where a name has to be looked up, the SYN that comes again after 1 s is the first to be let in.
        _worst("pools: first message by the first try", own, lambda row: row["late"] == row["late_again"]),
        _worst("pools: later messages 0 late", own, lambda row: not row["late_again"]),
        _worst("pools by patience alone: first message at most 31 min", [one for one in alone if "own names" in one[0]],
               lambda row: (row["first_s"] or 1e9) <= PATIENCE_S),
        _worst("first MX only, trusted: first try", [one for one in matrix if one[0].endswith("only, trusted")],
               lambda row: not row["late"]),
        _worst("first MX only, learned: after at most 6 h", [one for one in matrix if one[0].endswith("MX only")],
               lambda row: (row["first_s"] or 1e9) <= LEARNED_S and not row["late_again"]),
        _each("days of all good senders: 0 lost", {
            name: row for (setting, *_), result in rows(found, "days") if setting == JUDGED
            for name, row in result.items()}, lambda row: not row["lost"]),
    ]
    for names, least in ((REFUSED, 95), (THRICE, 40)):
        counts = {name: 100 * result[name] / int(bots.split()[0]) for (setting, _, bots), result in rows(found, "spam")
                  if setting == JUDGED for name in names if name in result}
        judged.append((f"spam, {names[0]}{' and such' if len(names) > 2 else ''}: at least {least} % refused",
                       ", ".join(f"{count:.0f} %" for count in counts.values()),
                       _verdict(counts, [name for name, count in counts.items() if count < least])))
    return judged


def _worst(
    goal: str, measured: Sequence[tuple[str, str, str, Row]], reached: Callable[[Row], bool]
) -> tuple[str, str, str]:
    return _each(goal, {f"{name}, {agent}, way {way}": row for name, way, agent, row in measured}, reached)


def _each(goal: str, measured: Mapping[str, Row], reached: Callable[[Row], bool]) -> tuple[str, str, str]:
    failed = [name for name, row in measured.items() if not reached(row)]
    single = {name: row for name, row in measured.items() if name != "all"}.values()
    said = ", ".join([f"{sum(row['late'] for row in single)} late, {sum(row['lost'] for row in single)} lost "
                      f"of {sum(row['sent'] for row in single)}",
                      f"longest {spoken(max(row['longest_s'] for row in single))}",
                      *([f"fails in {len(failed)}: {'; '.join(failed[:MOST_NAMED])}"] if failed else [])]
                     ) if single else ""
    return goal, said, _verdict(measured, failed)


def _verdict(measured: Mapping[str, Any], failed: Sequence[str]) -> str:
    return "-" if not measured else "FAIL" if failed else "pass"


def tables(found: Found) -> None:
    """Print them."""
    if any(found.values()):
        show("Goals", ("goal", "measured", ""), goals(found))
    if found["matrix"]:
        show("Situations: late and lost of the messages sent, delays, SYNs sent again",
             ("situation", "settings", "way", "agent", "sent", "late", "lost", "first", "longest",
              "sent again"),
             [(*names, row["sent"], row["late"], row["lost"], spoken(row["first_s"]), spoken(row["longest_s"]),
               row["sent_again"])
              for names, row in rows(found, "matrix")])
    for part in ("regular", "days"):
        if found[part]:
            show(f"Days of mail: {part}", ("settings", "way", "days", "sender", "sent", "late", "lost", "bounced",
                                           "longest"),
                 [(*names[:3], sender, row["sent"], row["late"], row["lost"], row["bounced"], spoken(row["longest_s"]))
                  for names, result in rows(found, part) for sender, row in result.items()])
    if found["spam"]:
        show("Spam: refused", ("settings", "way", "of", "model", "refused"),
             [(*names, model, count) for names, result in rows(found, "spam") for model, count in result.items()])


def spoken(seconds: float | None) -> str:
    """A delay as people say it."""
    if seconds is None:
        return "never"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def plot(path: Path, found: Found) -> None:
    """Draw it: good mail that was late or lost, and bots that were refused, for each of the settings."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    mpl.rcParams["svg.fonttype"] = "none"  # a tenth of the size
    figure, (good, bad) = pyplot.subplots(1, 2, figsize=(13, 6), layout="constrained")
    late = {
        setting: {sender: 100 * row["late"] / max(1, row["sent"]) for part in ("regular", "days")
                  for (one, *_), result in rows(found, part) if one == setting
                  for sender, row in result.items() if sender != "all"}
        for setting in dict.fromkeys(names[0] for part in ("regular", "days") for names, _ in rows(found, part))}
    refused = {names[0]: {model: 100 * count / int(names[2].split()[0]) for model, count in result.items()}
               for names, result in rows(found, "spam")}
    for axes, title, bars in ((good, "good mail late or lost, %", late), (bad, "bots refused, %", refused)):
        labels = list(dict.fromkeys(label for values in bars.values() for label in values))
        for number, (setting, values) in enumerate(bars.items()):
            height = 0.8 / len(bars)
            axes.barh([labels.index(label) + number * height for label in values], list(values.values()), height,
                      label=setting)
        axes.set_yticks([place + 0.3 for place in range(len(labels))], labels)
        axes.set_title(title)
        axes.set_xlim(0, 100)
        axes.invert_yaxis()
        if bars and axes is (good if late else bad):
            figure.legend(loc="outside lower center", ncols=len(bars))
    try:
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    except (OSError, ValueError) as error:
        raise BenchError(f"cannot draw {quoted(str(path))}: {error}") from error
    pyplot.close(figure)
