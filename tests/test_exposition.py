"""The text of the metrics: what prometheus-client reads is what went in, in both formats; its names are bounded."""
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser as plain
from prometheus_client.openmetrics import parser as openmetrics

from documents.tables import METRICS, RENEW, renewed_metrics
from mxallowd.metrics.counters import COUNTERS
from mxallowd.metrics.exposition import render, wants_openmetrics
from mxallowd.metrics.series import (
    BY_NAME,
    COUNTER,
    GAUGE,
    HISTOGRAM,
    PREFIX,
    SERIES,
    Histogram,
    Series,
    Value,
    of_counters,
)

numbers = st.integers(0, 1 << 53) | st.floats(0, 1e15)
labels = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=9), numbers, min_size=1, max_size=5)
histograms = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=9, unique=True).flatmap(
    lambda bounds: st.builds(
        Histogram, st.just(tuple(sorted(bounds))),
        st.tuples(*[st.integers(0, 1 << 30)] * (len(bounds) + 1)), st.floats(0, 1e15)))


@st.composite
def pictures(draw: st.DrawFn) -> dict[str, Value]:
    chosen = draw(st.lists(st.sampled_from(SERIES), unique_by=lambda one: one.name, max_size=20))
    return {one.name: draw(histograms if one.kind == HISTOGRAM else labels if one.label else numbers)
            for one in chosen}


def expected(series: Series, value: Value) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Samples by name and labels."""
    if isinstance(value, Histogram):
        name = PREFIX + series.name
        found, below = {}, 0
        for bound, count in zip([*value.bounds, math.inf], value.counts, strict=True):
            below += count
            found[f"{name}_bucket", (("le", "+Inf" if bound == math.inf else repr(bound)),)] = float(below)
        return found | {(f"{name}_count", ()): float(below), (f"{name}_sum", ()): value.total}
    if isinstance(value, int | float):
        return {(series.full_name, ()): float(value)}
    return {(series.full_name, ((series.label, label),)): float(number) for label, number in value.items()}


@pytest.mark.parametrize("reader", [plain, openmetrics])
@given(picture=pictures())
def test_what_is_read_is_what_went_in(reader: object, picture: dict[str, Value]) -> None:
    text = render(picture, openmetrics=reader is openmetrics)
    families = list((openmetrics if reader is openmetrics else plain).text_string_to_metric_families(text))
    wanted = {name: BY_NAME[name] for name in picture}
    assert {(family.name, family.type) for family in families} == {
        (PREFIX + name, one.kind) for name, one in wanted.items()}
    assert all(family.documentation for family in families)
    read = {(sample.name, tuple(sample.labels.items())): sample.value for family in families
            for sample in family.samples}
    assert read == {key: number for name, one in wanted.items() for key, number in expected(one, picture[name]).items()}


def test_every_counter_is_a_series_or_a_part_of_one() -> None:
    counted = {counter.name: number for number, counter in enumerate(COUNTERS)}
    found = of_counters(counted)
    assert found.keys() <= BY_NAME.keys()
    read = {number for value in found.values()
            for number in (value.values() if isinstance(value, dict) else [value])}
    assert read == set(range(len(COUNTERS)))
    assert isinstance(found["packets"], dict)
    assert found["packets"]["real-refused"] == counted["real-refused"]
    assert found["entries"] == counted["entries"]


def test_names_are_what_prometheus_wants() -> None:
    assert len({one.full_name for one in SERIES}) == len(SERIES)
    for one in SERIES:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", one.name), one.name
        assert not one.name.endswith(("_total", "_count", "_sum", "_bucket", "_created"))
        assert one.kind in (COUNTER, GAUGE, HISTOGRAM)
        assert one.label in ("", "outcome", "verdict", "version", "queue", "table", "line", "peer")
        assert one.help


def test_what_the_table_lacks_is_still_given() -> None:
    text = render(of_counters({"unheard-of": 3, "blocked": 1}))
    assert text.endswith("# TYPE mxallowd_unheard_of untyped\nmxallowd_unheard_of 3\n")
    families = list(openmetrics.text_string_to_metric_families(render({"unheard_of": 3}, openmetrics=True)))
    assert [(one.name, one.type) for one in families] == [("mxallowd_unheard_of", "unknown")]


@pytest.mark.parametrize(("accept", "wanted"), [
    ("", False), ("*/*", False), ("text/plain", False), ("nonsense;;q=x,,", False), ("text/html", False),
    ("application/openmetrics-text", True), ("Application/OpenMetrics-Text; version=1.0.0", True),
    # Prometheus 2.42 asks like this.
    ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
     "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
    ("text/plain;q=0.9, application/openmetrics-text;q=0.5", False), ("application/openmetrics-text;q=0", False),
    ("application/openmetrics-text;q=a", False)])
def test_openmetrics_for_who_likes_it_better(accept: str, wanted: bool) -> None:
    assert wants_openmetrics(accept) is wanted


def test_the_document_has_every_series() -> None:
    text = METRICS.read_text(encoding="utf-8")
    assert text == renewed_metrics(text), f"renew them: {RENEW}"
