"""Near misses: what was meant as an option is one or an error with the right spelling; what is like none stays."""
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from mxallowd.settings import configfile
from mxallowd.settings.nearness import allowed, distance, letters, near
from mxallowd.settings.options import BY_NAME, OPTIONS, Kind
from tests.test_cli import run

IN_FILE = [option for option in OPTIONS if option.in_file]
VALUES = {
    "fake-mailserver": "192.0.2.3", "real-mailserver": "2001:db8::5", "queue-num": "23", "whitelist-time": "60",
    "renew": "use", "patience": "2/9", "network-key": "24/64",
    "fleet": "redis://192.0.2.53",
    "dns-server": "192.0.2.53", "pflog-interface": "nflog:5", "pcap-filter": "port 25",
    "pf-table": "mx", "nft-table": "inet mx", "on-overload": "drop", "user": "mail", "pid-file": "/run/x.pid"}


def value_of(name: str) -> str:
    """A value that the option takes; numbers of most of them reach from here."""
    return "" if BY_NAME[name].kind is Kind.FLAG else VALUES.get(name, "2048")


def read(line: str) -> tuple[list[tuple[str, str]], list[str], bool]:
    """Assignments, messages, and whether one is fatal."""
    assignments, problems, _ = configfile.parse(line.encode("utf-8", "surrogateescape"), "conf")
    return ([(one.option.name, one.text) for one in assignments], [str(problem) for problem in problems],
            any(problem.fatal for problem in problems))


SPELLINGS = [
    "{name}={value}", "{name}: {value}", "{name}:{value}", "{name} = {value}", "{name}\u00a0{value}",
    "{name}\u3000{value}", "\u200b{name} {value}", "\ufeff{name} {value}", "--{name} {value}", "-{name} {value}",
    "\u2013{name} {value}", "{upper}={value}", '"{name}" {value}', "{name}\udca0{value}", "{nul} {value}",
    "{underscored} {value}", "{blanks} {value}", "{dashes} {value}", "{joined} {value}", "{soft} {value}",
    "{wide} {value}", "\u2060{name}\u202f{value}"]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", [option.name for option in IN_FILE])
def test_every_option_in_every_wrong_spelling(name: str, spelling: str) -> None:
    value = value_of(name)
    forms = {
        "upper": name.upper(), "nul": "\0".join(name), "underscored": name.replace("-", "_"),
        "blanks": name.replace("-", " "), "dashes": name.replace("-", "\u2013"), "joined": name.replace("-", ""),
        "soft": name[:2] + "\u00ad" + name[2:],
        "wide": "".join(chr(ord(letter) + 0xFEE0) if letter.isalpha() else letter for letter in name)}
    # A mark at the beginning of a file is no mistake; anywhere else it is.
    line = "# first\n" + spelling.format(name=name, value=value, **forms)
    assignments, messages, fatal = read(line)
    first, _, rest = name.partition("-")
    if rest and assignments and first in BY_NAME and assignments[0][0] == first:
        # Another option with a value that it does not take, which is said as well: "patience network".
        with pytest.raises(ValueError, match="is not"):
            BY_NAME[first].convert(rest)
        return
    if assignments:
        # What is no mistake for an option without dash or value: "quiet", written "joined", is itself.
        assert assignments == [(name, value)]
        return
    assert fatal
    [message] = messages
    assert message.startswith("conf:2: ")
    assert name in message


@pytest.mark.parametrize("option", [option for option in IN_FILE if option.short], ids=lambda option: option.name)
def test_letters_of_the_command_line(option: object) -> None:
    option = next(one for one in IN_FILE if one is option)
    value = value_of(option.name)
    for letter in option.short:
        for form in ("-{} {}", "{} {}", "-{}={}", "{}={}", "\u2013{} {}", "{}\u00a0{}", " -{} {}\r"):
            line = form.format(letter, value)
            assignments, messages, fatal = read(line if value else line.rstrip("= "))
            assert (assignments, fatal) == ([], True), form
            assert f'write "{option.name}' in messages[0]
    if "mailserver" in option.name:
        for form in ("-{}{}", "{}{}"):
            assert read(form.format(option.short[0], value))[2]


@pytest.mark.parametrize("line", [
    "real 192.0.2.5", "fake 192.0.2.5", "mailserver 192.0.2.5", "real-server 192.0.2.5", "real-mail 192.0.2.5",
    "real-mailserver192.0.2.5", "re\u0430l-mailserver 192.0.2.5", "raelmailserver 192.0.2.5", "mailserver-real ::1",
    "fake-mialserver ::1", "real mail server ::1", "real-mailserver\u2028::1", "queue 23", "whitelist 60", "-sq"])
def test_what_an_operator_may_take_for_an_option(line: str) -> None:
    assignments, messages, fatal = read(line)
    assert (assignments, fatal) == ([], True)
    assert "nearly one: write " in messages[0]


@pytest.mark.parametrize(("line", "spelling"), [
    *((f"{dash}r {value}", f"real-mailserver {shown}") for dash in ("", "-", "\u2013") for value, shown in (
        ("192.0.2.21 # second", "192.0.2.21"), ("192.0.2.21 192.0.2.22", "ADDRESS"), ("192.0.2.21;", "192.0.2.21"),
        ("192.0.2.21,192.0.2.22", "ADDRESS"), ("192.0.2.21/32", "ADDRESS"), ("192.0.2.21:25", "ADDRESS"),
        ("192.0.2.021", "ADDRESS"), ("[2001:db8::1]", "2001:db8::1"), ("mx2.example.org", "ADDRESS"),
        ("yes", "ADDRESS"), ("(192.0.2.21)", "192.0.2.21"))),
    *((line, "real-mailserver 192.0.2.21") for line in (
        "r(192.0.2.21)", "r/192.0.2.21", "r.192.0.2.21", "'r' 192.0.2.21", '"r" 192.0.2.21 # x', "r|192.0.2.21",
        "mxallowd -r 192.0.2.21", "/usr/sbin/mxallowd -r 192.0.2.21 # x")),
    ("R mx2.example.org", "real-mailserver ADDRESS"), ("r,192.0.2.21", "real-mailserver 192.0.2.21"),
    ("f 192.0.2.11 # x", "fake-mailserver 192.0.2.11"), ("f yes", "fake-mailserver ADDRESS"),
    ("t 60 # x", "whitelist-time 60"), ("t 1h", "whitelist-time SECONDS"), ("n 23 # x", "queue-num 23"),
    ("n 23 24", "queue-num N[:M]"), ("p nflog:5 # x", "pflog-interface nflog:5"),
    ("b # no dns", "no-rdns-whitelist"), ("b yes", "no-rdns-whitelist"), ("d on # x", "no-rdns-whitelist"),
    ("q yes", "quiet"), ("q no", "quiet (or no line at all)"), ("F yes", "foreground"), ("s # x", "stdout"),
    ("F # x", "foreground"), ("s;", "stdout"), ("-F yes", "foreground")])
def test_a_letter_with_a_value_that_is_not_clean(line: str, spelling: str) -> None:
    assignments, [message], fatal = read(line)
    assert (assignments, fatal) == ([], True)
    assert message.endswith(f'nearly one: write "{spelling}"')


@pytest.mark.parametrize("form", [
    "{},{}", "{};{}", "{}|{}", "{}/{}", "{}.{}", "{}({})", "({}) {}", "'{}' {}", "'{}'={}", "*{} {}", "export {} {}",
    "option {} {}", "export {}={}", "mxallowd --{} {}", "set option {} {}", "{1} {0}", "{1},{0}", "{}, {}",
    "<{}> {}", "[{}] {}", "{}: ({})"])
@pytest.mark.parametrize("name", ["real-mailserver", "fake-mailserver"])
def test_the_name_of_a_mail_server_among_the_first_words(name: str, form: str) -> None:
    for address in ("192.0.2.21", "2001:db8::1"):
        line = form.format(name, address)
        assignments, [message], fatal = read(line)
        assert (assignments, fatal) == ([], True), line
        assert f'nearly one: write "{name} ' in message, line


@pytest.mark.parametrize(("line", "spelling"), [
    ("old-mailserver 192.0.2.21", "fake-mailserver 192.0.2.21 or real-mailserver 192.0.2.21"),
    ("my own second real_mailservers: 192.0.2.21", "real-mailserver 192.0.2.21"),
    ("192.0.2.21 mailserver", "fake-mailserver 192.0.2.21 or real-mailserver 192.0.2.21"),
    ("table inet mxallowd", "nft-table inet mxallowd"), ("nft-set inet mxallowd", "nft-table inet mxallowd"),
    ("table ip mx", "nft-table ip mx"), ("nft inet mxallowd", "nft-table inet mxallowd")])
def test_the_spelling_is_the_one_that_was_meant(line: str, spelling: str) -> None:
    _, [message], fatal = read(line)
    assert fatal
    assert message.endswith(f'write "{spelling}"')


@pytest.mark.parametrize("line", [
    "* real-mailserver 192.0.2.5", "'x 5", "'x' 5", "r.foo 5", "*** 192.0.2.5", "z 192.0.2.5", "b seldom", "q 5",
    "t soon", "n many"])
def test_what_1_9_ignored_and_is_like_none_is_no_error(line: str) -> None:
    assignments, _, fatal = read(line)
    assert (assignments, fatal) == ([], False)


@pytest.mark.parametrize("line", [
    "x 5", "ab 192.0.2.1", "qn 23", "}", "-x 5", "y", "--", "; real-mailserver 192.0.2.5", "//", "\u00a0#", "a=b"[:2]])
def test_short_names_like_no_option_are_ignored(line: str) -> None:
    assert read(line) == ([], [], False)


@pytest.mark.parametrize("line", [
    "unknown 1", "verbose", "cluster-key 5", "logfile /x", "greylist 300", "include /etc/x", "daemon", "port 25",
    "[servers]", ";real-mailserver 192.0.2.5", "//real-mailserver 192.0.2.5", "server 192.0.2.5", "whitelist-color 5",
    "debug", "fe80::1", "mail example.org", "database /var/lib/x"])
def test_other_unknown_names_stay_a_warning(line: str) -> None:
    assignments, [message], fatal = read(line)
    assert (assignments, fatal) == ([], False)
    assert message.endswith(", skipped")


alphabet = st.sampled_from("abcdefghijklmnopqrstuvwxyz-_ =:\u00a0\u200b\u2013\ufeff")


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, str]:
    """A name, and the same with one or two characters put in, left out, exchanged or replaced."""
    name = draw(st.sampled_from([option.name for option in IN_FILE]))
    written = name
    for _ in range(draw(st.integers(1, 2 if len(letters(name)) > 5 else 1))):
        at = draw(st.integers(0, len(written) - 1))
        kind = draw(st.sampled_from(("put in", "leave out", "exchange", "replace")))
        character = draw(alphabet)
        if kind == "put in":
            written = written[:at] + character + written[at:]
        elif kind == "leave out":
            written = written[:at] + written[at + 1:]
        elif kind == "exchange":
            written = written[:at] + written[at:at + 2][::-1] + written[at + 2:]
        else:
            written = written[:at] + character + written[at + 1:]
        assume(written.strip())
    return name, written


@settings(max_examples=300, deadline=None)
@given(mutated())
@example(("real-mailserver", "real-mailserve"))
@example(("user", "usr"))
def test_a_mutated_name_is_the_option_or_an_error_or_far(case: tuple[str, str]) -> None:
    """Never passed over: but where a blank cuts it so that no half is like an option."""
    name, written = case
    assignments, messages, fatal = read(f"# first\n{written} {value_of(name)}")
    if assignments:
        assert assignments[0][0] in BY_NAME
    elif not fatal:
        first = letters(written.split()[0].split("=")[0].split(":")[0])
        assert all(distance(first, letters(option.name)) > allowed(letters(option.name)) or len(first) < 3
                   for option in IN_FILE), messages


@given(st.text(max_size=200))
def test_any_text_is_near_some_or_none(text: str) -> None:
    options, value = near(text, IN_FILE)
    assert isinstance(value, str)
    assert len(options) <= len(IN_FILE)


@given(st.text("abc", max_size=6), st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_the_distance_is_one(one: str, other: str, third: str) -> None:
    assert distance(one, one) == 0
    assert distance(one, other) == distance(other, one) <= max(len(one), len(other))
    assert (distance(one, other) == 0) == (one == other)
    assert distance(one + third, other + third) <= distance(one, other)


def test_check_and_start_end_with_status_1(tmp_path: Path) -> None:
    file = tmp_path / "mx.conf"
    good = "fake-mailserver 192.0.2.1\nreal-mailserver 192.0.2.2\nqueue-num 23\n"
    real = "real-mailserver 192.0.2.3"
    for line, spelling in (("real-mailserver=192.0.2.3", real), ("-r 192.0.2.3", real),
                           ("whitelist\u2013time 60", "whitelist-time 60")):
        file.write_text(good + line + "\n", encoding="utf-8")
        status, output, _ = run("--check", "-c", str(file))
        assert status == 1
        assert f'{file}:4: "{line}" is no option, but nearly one: write "{spelling}"\n' in output
        status, _, errors = run("-F", "-c", str(file))
        assert status == 1
        assert errors == f'mxallowd: {file}:4: "{line}" is no option, but nearly one: write "{spelling}"\n'
