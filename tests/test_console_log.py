"""The console's log: the table against the calls and the page, its bound, and its two forms."""
import ast
import os
import re
import subprocess
import sys
from pathlib import Path

from mxallowd.console.log import BURST, LINES

ROOT = Path(__file__).parent.parent
WRITES = """
import sys
from mxallowd.console.log import Log
log = Log()
log.start()
for _ in range(int(sys.argv[1])):
    log.write("log-in-failed", client="192.0.2.1", user=sys.argv[2])
    log.write("changed", client="192.0.2.1", user="anna", change="/", what="192.0.2.1", said="")
log.write("stop", signal="none")
log.close()
"""


def written(times: int, user: str, **environment: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", WRITES, str(times), user], capture_output=True, text=True, timeout=30,
                          env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


def test_each_call_writes_a_line_of_the_table_with_its_keys() -> None:
    found: dict[str, set[tuple[str, ...]]] = {}
    for path in (ROOT / "mxallowd" / "console").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "write"
                    and node.args and isinstance(node.args[0], ast.Constant)):
                keys = tuple(one.arg for one in node.keywords if one.arg)
                found.setdefault(str(node.args[0].value), set()).add(keys)
    table = {line.word: {key.strip("=") for key in line.form.split()[1:]} for line in LINES}
    assert found.keys() == table.keys() - {"suppressed"}
    for word, calls in found.items():
        for keys in calls:
            assert set(keys) <= table[word], word


def test_the_page_has_the_table() -> None:
    page = (ROOT / "docs" / "console.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+(?: [a-z]+=)*)` \| (info|warning|error) \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(line.form, *line.levels, line.help) for line in LINES]


def test_text_of_others_is_printable_and_a_flood_is_cut() -> None:
    lines = written(int(BURST) + 50, "an\nna\x1b[2J\u202e")
    # Changes have a line each.
    changes = [line for line in lines if " - changed client=" in line]
    assert len(changes) == BURST + 50
    lines = [line for line in lines if line not in changes]
    assert all(line.isprintable() for line in lines)
    # What was left out is said before the next line that is written.
    first = next(line for line in lines if "suppressed" not in line)
    assert re.sub(r"^.{19} - ", "", first) == "log-in-failed client=192.0.2.1 user=an\\x0ana\\x1b[2J\\u202e"
    assert len(lines) < BURST + 10
    assert sum(int(found[1]) for line in lines if (found := re.search(r"suppressed lines=(\d+)", line))) >= 40


def test_in_the_journal_a_line_has_its_level_and_no_time() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import os, sys; s = os.fstat(2); os.environ['JOURNAL_STREAM'] = "
         "f'{s.st_dev}:{s.st_ino}'; exec(sys.argv.pop(1))", WRITES, "1", "anna"],
        capture_output=True, text=True, timeout=30)
    assert done.stderr.splitlines() == [
        "<4>log-in-failed client=192.0.2.1 user=anna",
        '<6>changed client=192.0.2.1 user=anna change=/ what=192.0.2.1 said=""', "<6>stop signal=none"]
