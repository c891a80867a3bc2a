"""The command as a process: statuses, and what it writes to whom."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mxallowd import __version__
from mxallowd.settings.options import OPTIONS

NO_OPTION = "belongs to no option; put its option before it, as in -f ADDRESS or -r ADDRESS, or leave it out"
GOOD = ["-f", "192.0.2.1", "-r", "192.0.2.2", "-n", "23"]


def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-m", "mxallowd", *arguments], capture_output=True, text=True, timeout=30,
                          env=os.environ | environment)
    # What is around the daemon here is no matter of these tests: test_surroundings.py.
    output = "".join(line for line in done.stdout.splitlines(keepends=True) if not line.startswith("system: warning: "))
    return done.returncode, output, done.stderr


def test_version_and_help() -> None:
    assert run("--version") == (0, f"mxallowd {__version__}\n", "")
    for flag in ("-h", "--help"):
        status, output, errors = run(flag, COLUMNS="500")
        assert (status, errors) == (0, "")
        for option in OPTIONS:
            assert f"--{option.name}" in output
            assert option.help in output
            for letter in option.short:
                assert f"-{letter}" in output


def test_help_comes_before_what_is_wrong_elsewhere() -> None:
    assert run("-h", "-n", "nonsense")[0] == 0


@pytest.mark.parametrize(("arguments", "error"), [
    (["-f", "192.0.2.999"], 'command line: fake-mailserver: "192.0.2.999" is not an IPv4 or IPv6 address'),
    (["-t", "soon"], 'command line: whitelist-time: "soon" is not a number from 1 to 315360000'),
    (["-t", "0"], 'command line: whitelist-time: "0" is out of range: 1 to 315360000'),
    (["-n", "23:22"], 'command line: queue-num: "23:22" is a range that ends before it begins'),
    (["-r", "192.0.2.1"], 'command line: real-mailserver: "192.0.2.1" is a fake-mailserver already'),
    (["-f", "a\nb\x1b[2J"], 'command line: fake-mailserver: "a\\x0ab\\x1b[2J" is not an IPv4 or IPv6 address'),
    (["-c", "/nonexistent/mx.conf"], 'cannot read "/nonexistent/mx.conf": no such file'),
    (["-c", "/"], 'cannot read "/": Is a directory'),
    (["-c", ""], 'command line: config: "" is not a path'),
    (["--frobnicate"], 'unknown option "--frobnicate"; --help shows all'),
    (["stray"], f'"stray" {NO_OPTION}'),
    (["-F", "x\x07y"], f'"x\\x07y" {NO_OPTION}'),
])
def test_bad_input_is_one_line_that_quotes_it(arguments: list[str], error: str) -> None:
    assert run(*GOOD, *arguments) == (1, "", f"mxallowd: {error}\n")


def test_more_than_one_problem_is_still_one_line() -> None:
    status, output, errors = run("-f", "x", "-r", "y", "-n", "z")
    assert (status, output) == (1, "")
    assert errors == 'mxallowd: command line: fake-mailserver: "x" is not an IPv4 or IPv6 address ' \
                     "(and 2 more: --check shows all)\n"


@pytest.mark.parametrize("arguments", [["-f", "::1", "-r", "::2"], ["-n", "1", "-r", "::2"], ["-n", "1", "-f", "::1"]])
def test_what_is_missing_is_said_with_the_usage(arguments: list[str]) -> None:
    status, output, errors = run(*arguments)
    assert (status, output) == (1, "")
    first, *rest = errors.splitlines()
    assert first.startswith("mxallowd: no ")
    assert rest[0].startswith("usage: mxallowd [-c FILE]")


NOT_YET = 'nothing is set up in "{}" yet: write fake-mailserver, real-mailserver and queue-num there; ' \
          "see mxallowd.conf(5)\n"


def test_what_is_not_set_up_yet_has_its_own_status(tmp_path: Path) -> None:
    """Who has filled in nothing made no mistake. Any line without the rest, or a file that is gone, is one."""
    file = tmp_path / "mx.conf"
    file.write_text("# fake-mailserver 192.0.2.10\n\n  \t\n")
    said = NOT_YET.format(file)
    assert run("-c", str(file)) == run("-c", str(file), "--print-ruleset", "a") == (78, "", f"mxallowd: {said}")
    assert run("--check", "-c", str(file)) == (78, said, "")
    assert run("--check", "-c", str(file), "--renew", "both")[0] == 78
    assert run("--check", "-c", str(file), "-f", "192.0.2.10")[0] == 1
    for line in ("renew ever", "fake-mailserver", "fake-mailserver 192.0.2.10", "queue-num 23", "real_mailserver ::1",
                 "fakeserver 192.0.2.10", "nfqueue 23", ";fake-mailserver 192.0.2.10", "//fake-mailserver",
                 "[mxallowd]", "\0\0", "x 5", "dry-run", "pf-table mx", "renew both", "whitelist-color 5"):
        file.write_text(f"{line}\n")
        assert run("--check", "-c", str(file))[0] == run("-c", str(file))[0] == 1, line
    assert run("-c", str(tmp_path / "none"))[0] == 1


def test_check_says_that_there_is_no_default_file(tmp_path: Path) -> None:
    script = "import sys; from mxallowd import cli\nfrom mxallowd.settings import loading\n" \
             "loading.DEFAULT_CONFIG = sys.argv[1]; sys.exit(cli.main(['--check']))"
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "none.conf")], capture_output=True, text=True)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 3
    assert all(line.endswith(f", and there is no {tmp_path}/none.conf") for line in done.stdout.splitlines())


def test_without_arguments_the_default_file_must_be_there(tmp_path: Path) -> None:
    # A process of its own, in which the default file is another one: the machine may have a real one.
    script = "import sys; from mxallowd import cli\nfrom mxallowd.settings import loading\n" \
             "loading.DEFAULT_CONFIG = sys.argv[1]; sys.exit(cli.main([]))"
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "none.conf")], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == f'mxallowd: cannot read "{tmp_path}/none.conf": no such file'
    assert done.stderr.splitlines()[1].startswith("usage: ")


def test_check(tmp_path: Path) -> None:
    file = tmp_path / "mx.conf"
    file.write_text("fake-mailserver 192.0.2.1\nreal-mailserver 192.0.2.2\nqueue-num 23\nwhitelist-color 5\n")
    assert run("--check", "-c", str(file)) == (
        0, f'{file}:4: warning: unknown option "whitelist-color", skipped\n', "")
    file.write_text("fake-mailserver 192.0.2.1\nreal-mailserver 192.0.2.1\nqueue-num 99999\nquiet please\n"
                    "real_mailserver 192.0.2.3\n")
    assert run("--check", "-c", str(file)) == (1, "".join(f"{file}:{line}\n" for line in (
        '2: real-mailserver: "192.0.2.1" is a fake-mailserver already',
        '3: queue-num: "99999" is neither a queue number from 0 to 65535 nor two of them as A:B',
        '4: quiet stands alone, but "please" follows',
        '5: "real_mailserver 192.0.2.3" is no option, but nearly one: write "real-mailserver 192.0.2.3"',
    )), "")


def test_check_needs_no_privilege_and_starts_nothing() -> None:
    assert run("--check", *GOOD) == (0, "", "")
    assert run("--check", *GOOD, "--direct-after", "6/6h") == (
        0, "settings: warning: direct-after leads nobody: neither nft-table nor ipset nor direct-table says where the "
        "sets mx_direct4 and mx_direct6 are\n", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give root away")
def test_without_privilege_the_reason_is_said(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    for background in (["-F"], ["--pid-file", str(pid_file)]):
        done = subprocess.run(
            ["unshare", "--net", "setpriv", "--bounding-set=-all", "--inh-caps=-all",
             sys.executable, "-m", "mxallowd", *GOOD, *background],
            capture_output=True, text=True, timeout=30)
        assert done.returncode == 1
        assert done.stderr == "mxallowd: cannot bind queue 23: this needs the capability CAP_NET_ADMIN; " \
                              "run it as root\n"
    assert not pid_file.exists()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_reason_for_a_traceback(closed: str) -> None:
    for words, expected in (("--version", 0), ("--check", 1), ("-f x", 1)):
        done = subprocess.run(["sh", "-c", f"exec {sys.executable} -m mxallowd {words} {closed}"], capture_output=True,
                              text=True, timeout=30)
        assert done.returncode == expected
        assert "Traceback" not in done.stderr


def test_output_that_cannot_be_written() -> None:
    for words, status in (("--version", 1), ("--help", 1), (" ".join(["--check", *GOOD]), 0)):
        for target in (">/dev/full", "| true"):
            command = f"{sys.executable} -m mxallowd {words} {target}"
            done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True,
                                  timeout=30)
            assert done.stderr == ""
            # A reader that goes may go too late to be noticed.
            assert done.returncode in ({status, 0} if "|" in target else {status})


def test_characters_that_the_terminal_cannot_show() -> None:
    status, _, errors = run("-f", "é", *GOOD, PYTHONIOENCODING="ascii")
    assert (status, errors) == (1, 'mxallowd: command line: fake-mailserver: "\\xe9" is not an IPv4 or IPv6 address\n')


def test_the_end_of_the_options() -> None:
    assert run("--check", *GOOD, "--") == (0, "", "")
    assert run("--check", *GOOD, "--", "stray")[0] == 1


@pytest.mark.parametrize("address", ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1"])
def test_addresses_that_no_host_has(address: str) -> None:
    assert run("--check", *GOOD, "-f", address) == (
        1, f'command line: fake-mailserver: "{address}" is not an address that a host can have\n', "")


def test_a_long_value_is_quoted_in_part() -> None:
    assert run("--check", *GOOD, "-t", "9" * 1000)[1] == \
        f'command line: whitelist-time: "{"9" * 256}..." (1000 characters) is out of range: 1 to 315360000\n'


@pytest.mark.parametrize("action", ["help", "version", "check", "print-config"])
@pytest.mark.parametrize("behind", ["=", "=yes", "=2", " yes"])
def test_what_only_prints_takes_no_value(action: str, behind: str) -> None:
    """A "yes" that 1.9 passed over stood behind a flag."""
    status, output, errors = run(*f"--{action}{behind}".split())
    assert (status, output) == (1, "")
    assert "ignored explicit argument" in errors or '"yes" belongs to no option' in errors
