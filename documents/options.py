"""The options as documents show them: the package's table, and the longer texts of prose/options.md.

Name, letters, value, default and range come from mxallowd/settings/options.py. The file has an example of each that
a configuration can have, and a default where the table has none (what the daemon finds out by itself).
"""
from dataclasses import dataclass
from pathlib import Path

from documents.blocks import Bullets, Heading, Paragraph, read
from mxallowd.settings.options import BY_NAME, OPTIONS, Kind, Option
from mxallowd.settings.sample import GROUPS

PROSE = Path(__file__).parent / "prose"
COMMAND_LINE_ONLY = "On the command line only"


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
    def shown(self) -> str:
        """The example, where it shows more than the name."""
        return self.example if self.option.metavar else ""

    @property
    def facts(self) -> str:
        """Default and range, as sentences."""
        facts = []
        if self.default:
            facts.append(f"Required{self.default[8:]}." if self.default.startswith("required") else
                         f"Default: {self.default}.")
        # What holds without it is the default, which stands there already.
        values = [part for part in self.option.values.split("; ") if "without it" not in part]
        if values and values != [""]:
            facts.append(f"Value: {'; '.join(values)}.")
        if self.option.live:
            facts.append("Follows SIGHUP.")
        return " ".join(facts)


@dataclass(frozen=True)
class Group:
    """Options of one subject."""

    title: str
    options: tuple[Described, ...]


def groups() -> tuple[Group, ...]:
    """All options, in the groups of the sample configuration. Raises ValueError where the file lacks one."""
    texts: dict[str, Described] = {}
    name, heads, words = "", "", list[str]()

    def end() -> None:
        if name:
            texts[name] = _described(name, heads, " ".join(words))
        words.clear()

    for block in read((PROSE / "options.md").read_text(encoding="utf-8")):
        match block:
            case Heading(_, title):
                end()
                name, heads = title, ""
            case Bullets(facts):
                heads = "\n".join(facts)
            case Paragraph(text):
                words.append(text)
    end()
    if missing := BY_NAME.keys() - texts.keys():
        raise ValueError(f"prose/options.md lacks {', '.join(sorted(missing))}")
    alone = tuple(option.name for option in OPTIONS if not option.in_file)
    return tuple(Group(title, tuple(texts[name] for name in names))
                 for title, names in (*GROUPS, (COMMAND_LINE_ONLY, alone)))


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
    if not option.default_text:
        return "off"
    return option.default_text if isinstance(option.default, int) else f"`{option.default_text}`"
