"""The words between the control socket's server and the answers."""
from mxallowd.control.exchange import JSON, RequestError, Response, timestamp


def test_a_time_is_that_of_rfc_3339() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00Z"
    # What a damaged file may say.
    assert (timestamp(-1), timestamp(2**62)) == (timestamp(0), "9999-12-31T23:59:59Z")
    assert timestamp(1_795_756_200.9) == "2026-11-27T05:10:00Z"


def test_an_error_has_status_code_and_text() -> None:
    error = RequestError(404, "not-listed", "192.0.2.1 is not listed")
    assert (error.status, error.code, str(error)) == (404, "not-listed", "192.0.2.1 is not listed")
    assert (Response().status, Response().content_type) == (200, JSON)
