"""The settings: what command line and configuration file come to, checked and frozen.

Servers of both sources add up; of single values the last one counts, and the command line stands after the file.
A setting that cannot be used is a problem with the place where it stood; whoever reads the settings
decides what to do with the problems, and with any fatal one there are no settings.
"""
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from mxallowd.options import OPTIONS, Address, Kind, Option
from mxallowd.text import quoted


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

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.fatal else f"{self.where}: warning: {self.message}"


@dataclass(frozen=True)
class Settings:
    """All settings, converted; the names are those of the options."""

    config: Path
    fake_mailserver: tuple[Address, ...]
    real_mailserver: tuple[Address, ...]
    queue_num: range
    whitelist_time: int  # seconds
    no_rdns_whitelist: bool
    rdns_unconfirmed: bool
    dns_server: tuple[str, ...]  # ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT; none: those of resolv.conf
    dns_rate: int  # lookups a second
    stdout: bool
    quiet: bool
    foreground: bool
    pflog_interface: str
    pcap_filter: str
    queue_length: int  # packets
    max_entries: int
    pid_file: Path


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
            problems.append(Problem(assignment.where, f"{option.name}: {quoted(assignment.text)} {error}",
                                    line=assignment.line))
            continue
        collected = values[option.field]
        if not isinstance(collected, dict):
            values[option.field] = value
        elif roles.setdefault(value, option) is not option:
            message = f"{option.name}: {quoted(assignment.text)} is a {roles[value].name} already"
            problems.append(Problem(assignment.where, message, line=assignment.line))
        else:
            # A dict for its keys: each server once, in the order given.
            collected[value] = None
    problems += _missing(given)
    if any(problem.fatal for problem in problems):
        return None, problems
    frozen = {name: tuple(value) if isinstance(value, dict) else value for name, value in values.items()}
    return Settings(**frozen), problems  # type: ignore[arg-type]  # the converters of the table gave the types


def _missing(given: set[str]) -> list[Problem]:
    problems = [
        Problem("settings", f"no {name} is given: at least one is needed", missing=True)
        for name in ("fake-mailserver", "real-mailserver")
        if name not in given
    ]
    if "queue-num" not in given:
        if "pflog-interface" in given:
            problems.append(Problem("settings", "capture from an interface (pflog-interface) is not in this version "
                                    "yet: give the queue of the firewall rule (queue-num)"))
        else:
            problems.append(Problem("settings", "no queue-num is given: it is the number in the firewall rule",
                                    missing=True))
    return problems


def changed(before: Settings, after: Settings) -> tuple[str, ...]:
    """The names of the options whose settings differ."""
    names = [field.name for field in fields(Settings) if getattr(before, field.name) != getattr(after, field.name)]
    return tuple(option.name for option in OPTIONS if option.field in names)
