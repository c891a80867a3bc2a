"""Filters of the templates: counts, and times within sentences."""
from markupsafe import escape

from mxallowd.console.render import counted, moment, timed


def test_one_thing_is_not_called_by_its_plural() -> None:
    assert [counted(count, "host") for count in (0, 1, 2)] == ["0 hosts", "1 host", "2 hosts"]
    assert counted(1234, "entry", "entries") == "1\u202f234 entries"


def test_a_time_says_its_zone_also_within_a_sentence() -> None:
    assert moment("2026-11-28T02:36:19+01:00") == (
        '<time datetime="2026-11-28T01:36:19Z">2026-11-28 01:36:19 UTC</time>')
    said = timed("<b> is let in until 2026-11-29T01:37:40Z, not 2026-99-99T00:00:00Z\u202e.")
    assert said == escape("<b> is let in until ") + moment("2026-11-29T01:37:40Z") + (
        ", not 2026-99-99T00:00:00Z\\u202e.")
