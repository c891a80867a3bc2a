"""The demo as a picture: `python -m documents.picture` plays it and draws docs/demo.svg, which the README shows.

A drawing of a terminal with the lines that the demo printed, without their times, so that it is the same each time. It
takes no font from elsewhere. The demo needs root, so `python -m documents` leaves it out; tests/test_demo.py holds it
against what the demo prints.
"""
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "demo.svg"
COMMAND = "$ ./scripts/demo"

# The steps that are shown, by the beginning of their titles, and the lines that are left out in them.
_STEPS = ("Without protection", "mxallowd starts", "IPv4: the spammer goes", "IPv4: the sender delivers",
          "An operator asks")
_LEFT_OUT = re.compile(r"exit status|in the mailbox|serving:|\d{4}-\d\d-\d\dT|next to|the firewall's rules|allow add|"
                       r"or let it contact|mxallowd \| (?!refused|whitelisted|accepted)")
_STAMP = re.compile(r"\| \d\d\.\d\d\.\d{4} \d\d:\d\d:\d\d - ")

_SIZE, _LINE, _MARGIN, _BAR = 14, 20, 22, 34
_ADVANCE = 0.605  # of a character, in sizes: the widest of the fonts below
_COLUMNS = 102
# How words look; the first that fits.
_LOOKS = (
    ("command", re.compile(r"^ *\$ .*")),
    ("log", re.compile(r"mxallowd \|")),
    ("good", re.compile(r"\b(?:ok|connected|delivered|accepted|whitelisted|gets in)\b|Everything was as expected\.")),
    ("bad", re.compile(r"\b(?:dropped|is refused)\b|\brefused(?= \[)")),
)
_STYLE = """
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d5dbe3 }
.title { fill: #ffffff; font-weight: bold }
.command { fill: #8fc7ff; font-weight: bold }
.log { fill: #93a1b3 }
.good { fill: #79d98c }
.bad { fill: #ff8f85 }
"""


def plain(text: str) -> list[str]:
    """The lines of a demo without what differs from one to the next: times and the numbers of steps."""
    return [re.sub(r"^\d+\. ", "", _STAMP.sub("| ", line)) for line in text.splitlines()]


def chosen(text: str) -> list[str]:
    """The lines of the picture, from what the demo printed."""
    head, *steps = re.split(r"\n\n(?=\d+\. )", text.strip())
    *steps, end = "\n\n".join(steps).split("\n\n")
    shown = [COMMAND, *plain(head)[1:]]
    for step in steps:
        title, *rest = plain(step)
        if not title.startswith(_STEPS):
            continue
        kept = [line.replace("   mxallowctl ", "   $ mxallowctl ") if line.startswith("   mxallowctl ") else
                line.replace("   mxallowd ", "   $ mxallowd ") if line.startswith("   mxallowd ") else line
                for line in rest if not _LEFT_OUT.search(line)]
        # The daemon's lines come when they come.
        kept.sort(key=lambda line: "mxallowd |" in line)
        shown += ["", title, *kept]
    return [*shown, "", end]


def draw(lines: Iterable[str]) -> str:
    """The picture of these lines (SVG)."""
    rows = list(lines)
    width = round(_COLUMNS * _SIZE * _ADVANCE) + 2 * _MARGIN
    height = _BAR + len(rows) * _LINE + _MARGIN + 8
    made = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img">',
        "<title>A terminal: the demo of mxallowd</title>",
        f"<style>{_STYLE}</style>",
        # A dark window with a rim: it stands out from a white page and from a black one.
        f'<rect x="1" y="1" width="{width - 2}" height="{height - 2}" rx="10" fill="#161b22" stroke="#6b7684"/>',
        f'<path d="M1 {_BAR}h{width - 2}" stroke="#38414c"/>',
        *(f'<circle cx="{24 + 20 * place}" cy="{_BAR / 2:g}" r="6" fill="{colour}"/>'
          for place, colour in enumerate(("#e5695e", "#dfb144", "#57b05f"))),
    ]
    for number, line in enumerate(rows):
        if line:
            y = _BAR + 8 + (number + 1) * _LINE
            # What begins a line and is no command is the title of a step.
            look = ' class="title"' if line[0] not in " $" and line != rows[-1] else ""
            made.append(f'<text x="{_MARGIN}" y="{y}" xml:space="preserve"{look}>{"".join(_spans(line))}</text>')
    return "\n".join((*made, "</svg>")) + "\n"


def _spans(line: str) -> Iterator[str]:
    if line[0] not in " $" and not line.startswith("Everything"):
        yield escape(line)
        return
    pattern = re.compile("|".join(f"(?P<{name}>{words.pattern})" for name, words in _LOOKS))
    done = 0
    for found in pattern.finditer(line):
        yield escape(line[done:found.start()])
        yield f'<tspan class="{found.lastgroup}">{escape(found[0])}</tspan>'
        done = found.end()
    yield escape(line[done:])


def texts(picture: str) -> list[str]:
    """The lines that a picture shows, the empty ones left out."""
    root = ElementTree.fromstring(picture)  # noqa: S314  # a file of ours
    return ["".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text")]


def main() -> int:
    """Play the demo and draw it; 1 where it failed."""
    done = subprocess.run([sys.executable, "-m", "lab.demo"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
        return 1
    PICTURE.write_text(draw(chosen(done.stdout)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
