"""The table in docs/metrics.md, made from the table of series."""
from pathlib import Path

from mxallowd.metrics import series

METRICS = Path(__file__).parent.parent / "docs" / "metrics.md"
RENEW = ".venv/bin/python -m documents"


def renewed_metrics(text: str) -> str:
    """The text of docs/metrics.md with the table as it is now. Raises ValueError where the table has no place in it."""
    table = series.markdown()
    heading = table.partition("\n")[0] + "\n"
    before, found, rest = text.partition("\n" + heading)
    if not found:
        raise ValueError(f"there is no table with the heading {heading.strip()}")
    lines = rest.splitlines(keepends=True)
    while lines and lines[0].startswith("|"):
        del lines[0]
    return before + "\n" + table + "".join(lines)


def write() -> None:
    """Writes the table anew where it stands."""
    METRICS.write_text(renewed_metrics(METRICS.read_text(encoding="utf-8")), encoding="utf-8")
