"""GET /metrics, /healthz and /readyz: what is answered, and why not."""
import asyncio

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from mxallowd.control.answers.metrics import Metrics
from mxallowd.control.exchange import Request, Response
from mxallowd.metrics.exposition import OPENMETRICS, TEXT
from mxallowd.metrics.series import Histogram


def ask(metrics: Metrics, path: str, accept: str = "") -> Response:
    route = next(one for one in metrics.routes() if (one.method, one.template) == ("GET", path))
    assert not route.changes

    async def answer() -> Response:
        return await route.handler(Request("GET", path, accept=accept))

    return asyncio.run(answer())


def test_metrics_in_the_format_that_is_asked_for() -> None:
    metrics = Metrics(lambda: {"blocked": 3}, list, lambda: ["it is starting"])
    answer = ask(metrics, "/metrics")
    assert (answer.status, answer.content_type) == (200, TEXT)
    assert "mxallowd_blocked_total 3\n" in str(answer.body)
    answer = ask(metrics, "/metrics", "application/openmetrics-text")
    assert (answer.status, answer.content_type) == (200, OPENMETRICS)
    found = {sample.name: sample.value for family in text_string_to_metric_families(str(answer.body))
             for sample in family.samples}
    assert found == {"mxallowd_blocked_total": 3, "mxallowd_healthy": 1, "mxallowd_ready": 0}


def test_health_and_readiness_say_why_not() -> None:
    ill, waits = ["a"], ["b"]
    metrics = Metrics(dict, lambda: ill, lambda: waits)
    found = [(ask(metrics, path).status, ask(metrics, path).body) for path in ("/healthz", "/readyz")]
    assert found == [(503, {"status": "not-healthy", "reasons": ["a"]}),
                     (503, {"status": "not-ready", "reasons": ["a", "b"], "warnings": []})]
    ill.clear()
    found = [(ask(metrics, path).status, ask(metrics, path).body) for path in ("/healthz", "/readyz")]
    assert found == [(200, {"status": "healthy", "reasons": []}), (
        503, {"status": "not-ready", "reasons": ["b"], "warnings": []})]
    waits.clear()
    assert (ask(metrics, "/readyz").status, ask(metrics, "/readyz").body) == (
        200, {"status": "ready", "reasons": [], "warnings": []})


def test_series_have_all_of_it_as_one_object() -> None:
    metrics = Metrics(
        lambda: {"blocked": 3, "verdicts": {"accept": 1, "drop": 2}, "start_time_seconds": 86400.5,
                 "fake_to_real_seconds": Histogram((1.0, 60.0), (4, 5, 6), 70.5)},
        list, lambda: ["it is starting"], lambda: ["a list"])
    body = ask(metrics, "/v1/series").body
    assert isinstance(body, dict)
    assert body.pop("time").endswith("Z")
    assert body == {
        "since": "1970-01-02T00:00:00Z", "healthy": True, "ready": False, "reasons": ["it is starting"],
        "warnings": ["a list"],
        "values": {"blocked": 3, "verdicts": {"accept": 1, "drop": 2}, "start_time_seconds": 86400.5, "healthy": 1,
                   "ready": 0, "fake_to_real_seconds": {"bounds": [1.0, 60.0], "counts": [4, 5, 6], "total": 70.5}}}
