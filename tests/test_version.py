"""One place has the version, mxallowd/__init__.py; all that names it agrees with it."""
import re
import tomllib
from pathlib import Path

import pytest

from mxallowd import __version__

ROOT = Path(__file__).parent.parent
NUMBER = r"[0-9]+\.[0-9]+\.[0-9]+"
# Where it stands besides, and how.
FORMS = (
    ("CHANGES.md", rf"^## \[?({NUMBER})\b"),
    ("packaging/debian/changelog", rf"^mxallowd \(({NUMBER})\b"),
)
PLACES = [(path, form) for pattern, form in FORMS for path in sorted(ROOT.glob(pattern))]


def test_the_project_takes_it_from_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "mxallowd.__version__"}
    assert re.fullmatch(NUMBER, __version__)


@pytest.mark.parametrize(("path", "form"), PLACES, ids=[path.name for path, _ in PLACES])
def test_what_names_it_agrees(path: Path, form: str) -> None:
    newest = re.search(form, path.read_text(encoding="utf-8"), re.MULTILINE)
    assert newest, f"{path} names no version"
    assert newest[1] == __version__


def test_every_extra_can_be_asked_for() -> None:
    """What a document tells people to install is there."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {"console", "fleet", "docs", "demo", "benchmark", "test", "release"} <= set(extras)
