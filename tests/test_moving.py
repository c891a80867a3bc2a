"""The pages about moving to mxallowd: their commands, on what the other programs' own tools print."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mxallowd.ctl.dumps import recognize
from mxallowd.settings.options import BY_NAME

ROOT = Path(__file__).parent.parent
GREYLISTING = (ROOT / "docs" / "moving-from-greylisting.md").read_text(encoding="utf-8")
OLD = (ROOT / "docs" / "moving-from-1.9.md").read_text(encoding="utf-8")
# db5.3_dump -p of the database of postgrey 1.37; the second client had fewer than five deliveries.
POSTGREY = """VERSION=3
format=print
type=btree
db_pagesize=4096
HEADER=END
 198.51.100.9
 1,1795747808
 2001:DB8:5:0:0:0:0:25
 9,1795792208
 203.0.113.7
 7,1795784808
DATA=END
"""
# postmap -s of the cache of Postfix 3.7; the third client is known by a list in the DNS alone.
POSTSCREEN = """192.0.2.101\t1795890333;1;1798395933;1798395933;1798395933
2001:db8::101\t1795890336;1;1;1;1
198.51.100.9\t0;1795803999;1;1;1
_LAST_CACHE_CLEANUP_COMPLETED_\t1795803931
"""
NAMES = "# notes\ndebconf.org\n/^mail\\d+\\.telekom\\.de$/\n66.216.126.174\n195.235.39\nmx1.a-b.example\n192.0.2.0/24\n"
# Of a table of postscreen: lines that count, with words in capitals; and what is left out, with its line.
TABLE = ("# partners\n203.0.113.0/24   permit\n198.51.100.7 REJECT\n2001:db8:7::/48 Permit as agreed\n"
         "!10.0.0.0/8 reject\n192.0.2.9 dunno\n  192.0.2.9 permit\nIF 192.0.2.0/24\nif !192.0.2.3\n192.0.2.4 reject\n"
         "endif\n192.0.2.5 permit\nendif\n[2001:db8::]/32 reject\n0.0.0.0/0 dunno\n")
TABLE_LEFT = ["5:!10.0.0.0/8 reject", "7:  192.0.2.9 permit", "8:IF 192.0.2.0/24", "9:if !192.0.2.3", "11:endif",
              "13:endif", "14:[2001:db8::]/32 reject"]
TRAPPED = "WHITE|203.0.113.20|||1|2|3|3|14\nTRAPPED|198.51.100.31|1795890333\nSPAMTRAP|trap@example.org\n"


def words(part: str) -> str:
    """The one argument in single quotes that begins so."""
    found = re.findall(r"'((?:" + re.escape(part) + r")[^']*)'", GREYLISTING)
    assert len(found) == 1, found
    return str(found[0])


def script(part: str) -> str:
    """The one script that the page writes to a file and that has this word."""
    scripts = re.findall(r"<<'END'\n(.+?)^ {4}END$", GREYLISTING, re.MULTILINE | re.DOTALL)
    [found] = [one for one in scripts if part in one]
    return str(found)


def run(argv: list[str], text: str) -> list[str]:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(("argv", "text", "expected"), [
    (["awk", words("/^ / {")], POSTGREY, ["2001:DB8:5:0:0:0:0:25", "203.0.113.7"]),
    (["awk", "-F", "[\t;]", words("NF > 2")], POSTSCREEN, ["192.0.2.101", "2001:db8::101"]),
    (["grep", "-Ei", words("^[a-z0-9-]+")], NAMES, ["debconf.org", "mx1.a-b.example"]),
    (["awk", "-v", "word=permit", script("word")], TABLE, ["203.0.113.0/24", "2001:db8:7::/48"]),
    (["awk", "-v", "word=reject", script("word")], TABLE, ["198.51.100.7"]),
    (["grep", "-inE", words("^(!")], TABLE, TABLE_LEFT),
    (["awk", "-F", "|", words('$1 == "TRAPPED"')], TRAPPED, ["198.51.100.31"])])
def test_commands_take_what_they_are_to_take(argv: list[str], text: str, expected: list[str]) -> None:
    found = run(argv, text)
    assert found == expected
    # What goes to the import is a list to it, and to no other format.
    assert expected[0][0].isalpha() or argv[0] == "grep" or recognize(found) == "list"


def test_the_files_themselves_are_recognized() -> None:
    assert recognize(NAMES.splitlines()) == "postgrey"
    assert recognize(TABLE.splitlines()) == "postscreen"
    assert recognize(TRAPPED.splitlines()) == "spamdb"


def test_old_behaviour_is_what_the_daemon_takes(tmp_path: Path) -> None:
    """Each option in the third column, with its value."""
    column = [line.split(" | ")[2] for line in OLD.splitlines() if line.startswith("| ") and line.count(" | ") == 2]
    named = [text for cell in column for text in re.findall(r"`([a-z][a-z0-9 -]*)`", cell)]
    lines = [text for text in named if text.split()[0] in BY_NAME and text != "max-entries"]
    assert {"whitelist-time 3600", "renew never", "on-overload drop", "rdns-unconfirmed"} <= set(lines)
    path = tmp_path / "mxallowd.conf"
    servers = ["fake-mailserver 192.0.2.10", "real-mailserver 192.0.2.20", "queue-num 23"]
    path.write_text("".join(f"{line}\n" for line in servers + lines), encoding="ascii")
    done = subprocess.run([sys.executable, "-m", "mxallowd", "--check", "-c", str(path)], cwd=ROOT, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0 and str(path) not in done.stdout + done.stderr, done.stderr
