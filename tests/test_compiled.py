"""The packet path is the compiled one: nothing in these tests runs against a stand-in."""
import importlib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import mxallowd

PACKAGE = Path(mxallowd.__file__).parent
NAMES = sorted(".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("_*.pyi"))


def test_the_compiled_modules_are_known() -> None:
    assert {"_fastpath", "engine._headers", "engine._table", "captures._capture", "backends._worker"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_extension_is_loaded(name: str) -> None:
    path = importlib.import_module(f"mxallowd.{name}").__file__
    assert path is not None
    assert path.endswith(tuple(EXTENSION_SUFFIXES))
    assert path.endswith(".so")
