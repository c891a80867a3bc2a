"""packaging/: the alert rules and the dashboard are loaded by promtool, and name only series that there are."""
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mxallowd.metrics.counters import COUNTERS
from mxallowd.metrics.exposition import render
from mxallowd.metrics.series import HISTOGRAM, PREFIX, SERIES, Histogram, Value, of_counters

ROOT = Path(__file__).parent.parent
RULES = ROOT / "packaging" / "prometheus" / "mxallowd.rules.yml"
DASHBOARD = ROOT / "packaging" / "grafana" / "mxallowd.json"
NAMES = {one.full_name for one in SERIES if one.kind != HISTOGRAM} | {
    f"{PREFIX}{one.name}_{suffix}" for one in SERIES if one.kind == HISTOGRAM for suffix in ("bucket", "count", "sum")}


@pytest.fixture(scope="session")
def promtool() -> str:
    """Of Debian's package prometheus, unpacked by scripts/prepare."""
    unpacked = Path(sys.prefix) / "prometheus" / "usr" / "bin" / "promtool"
    found = str(unpacked) if unpacked.exists() else shutil.which("promtool")
    if found is None:
        pytest.fail("promtool is not there: scripts/prepare test")
    return found


def run(promtool: str, *words: str, text: str = "") -> str:
    done = subprocess.run(
        [promtool, *words], input=text, capture_output=True, text=True, timeout=60, cwd=ROOT / "tests")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_names(expression: str) -> None:
    """Its series are there, and the values of labels that it names."""
    names = set(re.findall(r"\bmxallowd_\w+", expression))
    assert names <= NAMES, names - NAMES
    outcomes = {counter.label[1] for counter in COUNTERS if counter.label[0] == "outcome"}
    for found in re.findall(r'outcome=~?"([^"]*)"', expression):
        assert set(found.split("|")) <= outcomes, found


def test_the_alert_rules(promtool: str) -> None:
    assert "16 rules found" in run(promtool, "check", "rules", "--lint-fatal", str(RULES))
    for line in RULES.read_text(encoding="utf-8").splitlines():
        if not line.lstrip().startswith(("description:", "#")):
            check_names(line)


def test_each_alert_fires_on_its_trouble_alone(promtool: str) -> None:
    cases = (ROOT / "tests" / "alerts_test.yml").read_text(encoding="utf-8")
    alerts = set(re.findall(r"- alert: (\w+)", RULES.read_text(encoding="utf-8")))
    assert set(re.findall(r'alertname="(\w+)"', cases)) == alerts
    check_names(cases)
    assert "SUCCESS" in run(promtool, "test", "rules", "alerts_test.yml")


def test_an_alert_that_does_not_fire_is_found(promtool: str, tmp_path: Path) -> None:
    """That the test above can fail."""
    cases = (ROOT / "tests" / "alerts_test.yml").read_text(encoding="utf-8")
    (tmp_path / "rules.yml").write_text(
        RULES.read_text(encoding="utf-8").replace("mxallowd_ready == 0", "mxallowd_ready == 2"), encoding="utf-8")
    (tmp_path / "test.yml").write_text(cases.replace(
        "../packaging/prometheus/mxallowd.rules.yml", str(tmp_path / "rules.yml")), encoding="utf-8")
    with pytest.raises(AssertionError, match="MxallowdNotReady"):
        run(promtool, "test", "rules", str(tmp_path / "test.yml"))


def test_the_dashboard(promtool: str, tmp_path: Path) -> None:
    board: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) >= 15
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    rules = []
    for number, expression in enumerate(expressions):
        check_names(expression)
        query = expression.replace("$__rate_interval", "5m").replace("$instance", ".*")
        assert "$" not in query
        rules.append({"record": f"panel:{number}", "expr": query})
    check_names(board["templating"]["list"][1]["query"])
    # JSON is YAML.
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    assert f"{len(expressions)} rules found" in run(promtool, "check", "rules", str(file))


def test_promtool_takes_the_text(promtool: str) -> None:
    values: dict[str, Value] = {
        one.name: Histogram((0.5, 1.0), (1, 2, 3), 4.5) if one.kind == HISTOGRAM else {"a\"\\\n": 1} if one.label else 7
        for one in SERIES}
    run(promtool, "check", "metrics", text=render(values | of_counters({one.name: 1 for one in COUNTERS})))
