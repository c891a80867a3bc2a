"""The options as documents show them: the package's table, and the longer texts of prose/options.md in its groups.

Name, letters, value, default and range come from mxallowd/settings/options.py. The file has the order, an example of
each that a configuration can have, and a default where the table has none (what the daemon finds out by itself).
"""
from dataclasses import dataclass
from pathlib import Path

from documents.blocks import Bullets, Heading, Paragraph, read
from mxallowd.settings.options import BY_NAME, Kind, Option

PROSE = Path(__file__).parent / "prose"


@dataclass(frozen=True)
class Described:
    """An option with its text."""

    option: Option
    text: str
    default: str  # "" of what is no setting
    example: str  # a line of the configuration file; "" where it cannot stand there

    @property
    def flags(self) -> str:
        """How it is written on the command line."""
        flags = ", ".join(f"`{flag}`" for flag in
                          [*(f"-{letter}" for letter in self.option.short), f"--{self.option.name}"])
        return f"{flags} *{self.option.metavar}*" if self.option.metavar else flags

    @property
    def line(self) -> str:
        """How it is written in the configuration file."""
        return f"`{self.option.name}`" + (f" *{self.option.metavar}*" if self.option.metavar else "")

    @property
    def facts(self) -> str:
        """Default and range, as sentences."""
        facts = []
        if self.default:
            facts.append(f"Required{self.default[8:]}." if self.default.startswith("required") else
                         f"Default: {self.default}.")
        if self.option.values:
            facts.append(f"Value: {self.option.values}.")
        if self.option.live:
            facts.append("Follows SIGHUP.")
        return " ".join(facts)


@dataclass(frozen=True)
class Group:
    """Options of one subject."""

    title: str
    options: tuple[Described, ...]


def groups() -> tuple[Group, ...]:
    """All groups. Raises ValueError where the file and the table do not have the same options."""
    found: list[tuple[str, list[Described]]] = []
    name, heads, texts = "", "", list[str]()

    def end() -> None:
        if name:
            found[-1][1].append(_described(name, heads, " ".join(texts)))
        texts.clear()

    for block in read((PROSE / "options.md").read_text(encoding="utf-8")):
        match block:
            case Heading(1, title):
                end()
                name = ""
                found.append((title, []))
            case Heading(_, title):
                end()
                name, heads = title, ""
            case Bullets(facts):
                heads = "\n".join(facts)
            case Paragraph(text):
                texts.append(text)
    end()
    missing = BY_NAME.keys() - {one.option.name for _, options in found for one in options}
    if missing:
        raise ValueError(f"prose/options.md lacks {', '.join(sorted(missing))}")
    return tuple(Group(title, tuple(options)) for title, options in found)


def _described(name: str, heads: str, text: str) -> Described:
    option = BY_NAME.get(name)
    if option is None:
        raise ValueError(f"prose/options.md: {name} is no option")
    told = dict(line.split(": ", 1) for line in heads.splitlines())
    if not text or told.keys() - {"default", "example"} or option.in_file != ("example" in told):
        raise ValueError(f"prose/options.md: {name} has a text, and an example where it can stand in the file")
    return Described(option, text, told.get("default", _default(option)), told.get("example", ""))


def _default(option: Option) -> str:
    if option.kind is Kind.ACTION:
        return ""
    if option.kind is Kind.FLAG or option.default is None:
        return "off"
    return f"`{option.default}`"
