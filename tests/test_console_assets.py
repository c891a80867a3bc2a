"""What a browser gets as it is: little, known by its tag, and nothing from elsewhere."""
import re
from importlib import resources
from importlib.resources.abc import Traversable

import pytest

from mxallowd.console.assets import Assets

MOST = 150 * 1024
FILES = [one for one in (resources.files("mxallowd.console") / "files").iterdir() if not one.name.endswith("LICENSE")]


def test_all_files_together_are_small() -> None:
    assert 0 < Assets().total < MOST


@pytest.mark.parametrize("name", [one.name for one in FILES])
def test_a_file_is_sent_once(name: str) -> None:
    assets = Assets()
    first = assets.get(name)
    assert first is not None
    assert first.status == 200
    tag = dict(first.fields)["ETag"]
    again = assets.get(name, tag)
    assert again is not None
    assert (again.status, again.body) == (304, b"")
    other = assets.get(name, '"another"')
    assert other is not None
    assert other.status == 200


@pytest.mark.parametrize("name", ["", "..", "../render.py", "uplot.LICENSE", "console.css/", "none.css"])
def test_nothing_else_is_a_file(name: str) -> None:
    assert Assets().get(name) is None


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_file_asks_elsewhere(file: Traversable) -> None:
    text = file.read_text("utf-8")
    links = re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}[^\s\"')]*|url\([^)]*\)|@import", text)
    # Names of XML, and comments.
    assert [one for one in links if "www.w3.org" not in one and "github.com/leeoniya" not in one] == []
