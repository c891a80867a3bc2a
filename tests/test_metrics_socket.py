"""Metrics and health by the control socket."""
import json
import socket
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from lab.hosts import FAKE4, Attempt, Host, Lab
from tests.daemon_process import serving


@pytest.mark.parametrize(("accept", "kind"), [
    ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
    ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text; version=1.0.0; charset=utf-8")])
def test_a_client_gets_metrics_and_health(guarded: Lab, client: Host, tmp_path: Path, accept: str, kind: str) -> None:
    place = tmp_path / "control.sock"

    def get(path: str) -> tuple[str, str]:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(10)
            asking.connect(str(place))
            asking.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\nConnection: close\r\n\r\n".encode())
            read = b""
            while more := asking.recv(65_536):
                read += more
        head, _, body = read.decode().partition("\r\n\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:])
        return f"{head.split()[1]} {fields['content-type']}", body

    with serving(guarded, "--control", str(place), "--state-dir", str(tmp_path / "state")) as daemon:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        about, body = get("/metrics")
        assert about == f"200 {kind}"
        read = read_openmetrics if "openmetrics" in kind else read_text
        samples = {(sample.name, *sample.labels.values()): sample.value for family in read(body)
                   for sample in family.samples}
        assert samples["mxallowd_packets_total", "fake-new"] == samples["mxallowd_ready",] == 1
        assert get("/healthz") == ("200 application/json", json.dumps({"status": "healthy", "reasons": []}) + "\n")
        ready = {"status": "ready", "reasons": [], "warnings": []}
        assert get("/readyz") == ("200 application/json", json.dumps(ready) + "\n")
        assert daemon.stop() == 0
