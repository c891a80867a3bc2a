"""mxallowctl against the running daemon: each subcommand's text, JSON and exit status."""
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, Lab
from mxallowd import __version__
from mxallowd.ctl.__main__ import main
from mxallowd.settings.options import BY_NAME
from tests.daemon_process import serving

HOST, OTHER, NET = "203.0.113.7", "2001:db8:7::1", "203.0.113.0/24"


class Operator:
    """Runs mxallowctl in this process, with the socket of one daemon."""

    def __init__(self, socket: str) -> None:
        self.socket = socket
        self.errors = ""

    def __call__(self, *words: str) -> tuple[int, str]:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                status = main(["--socket", self.socket, *words])
            except SystemExit as error:
                assert isinstance(error.code, int)
                status = error.code
        self.errors = err.getvalue()
        return status, out.getvalue()

    def json(self, *words: str) -> object:
        status, text = self(*words, "--json")
        assert status == 0, self.errors
        return json.loads(text)

    def lines(self, *words: str) -> list[dict[str, object]]:
        status, text = self(*words, "--json")
        assert status == 0, self.errors
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def socket() -> Iterator[str]:
    """The control socket of a daemon that serves; each test leaves its whitelist empty."""
    with Lab() as lab, serving(lab, "-t", "3600") as process:
        yield str(process.control)


@pytest.fixture
def ctl(socket: str) -> Iterator[Operator]:
    operator = Operator(socket)
    yield operator
    assert operator("flush", "--yes")[0] == 0


def test_status_and_stats(ctl: Operator) -> None:
    found = ctl.json("status")
    assert isinstance(found, dict)
    assert (found["version"], found["whitelist_time"]) == (__version__, 3600)
    status, text = ctl("status")
    assert status == 0
    assert text.startswith(f"mxallowd   {__version__}, process {found['pid']}, user root, since ")
    assert f"\nfake       {FAKE4}, " in text
    assert f"\nreal       {REAL4}, " in text
    assert "\nwhitelist  0 entries of " in text
    assert ctl.json("stats", "received") == {"received": 0}
    status, text = ctl("stats")
    assert status == 0
    assert any(line.split() == ["received", "0"] for line in text.splitlines())
    assert ctl("stats", "received", "no\x1bsuch") == (1, "received  0\n")
    assert ctl.errors == 'mxallowctl: there is no counter "no\\x1bsuch" here\n'


def test_a_host_is_added_shown_listed_and_removed(ctl: Operator) -> None:
    added = ctl.json("add", HOST, "--time", "60", "--note", "the bank")
    assert isinstance(added, dict)
    assert (added["address"], added["origin"], added["note"]) == (HOST, "by-hand", "the bank")
    assert 58 <= added["seconds_left"] <= 60
    # A known host is renewed, and never shortened.
    for more, said in ([], ""), (["--time", "5"], "nothing was shortened"):
        renewed = ctl.json("add", HOST, *more)
        assert said in ctl.errors
        assert isinstance(renewed, dict)
        assert 3590 <= renewed["seconds_left"] <= 3600
    status, text = ctl("show", HOST)
    assert status == 0
    assert f"address   {HOST}\norigin    by-hand\n" in text
    assert "note      the bank\n" in text
    assert ctl("add", OTHER)[0] == 0
    assert {line["address"] for line in ctl.lines("list")} == {HOST, OTHER}
    assert ctl("list")[1].count("\n") == 2
    for words, hosts in ((["--network", NET], {HOST}), (["--note", "BANK"], {HOST}), (["--used"], set()),
                         (["--unused"], {HOST, OTHER}), (["--origin", "child"], set()), (["--proven"], set()),
                         (["--origin", "by-hand", "--network", "::/0"], {OTHER})):
        assert {line["address"] for line in ctl.lines("list", *words)} == hosts, words
    assert len(ctl.lines("list", "--limit", "1")) == 1
    assert ctl("remove", "--gateway", "mx3") == (1, "")
    assert ctl.errors == "mxallowctl: nothing here was told by the gateway mx3 alone\n"
    assert ctl.lines("list", "--gateway", "mx3") == []
    assert ctl.json("remove", HOST) == {"removed": 1}
    assert ctl("remove", "2001:db8:7::/48") == (0, "removed 1\n")
    assert ctl("list") == (0, "")


def test_what_is_not_listed_is_status_1(ctl: Operator) -> None:
    for command in ("show", "remove"):
        assert ctl(command, HOST) == (1, "")
        assert ctl.errors.startswith("mxallowctl: ")
        assert HOST in ctl.errors
        status, text = ctl(command, HOST, "--json")
        assert status == 1
        assert json.loads(text)["error"]["code"] == "not-listed"
    assert ctl("add", FAKE4)[0] == 1
    assert ctl("add", "127.0.0.1")[0] == 1


@pytest.mark.parametrize(("words", "message"), [
    (["add", "203.0.113.300"], '"203.0.113.300" is neither an address nor a network'),
    (["add", "203.0.113.7/24"], '"203.0.113.7/24" has bits behind its prefix; the network is 203.0.113.0/24'),
    (["add", HOST, "--time", "0"], '"0" is not a number from 1 to 315360000'),
    (["add", HOST, "--note", "a\nb"], '"a\\x0ab" is not one line'),
    (["remove"], "remove needs either ADDRESS|NETWORK or --gateway NAME"),
    (["remove", HOST, "--gateway", "mx3"], "remove needs either"),
    (["list", "--gateway", "mx 3"], '"mx 3" is not the name of a gateway'),
    (["show", NET], f'"{NET}" is not an IPv4 or IPv6 address'), (["show"], "ADDRESS"),
    (["list", "--used", "--unused"], "not allowed with"), (["list", "--limit", "-1"], "limit"),
    (["log-level", "loud"], "'loud'"), (["statsu"], 'unknown command "statsu"; did you mean stats?'),
    (["explain", "203.0.113.1/24"], "bits behind its prefix"), (["explain", ""], "a name or a network is needed"),
    (["explain", "a b"], "neither an address nor"), (["allow", "add", "198.51.100.3/33"], "is neither a"),
    (["deny", "add", "::ffff:0.0.0.0/95"], "bits behind"), (["allow", "list", "1.2.3.4"], "takes neither"),
    (["status", "--socket", ""], "it is empty"), (["import", "x", "--format", "csv"], "'csv'"),
    (["flush"], "--yes"), ([], "COMMAND"),
])
def test_a_mistake_is_one_line_and_status_2(ctl: Operator, words: list[str], message: str) -> None:
    assert ctl(*words) == (2, "")
    assert message in ctl.errors
    assert ctl.errors.startswith("mxallowctl")
    assert ctl.errors.count("\n") == 1


def test_the_seconds_are_those_of_the_option() -> None:
    assert "315360000" in str(BY_NAME["whitelist-time"].values)


def test_reload_and_log_level(ctl: Operator) -> None:
    assert ctl.json("log-level", "error") == {"level": "error"}
    assert ctl("log-level") == (0, "error\n")
    assert ctl("log-level", "info") == (0, "info\n")
    assert ctl("reload") == (0, "nothing has changed\n")
    assert ctl.json("reload") == {
        "changed": [], "restart_needed": [], "lists": [], "warnings": [], "failed": []}


def test_what_a_list_decides_otherwise_is_said(ctl: Operator, tmp_path: Path) -> None:
    """add, import and deny of what another network holds; remove leaves denies, and says what still gets in."""
    assert ctl("deny", "add", HOST)[0] == 0
    undo = f"{HOST}/32 is denied by hand; mxallowctl deny remove {HOST}/32 undoes it\n"
    assert ctl("add", HOST)[0] == 1
    assert ctl.errors == f"mxallowctl: {HOST} stays refused: {undo}"
    for words in (["add", NET], ["allow", "add", NET]):
        assert ctl(*words)[0] == 1
        assert ctl.errors == f"mxallowctl: a part of {NET} stays refused: {undo}"
    file = tmp_path / "some"
    file.write_text(f"{OTHER}\n{HOST}\n203.0.112.0/23\n")
    assert ctl("import", str(file))[0] == 1
    assert ctl.errors == "".join(f'mxallowctl: {file}:{line}: "{what}" stays refused: {undo}'
                                 for line, what in ((2, HOST), (3, "203.0.112.0/23")))
    file.write_text(f"{HOST} reject\n{NET} permit\n198.18.0.7 permit\n198.18.0.0/24 reject\n198.18.0.8 permit\n")
    assert ctl("import", str(file)) == (0, (
        "entered 0 addresses and 2 networks (format postscreen)\n2 were known: they end no earlier than before\n"
        "1 lines were passed over: lines before them decide otherwise, and the first one counts\n"))
    assert (ctl("explain", "198.18.0.7")[0], ctl("explain", "198.18.0.8")[0]) == (0, 1)
    assert (ctl("remove", HOST), ctl("show", HOST)[0]) == ((0, "removed 1\n"), 1)
    assert "denied" not in ctl.errors
    assert ctl("remove", HOST)[0] == 1  # the deny is no entry
    assert ctl("add", HOST)[0] == ctl("deny", "add", "203.0.112.0/22")[0] == 1
    assert ctl.errors.startswith("mxallowctl: a part of 203.0.112.0/22 gets in all the same: 203.0.11")
    assert ctl("remove", "203.0.112.0/23")[0] == 1
    assert ctl.errors == (f"mxallowctl: a part of 203.0.112.0/23 gets in all the same: {NET} is allowed by hand; "
                          f"mxallowctl allow remove {NET} undoes it\n")
    assert ctl("show", "203.0.113.9") == (1, "")
    assert f"is not in the whitelist, but {NET} is allowed by hand: mxallowctl explain" in ctl.errors
    # Ten are named; that there are more is said, and of ten it is not.
    for count in (10, 11):
        file.write_text("".join(f"100.64.{number}.0/24 permit\n" for number in range(count)))
        assert ctl("import", str(file))[0] == 0
        assert ctl("deny", "add", "100.64.0.0/16")[0] == 1
        assert ctl.errors.count("by hand; mxallowctl") == 10
        assert ("gets in all the same by further networks; mxallowctl allow list" in ctl.errors) == (count == 11)


@pytest.mark.parametrize("network", ["127.0.0.0/8", REAL4, "ff02::/16"])
@pytest.mark.parametrize("words", [["add"], ["allow", "add"]])
def test_no_host_is_allowed_that_can_be_none(ctl: Operator, words: list[str], network: str) -> None:
    assert ctl(*words, network) == (1, "")
    assert "is one of the mail servers" in ctl.errors or "that a host on another network can have" in ctl.errors


def test_an_export_is_imported_again(ctl: Operator, tmp_path: Path) -> None:
    ctl("add", HOST, "--time", "600", "--note", "the bank")
    ctl("add", OTHER, "--time", "99999")
    file = tmp_path / "old.export"
    status, text = ctl("export")
    assert status == 0
    file.write_text(text)
    ctl("flush", "--yes")
    assert ctl("import", str(file))[0] == 0
    left = {str(line["address"]): line for line in ctl.lines("list")}
    assert left.keys() == {HOST, OTHER}
    assert left[HOST]["note"] == "the bank"
    assert left[OTHER]["note"] is None
    seconds = {host: line["seconds_left"] for host, line in left.items()}
    # The dump's, and at most the whitelist time.
    assert 590 <= int(str(seconds[HOST])) <= 600
    assert 99_900 <= int(str(seconds[OTHER])) <= 99_999  # by hand, so longer than --whitelist-time
    assert ctl.json("import", str(file), "--time", "90000") == {
        "format": "export", "entered": 0, "known": 2, "networks": 0, "left_out": 0, "networks_left_out": 0,
        "shortened": 0, "passed_over": {}, "rejected": [], "denied": []}
    assert all(int(str(line["seconds_left"])) > 89_000 for line in ctl.lines("list"))


def test_an_import_counts_and_names_what_it_cannot_take(ctl: Operator, tmp_path: Path) -> None:
    file = tmp_path / "some.txt"
    file.write_bytes(b"\xef\xbb\xbf203.0.113.1 # \xff\r\nnonsense\n\n203.0.113.2\n127.0.0.1\n" + b"x" * 10_000
                     + b"\n2001:db8::9")
    status, text = ctl("import", str(file), "--note", "by hand")
    assert (status, text) == (1, "entered 3 addresses and 0 networks (format list)\n3 lines could not be taken\n")
    assert ctl.errors.startswith(
        f'mxallowctl: {file}:2: "nonsense" is neither an address nor a network\n'
        f"mxallowctl: {file}:6: it is longer than 4096 bytes\n"
        f'mxallowctl: {file}:5: "127.0.0.1": it ')
    assert {line["note"] for line in ctl.lines("list")} == {"by hand"}
    status, text = ctl("import", str(file), "--json")
    found = json.loads(text)
    assert (status, found["known"], [one["line"] for one in found["rejected"]]) == (1, 3, [2, 6, 5])
    for name in (tmp_path / "none", tmp_path):
        assert ctl("import", str(name)) == (1, "")
        assert f'cannot read "{name}"' in ctl.errors


def test_what_an_import_passes_over_is_no_fault(ctl: Operator, tmp_path: Path) -> None:
    file = tmp_path / "spamdb"
    file.write_text(f"WHITE|{HOST}|||1|2|99999999999|1|1\nWHITE|203.0.113.8|||1|2|3|1|1\nGREY|1|2\n")
    assert ctl("import", str(file)) == (
        0, "entered 1 addresses and 0 networks (format spamdb)\n1 have less time than the file says: an address stays "
        "for at most --whitelist-time, who is proven for --proven-time\n"
        "1 lines were passed over: it is GREY, not WHITE\n1 lines were passed over: its time is over\n")
    # The daemon judges as it does for an import; what is known, is twice in the file or no host's address is none.
    file.write_text(f"{HOST}\n{OTHER}\n{OTHER}\n127.0.0.1\n{FAKE4}\n224.0.0.1\n")
    judged, done = (ctl("import", str(file), *more) for more in (["--check"], []))
    assert judged == (1, done[1].replace("entered", "would enter"))
    assert "would enter 1 addresses and 0 networks (format list)\n2 were known" in judged[1]


def test_a_large_import_with_long_notes_goes_in_pieces(ctl: Operator, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_text("".join(f"198.18.{n >> 8}.{n & 255} # {'ä' * 200}\n" for n in range(2500)), "utf-8")
    assert ctl("import", str(file)) == (0, "entered 2500 addresses and 0 networks (format list)\n")
    assert sum(1 for _ in ctl.lines("list", "--note", "Ä")) == 2500


def test_from_standard_input_as_a_process(ctl: Operator) -> None:
    run = subprocess.run([sys.executable, "-m", "mxallowd.ctl", "import", "-", "--socket", ctl.socket],
                         input="203.0.113.1\nx\n", capture_output=True, text=True, timeout=30)
    assert (run.returncode, run.stderr) == (
        1, 'mxallowctl: standard input:2: "x" is neither an address nor a network\n')


def test_networks_are_imported_exported_and_removed(ctl: Operator, tmp_path: Path) -> None:
    file = tmp_path / "postscreen_access.cidr"
    file.write_text(f"203.0.113.9 reject\n{HOST} permit\n{NET} permit\n2001:db8::/32 reject\nmail.example.org permit\n")
    assert ctl("import", str(file)) == (
        1, "entered 1 addresses and 3 networks (format postscreen)\n1 lines could not be taken\n")
    assert ctl.errors == f'mxallowctl: {file}:5: "mail.example.org" is neither an address nor a network\n'

    def networks() -> dict[object, object]:
        return {line["network"]: (line["verdict"], line["note"], line["until"] is None)
                for line in ctl.lines("export") if line["kind"] == "network"}

    note = "imported from postscreen_access.cidr"
    wanted = {NET: ("allow", note, True), "203.0.113.9/32": ("deny", note, True), "2001:db8::/32": ("deny", note, True)}
    assert networks() == wanted
    old = tmp_path / "old"
    old.write_text(ctl("export")[1])
    assert ctl("flush", "--yes")[0] == 0
    assert networks() == {}
    assert ctl("import", str(old))[0] == 0
    assert networks() == wanted
    # The network and the host in it.
    assert ctl("remove", NET)[0] == 0
    assert networks().keys() == wanted.keys() - {NET}
    assert ctl("show", HOST)[0] == 1
    assert ctl("remove", NET)[0] == 1
    assert ctl("add", NET, "--time", "600", "--note", "the bank")[0] == 1  # but for what is denied in it
    assert networks()[NET] == ("allow", "the bank", False)
