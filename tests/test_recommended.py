"""What we recommend: the daemon takes it as it is, and documents say the same."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mxallowd.settings.options import BY_NAME, Kind

ROOT = Path(__file__).parent.parent
RECOMMENDED = ROOT / "packaging" / "recommended.conf"
SERVERS = "fake-mailserver 192.0.2.10\nreal-mailserver 192.0.2.20\nqueue-num 23\n"
# An option that is there to be switched on: its name directly behind the mark of a comment.
OFF = re.compile(r"^#(?! )(.+)", re.MULTILINE)


def lines(*, off: bool = False) -> list[str]:
    """The options that it sets, or those that are there to be switched on."""
    text = RECOMMENDED.read_text(encoding="ascii")
    return OFF.findall(text) if off else [line for line in text.splitlines() if line and not line.startswith("#")]


def check(path: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "mxallowd", "--check", "-c", str(path)], cwd=ROOT, capture_output=True,
                          text=True, timeout=60)


def test_the_daemon_takes_it_behind_the_servers(tmp_path: Path) -> None:
    path = tmp_path / "mxallowd.conf"
    path.write_text(SERVERS + RECOMMENDED.read_text(encoding="ascii"), encoding="ascii")
    done = check(path)
    said = [line for line in done.stdout.splitlines() + done.stderr.splitlines() if str(path) in line]
    assert (done.returncode, said) == (0, []), done.stderr


def test_and_what_is_to_be_switched_on(tmp_path: Path) -> None:
    assert lines(off=True)
    senders = ROOT / "packaging" / "trusted-senders"
    text = SERVERS + "\n".join(lines() + lines(off=True)).replace("/etc/mxallowd/trusted-senders", str(senders)) + "\n"
    path = tmp_path / "mxallowd.conf"
    path.write_text(text, encoding="ascii")
    done = check(path)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.parametrize("line", lines() + lines(off=True))
def test_each_line_is_an_option(line: str) -> None:
    name, _, value = line.partition(" ")
    option = BY_NAME[name]
    assert option.in_file
    assert bool(value) == (option.kind is not Kind.FLAG)
    if value:
        option.convert(value)


def test_the_page_on_setting_up_quotes_it() -> None:
    """What docs/setup.md recommends is this file, without its comments."""
    page = (ROOT / "docs" / "setup.md").read_text(encoding="utf-8")
    quoted = "".join(f"    {line}\n" for line in lines())
    assert page.count(f"\n\n{quoted}\n") == 1, f"it has to quote:\n{quoted}"


@pytest.mark.parametrize("nft", [False, True], ids=["iptables", "nft"])
def test_who_follows_the_page_has_all_of_it(tmp_path: Path, nft: bool) -> None:
    """The three blocks of docs/setup.md: nothing does nothing, and the rules lead whom direct-after finds."""
    page = (ROOT / "docs" / "setup.md").read_text(encoding="utf-8")
    step = page.partition("## 3. Configuration")[2].partition("## 4.")[0]
    blocks = [block for block in re.findall(r"(?:^ {4}\S.*\n)+", step, re.MULTILINE) if "--check" not in block]
    assert [block.split()[0] for block in blocks] == ["fake-mailserver", "proven-time", "direct-table"]
    if nft:
        blocks[2] = re.findall("`(direct-table inet [^`]+)`", step)[0]
    path = tmp_path / "mxallowd.conf"
    path.write_text("".join(blocks).replace("    ", "") + "\n", encoding="ascii")
    done = check(path)
    assert (done.returncode, "leads nobody" in done.stdout + done.stderr) == (0, False), done.stdout
    assert "dry-run" in path.read_text(encoding="ascii")
    way = ["a"] if nft else ["a", "--iptables"]
    printed = subprocess.run([sys.executable, "-m", "mxallowd", "-c", str(path), "--print-ruleset", *way], cwd=ROOT,
                             capture_output=True, text=True, timeout=60)
    assert (printed.returncode, printed.stderr) == (0, ""), printed.stderr
    assert ("\tchain direct {" if nft else 'direct4="192.0.2.20" direct6="2001:db8::20"') in printed.stdout


@pytest.mark.parametrize("document", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_documents_recommend_the_same(document: str) -> None:
    """Wherever a document says `--option VALUE` (recommended: X), X is the value of the file."""
    text = " ".join((ROOT / "docs" / document).read_text(encoding="utf-8").split())
    values = dict(line.partition(" ")[::2] for line in lines())
    for name, value in re.findall(r"`--([a-z-]+) [^`]*` \(recommended: `?([^`,)]+)", text):
        assert values.get(name) == value, f"--{name}"
