"""Tables in README and docs/, made from tables of the package."""
from pathlib import Path

from mxallowd.log import words
from mxallowd.metrics import counters, series

README = Path(__file__).parent.parent / "README.md"
METRICS = README.parent / "docs" / "metrics.md"
RENEW = ".venv/bin/python -m documents"


def renewed(readme: str) -> str:
    """The text with each table as it is now. Raises ValueError where one has no place in it."""
    for table in (words.markdown(), counters.markdown()):
        readme = _with(readme, table)
    return readme


def renewed_metrics(text: str) -> str:
    """The same of docs/metrics.md."""
    return _with(text, series.markdown())


def _with(readme: str, table: str) -> str:
    """The table in place of the one with the same heading."""
    heading = table.partition("\n")[0] + "\n"
    before, found, rest = readme.partition("\n" + heading)
    if not found:
        raise ValueError(f"README has no table with the heading {heading.strip()}")
    lines = rest.splitlines(keepends=True)
    while lines and lines[0].startswith("|"):
        del lines[0]
    return before + "\n" + table + "".join(lines)


def write() -> None:
    """Writes the tables anew where they stand."""
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
    METRICS.write_text(renewed_metrics(METRICS.read_text(encoding="utf-8")), encoding="utf-8")
