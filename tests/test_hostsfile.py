"""Names in /etc/hosts."""
import pytest

from mxallowd.dns.hostsfile import addresses, parse

TEXT = """
127.0.0.1 localhost  # ourselves
198.51.100.53\tengine.example engine
2001:db8::53 Engine.Example
198.51.100.53 engine.example
198.51.100 engine.example
#192.0.2.1 engine.example
nonsense
"""


@pytest.mark.parametrize(("name", "found"), [
    ("engine.example", ["198.51.100.53", "2001:db8::53"]), ("ENGINE", ["198.51.100.53"]), ("ourselves", []),
    ("198.51.100.53", []), ("", [])])
def test_what_a_name_has(name: str, found: list[str]) -> None:
    assert parse(TEXT, name) == found


def test_the_file_of_this_machine() -> None:
    assert set(addresses("localhost")) <= {"127.0.0.1", "::1", "127.0.1.1"}
