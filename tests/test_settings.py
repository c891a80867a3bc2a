"""What command line and file come to: addition, precedence, and the checks across options."""
from pathlib import Path

import pytest

from mxallowd.errors import ConfigError
from mxallowd.settings import Problem, Settings, arguments, build, changed, configfile

MINIMUM = "-f 192.0.2.1 -r 192.0.2.2 -n 23"


def settings_of(command_line: str, file: str = "") -> tuple[Settings | None, list[Problem]]:
    assignments, _ = arguments.parse(command_line.split())
    from_file, problems, _ = configfile.parse(file.encode(), "conf")
    settings, more = build([*from_file, *assignments])
    return settings, problems + more


def good(command_line: str, file: str = "") -> Settings:
    settings, problems = settings_of(command_line, file)
    assert settings is not None, problems
    return settings


def messages(command_line: str, file: str = "") -> list[str]:
    settings, problems = settings_of(command_line, file)
    assert settings is None
    return [str(problem) for problem in problems]


def test_defaults() -> None:
    settings = good(MINIMUM)
    assert settings.whitelist_time == 28_800
    assert settings.queue_num == range(23, 24)
    assert settings.pid_file == Path("/var/run/mxallowd.pid")
    assert (settings.stdout, settings.quiet, settings.foreground, settings.no_rdns_whitelist) == (False,) * 4
    assert (settings.pflog_interface, settings.pcap_filter) == (None, "port 25")
    assert (settings.queue_length, settings.max_entries) == (8192, 1_000_000)


@pytest.mark.parametrize("words", [
    "-b -s -q -F -t 60 -p em0 -l tcp",
    "-d --stdout --quiet --foreground --whitelist-time 60 --pflog-interface em0 --pcap-filter tcp",
    "--no-rdns-whitelist -sqF -t60 --pflog-interface=em0 -ltcp",
    "-b -d -s -q -F -t 5 -t 60 -p em1 -p em0 -l tcp",
])
def test_every_form_of_every_option(words: str) -> None:
    settings = good(f"{MINIMUM} {words}")
    assert settings.no_rdns_whitelist
    assert settings.stdout
    assert settings.quiet
    assert settings.foreground
    assert (settings.whitelist_time, settings.pflog_interface, settings.pcap_filter) == (60, "em0", "tcp")


def test_long_names_of_servers_and_queue() -> None:
    assert good("--fake-mailserver 192.0.2.1 --real-mailserver 192.0.2.2 --queue-num 23") == good(MINIMUM)


def test_servers_add_up_and_values_of_the_command_line_win() -> None:
    settings = good("-f 192.0.2.9 -r ::2 -t 10",
                    "fake-mailserver 192.0.2.1\nfake-mailserver 192.0.2.1\nreal-mailserver ::1\n"
                    "queue-num 7\nwhitelist-time 99\nwhitelist-time 88\nquiet\n")
    assert [str(server) for server in settings.fake_mailserver] == ["192.0.2.1", "192.0.2.9"]
    assert [str(server) for server in settings.real_mailserver] == ["::1", "::2"]
    assert (settings.whitelist_time, settings.queue_num, settings.quiet) == (10, range(7, 8), True)
    assert good("", "fake-mailserver ::1\nreal-mailserver ::2\nqueue-num 7\nqueue-num 8\n").queue_num == range(8, 9)


def test_a_server_is_fake_or_real_in_any_form_of_its_address() -> None:
    assert messages("-f 2001:DB8::1 -r 2001:db8:0:0::1 -n 1") == [
        'command line: real-mailserver: "2001:db8:0:0::1" is a fake-mailserver already']
    assert messages("-f ::ffff:192.0.2.1 -n 1", "real-mailserver 192.0.2.1") == [
        'command line: fake-mailserver: "::ffff:192.0.2.1" is a real-mailserver already']


def test_what_is_missing() -> None:
    assert messages("-n 1 -r ::1") == ["settings: no fake-mailserver is given: at least one is needed"]
    assert messages("-n 1 -f ::1") == ["settings: no real-mailserver is given: at least one is needed"]
    assert messages("-f ::2 -r ::1") == [
        "settings: no queue-num is given: it is the number in the firewall rule (or pflog-interface, to capture)"]


def test_capture_stands_in_for_the_queue_or_beside_it() -> None:
    alone = good("-f ::2 -r ::1 -p pflog0")
    assert (alone.pflog_interface, alone.queue_num, alone.pf_table) == ("pflog0", None, None)
    beside = good("-f ::2 -r ::1 -p nflog:5 -n 3")
    assert (beside.pflog_interface, beside.queue_num) == ("nflog:5", range(3, 4))
    assert messages("-f ::2 -r ::1 -p file:/x -n 3") == [
        "settings: a file (pflog-interface) is rehearsed alone, without queue-num"]


def test_a_filter_that_we_compile_is_checked_before_the_start() -> None:
    assert messages("-f ::2 -r ::1 -p nflog:5 -l host") == [
        'settings: pcap-filter: "host" has "host", and here only port, tcp, src port, dst port, and, or and '
        "parentheses can be used"]
    assert good("-f ::2 -r ::1 -p eth0 -l host").pcap_filter == "host"


def test_a_mark_for_verdicts_needs_a_queue() -> None:
    assert good(MINIMUM).verdict_mark is None
    assert good(f"{MINIMUM} --verdict-mark 0x10/0x30").verdict_mark == (0x10, 0x30)
    assert messages("-f ::2 -r ::1 -p nflog:5 --verdict-mark 1") == [
        "settings: verdict-mark needs queue-num: captured packets get no verdict"]


def test_refused_packets() -> None:
    usual = good(MINIMUM)
    assert (usual.refuse, usual.refuse_mark) == ("drop", (0x40000000, 0x40000000))
    assert good(f"{MINIMUM} --refuse reset --refuse-mark 2/2 --verdict-mark 1/1").refuse_mark == (2, 2)
    assert good("-f ::2 -r ::1 -p nflog:5 --refuse drop").refuse == "drop"
    assert messages("-f ::2 -r ::1 -p nflog:5 --refuse reset") == [
        "settings: refuse reset needs queue-num: where the firewall decides, its rules reject (docs/firewall.md)"]
    assert messages(f"{MINIMUM} --refuse reset --verdict-mark 5") == [
        "settings: refuse-mark and verdict-mark share bits: a rule could take a refused packet for an accepted one"]
    assert good(f"{MINIMUM} --verdict-mark 5").refuse == "drop"
    assert messages(f"{MINIMUM} --refuse accept") == ["command line: refuse: \"accept\" is not drop or reset"]


def test_kernel_tables() -> None:
    settings = good(f"{MINIMUM} --nft-table=mx --nft-setup --pf-table white --ipset --flush-on-exit")
    assert (settings.nft_table, settings.nft_setup, settings.pf_table, settings.ipset, settings.flush_on_exit) == (
        "inet mx", True, "white", True, True)
    assert good(MINIMUM, "nft-table ip6 mx\n").nft_table == "ip6 mx"
    assert messages(f"{MINIMUM} --nft-setup") == ["settings: nft-setup needs nft-table, the table that it is to create"]
    assert messages(f"{MINIMUM} --flush-on-exit") == [
        "settings: flush-on-exit needs a table to empty: pf-table, nft-table, ipset or direct-table"]
    assert good(f"{MINIMUM} --flush-on-exit --direct-table ipset").flush_on_exit


def test_doors() -> None:
    assert good(MINIMUM).door == ()
    settings = good(f"{MINIMUM} --nft-table mx --door eth0.7 --door br-lan", "door eth0.7\ndoor ä\n")
    assert settings.door == ("eth0.7", "ä", "br-lan")
    _, problems = settings_of(f"{MINIMUM} --door eth0")
    assert [str(one) for one in problems] == [
        "settings: warning: door does nothing without nft-table, whose chain stands there"]
    assert messages(f"{MINIMUM} --nft-table mx --door lo") == [
        'command line: door: "lo" is this host itself: no mail from outside comes by it, and its own programs would be '
        "refused"]


@pytest.mark.parametrize(("option", "why"), [
    ("-b", "no-rdns-whitelist"), ("--rdns-max-children 0", "rdns-max-children 0")])
def test_without_names_nobody_is_learned_as_direct(option: str, why: str) -> None:
    settings, problems = settings_of(f"{MINIMUM} {option} --direct-after 6/6h")
    assert settings is not None and settings.direct_after is None
    assert [str(one) for one in problems] == [
        f"settings: warning: direct-after does nothing: with {why} no name is looked up"]


def test_a_bsd_captures_from_pflog0_and_feeds_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mxallowd.settings.ON_BSD", True)
    usual = good("-f ::2 -r ::1")
    assert (usual.pflog_interface, usual.pf_table) == ("pflog0", "mx-white")
    assert good("-f ::2 -r ::1 -p pflog1 --pf-table other").pf_table == "other"
    rehearsal = good("-f ::2 -r ::1 -p file:/x")
    assert (rehearsal.pflog_interface, rehearsal.pf_table) == ("file:/x", None)


def test_all_problems_are_found_with_their_places() -> None:
    assert messages("-t never -n 1 -f ::1", "\nfake-mailserver 1.2.3\nreal-mailserver ::2\nqueue-num 70000") == [
        'conf:2: fake-mailserver: "1.2.3" is not an IPv4 or IPv6 address',
        'conf:4: queue-num: "70000" is neither a queue number from 0 to 65535 nor two of them as A:B',
        'command line: whitelist-time: "never" is not a number from 1 to 315360000']


@pytest.mark.parametrize(("words", "quoted"), [
    ("--frob", "--frob"), ("-x", "-x"), ("stray", "stray"), ("-n", "-n/--queue-num"), ("--queue-num", "--queue-num"),
    ("--stdout=please", "'please'"), ("-F no", 'leave -F out'), ("--quiet=off", "leave --quiet out"),
    ("--qu 3", '"--qu" may be --queue-num or --quiet or --queue-length'), ("--max 5", "--max-entries or --max-refused"),
    ("--f ::1", "--fake-mailserver or .*--foreground"), ("-f ::1 ::2", '"::2" belongs to no option'),
    ("--real_mailserver ::1", "did you mean --real-mailserver ::1?"), ("-queue-num 3", '"--queue-num"'),
    ("\u2013\u2013queue-num 3", "did you mean --queue-num 3?"), ("queue-num=3", "did you mean --queue-num 3?")])
def test_words_that_are_no_options(words: str, quoted: str) -> None:
    with pytest.raises(ConfigError, match=quoted):
        arguments.parse(words.split())


@pytest.mark.parametrize(("short", "full"), [
    ("--no", "--no-rdns-whitelist"), ("--queue 3", "--queue-num 3"), ("--re=::1", "-r ::1"), ("--fa ::1", "-f ::1"),
    ("--co x", "-c x"), ("--log-h 5", "--log-hosts 5"), ("--nft-t mx", "--nft-table mx"),
    ("--stdout yes", "-s"), ("--stdout=1", "-s"), ("--fore 1 -q", "-F -q"), ("-sF true", "-s -F"), ("--c x", "-c x")])
def test_what_getopt_took_is_taken(short: str, full: str) -> None:
    """What was unambiguous in mxallowd 1.9 still is; of others all are asked."""
    assert arguments.parse(short.split()) == arguments.parse(full.split())


def test_seconds_may_have_their_unit() -> None:
    assert good(f"{MINIMUM} -t 3600s").whitelist_time == 3600
    assert messages(f"{MINIMUM} -t 2h") == [
        'command line: whitelist-time: "2h" is not a number from 1 to 315360000; in seconds it is 7200']


def test_what_changed() -> None:
    before = good(MINIMUM)
    assert changed(before, before) == ()
    assert changed(before, good(f"{MINIMUM} -q -t 5 -f ::9")) == ("fake-mailserver", "whitelist-time", "quiet")
