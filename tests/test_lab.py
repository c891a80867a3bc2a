"""The harness itself: it sees what passes, what is refused and what is dropped, and leaves nothing behind."""
from pathlib import Path

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Lab
from lab.programs import CompileError, Sources, compiled, flood


@pytest.mark.parametrize(("fake", "real"), [(FAKE4, REAL4), (FAKE6, REAL6)], ids=["ipv4", "ipv6"])
def test_the_harness_tells_passed_refused_and_dropped_apart(lab: Lab, fake: str, real: str) -> None:
    client = lab.client("client", "192.0.2.101", "2001:db8::101")
    with lab.gateway.serve(real):
        assert client.attempt(real) is Attempt.CONNECTED
        assert client.attempt(fake) is Attempt.REFUSED
        lab.input_rule("-p", "tcp", "--dport", "25", "-j", "DROP")
        assert client.attempt(real) is Attempt.DROPPED
        assert client.attempt(fake) is Attempt.DROPPED
        lab.flush_rules()
        assert client.attempt(real) is Attempt.CONNECTED
        # Nobody has bound the queue: it drops, unless the rule lets packets by.
        lab.queue_rule("23")
        assert client.attempt(real) is Attempt.DROPPED
        lab.flush_rules()
        lab.queue_rule("23", bypass=True)
        assert client.attempt(real) is Attempt.CONNECTED
        assert client.attempt(fake) is Attempt.REFUSED
    assert client.attempt(real) is Attempt.REFUSED


def test_a_source_can_be_chosen(lab: Lab) -> None:
    client = lab.client("client", "192.0.2.101")
    client.add_address("192.0.2.102/24")
    lab.input_rule("-s", "192.0.2.102", "-j", "DROP", programs=["iptables"])
    with lab.gateway.serve(REAL4):
        assert client.attempt(REAL4) is Attempt.CONNECTED
        assert client.attempt(REAL4, source="192.0.2.102") is Attempt.DROPPED


def test_nothing_is_left_behind() -> None:
    with pytest.raises(ZeroDivisionError), Lab() as made:
        host = made.client("client", "192.0.2.101")
        process = host.popen(["sleep", "60"])
        names = [made.gateway.name, host.name]
        assert all(Path(f"/run/netns/{name}").exists() for name in names)
        raise ZeroDivisionError
    assert process.poll() is not None
    assert not any(Path(f"/run/netns/{name}").exists() for name in names)


def test_labs_do_not_see_each_other(lab: Lab) -> None:
    with Lab() as other, other.gateway.serve(REAL4):
        assert other.client("client", "192.0.2.101").attempt(REAL4) is Attempt.CONNECTED
        assert lab.client("client", "192.0.2.101").attempt(REAL4) is Attempt.REFUSED


def test_a_program_that_does_not_compile_is_one_line(tmp_path: Path) -> None:
    source = tmp_path / "wrong.c"
    source.write_text("int main(void)\n{\n    return nothing;\n}\n", encoding="ascii")
    with pytest.raises(CompileError, match=r"^wrong\.c does not compile: .*wrong\.c:3:.*nothing.*$") as raised:
        compiled(source)
    assert "\n" not in str(raised.value)


def test_the_words_of_a_flood() -> None:
    program, *words = flood("192.0.2.10", Sources("10.0.0.0", 500, step=2, without=100), count=7, rate=50)
    assert Path(program).is_file()
    assert words == ["7", "50", "192.0.2.10", "10.0.0.0", "2", "500", "100"]
    assert flood("192.0.2.10", Sources("10.0.0.0", 500))[1:] == ["500", "0", "192.0.2.10", "10.0.0.0", "1", "500"]


def test_what_ip_says_is_told(lab: Lab) -> None:
    with pytest.raises(RuntimeError, match=r"any valid prefix is expected rather than .192\.0\.2\.999/24"):
        lab.gateway.add_address("192.0.2.999/24")
