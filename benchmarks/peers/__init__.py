"""What mxallowd is measured against: small, readable, and compiled when a benchmark needs them."""
from pathlib import Path

from lab.programs import compiled as _compiled

SOURCES = Path(__file__).parent


def compiled(source: str, *flags: str) -> Path:
    """The compiled form of a C file beside this one. Raises lab.programs.CompileError."""
    return _compiled(SOURCES / source, *flags)
