"""CHANGES.md has the form of Keep a Changelog 1.1.0, and its top is the version of the package."""
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import mxallowd
from mxallowd.settings.options import BY_NAME

CHANGES = (Path(__file__).parent.parent / "CHANGES.md").read_text(encoding="utf-8")
SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]  # in this order
# The options of mxallowd 1.9.
OLD = {"config", "fake-mailserver", "real-mailserver", "queue-num", "whitelist-time", "no-rdns-whitelist", "stdout",
       "quiet", "foreground", "pflog-interface", "pcap-filter", "help"}
VERSION = re.compile(r"\[(\d+)\.(\d+)\.(\d+)\] - (unreleased|\d{4}-\d\d-\d\d)")


def faults(text: str, current: str) -> Iterator[str]:
    """What is not in that form, where the package says that it is of the version `current`."""
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    numbers = [title for title in titles if title != "[Unreleased]"]
    if not titles or "[Unreleased]" in titles[1:]:
        yield "[Unreleased] stands first, or nothing does"
    found = [VERSION.fullmatch(title) for title in numbers]
    yield from (f"no version: {title}" for title, match in zip(numbers, found, strict=True) if not match)
    versions = [tuple(map(int, match.groups()[:3])) for match in found if match]
    if versions != sorted(set(versions), reverse=True):
        yield f"not descending: {versions}"
    if titles and titles[0] != "[Unreleased]" and not titles[0].startswith(f"[{current}] "):
        yield f"the first one is {titles[0]}, the package {current}"
    if any(title.endswith(" - unreleased") for title in titles[1:]):
        yield "only the first version may wait for its release"
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        names = re.findall(r"^### (.*)$", part, re.MULTILINE)
        if not names or names != [name for name in SECTIONS if name in names]:
            yield f"sections of {part.splitlines()[0]}: {names}"
        yield from (f"nothing stands in {name}" for name in names
                    if not re.search(rf"^### {name}\n\n- ", part, re.MULTILINE))


def test_the_changes_have_their_form() -> None:
    assert list(faults(CHANGES, mxallowd.__version__)) == []


GOOD = "# Changes\n\n## [Unreleased]\n\n### Added\n\n- b\n\n## [1.1.0] - 2026-01-02\n\n### Fixed\n\n- a\n"


@pytest.mark.parametrize(("old", "new"), [
    ("", ""), ("[Unreleased]", "[1.2.0] - 2026-02-03"), ("[1.1.0] - 2026-01-02", "1.1.0 (2026)"),
    ("[Unreleased]", "[1.0.0] - unreleased"), ("### Added", "### News"), ("- b\n", ""),
    ("[1.1.0] - 2026-01-02", "[1.1.0] - unreleased"), ("- b", "- b\n\n### Added\n\n- c")])
def test_a_fault_of_form_is_found(old: str, new: str) -> None:
    assert bool(list(faults(GOOD.replace(old, new), "1.1.0"))) == bool(old)


def test_each_new_option_is_in_the_list_of_them() -> None:
    listed = re.search(r"^- New options: (.*?)\n- ", CHANGES, re.MULTILINE | re.DOTALL)
    assert listed and set(re.findall(r"`--([a-z-]+)`", listed[1])) == set(BY_NAME) - OLD
