"""The Debian package's own tables against the project's: what it bundles, what it says of that, and its unit.

The package itself is built by scripts/package and tried by scripts/test-packages.
"""
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
DEBIAN = ROOT / "packaging" / "debian"


def pins(name: str) -> dict[str, str]:
    """The versions of a file of requirements with hashes."""
    lines = [line for line in (DEBIAN / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    found = [re.fullmatch(r"(\S+)==(\S+) --hash=sha256:[0-9a-f]{64}", line) for line in lines]
    assert all(found), lines
    return {canonicalize_name(match[1]): match[2] for match in found if match}


def asked_for(*keys: str) -> list[Requirement]:
    """The requirements at this place of pyproject.toml."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for key in keys:
        table = table[key]
    return [Requirement(line) for line in table]


@pytest.mark.parametrize(("file", "keys", "elsewhere"), [
    ("bundled.txt", ("project", "dependencies"), {"rich"}),  # of Debian 12 and 13, which is new enough
    ("bundled.txt", ("project", "optional-dependencies", "fleet"), set()),
    ("bundled.txt", ("project", "optional-dependencies", "console"), {"jinja2"}),  # the same
    ("tools.txt", ("build-system", "requires"), set()),
])
def test_what_is_pinned_will_do(file: str, keys: tuple[str, ...], elsewhere: set[str]) -> None:
    pinned = pins(file)
    wanted = {canonicalize_name(one.name): one for one in asked_for(*keys)}
    assert wanted.keys() - pinned.keys() == elsewhere
    for name, requirement in wanted.items():
        assert name in elsewhere or requirement.specifier.contains(pinned[name]), requirement


def test_each_bundled_one_has_its_licence() -> None:
    text = (DEBIAN / "copyright").read_text(encoding="utf-8")
    named = re.findall(r"^Comment: ([^;,\n]+)", text, re.MULTILINE)
    assert {canonicalize_name(name) for name in named} - {"decorator", "uplot"} == pins("bundled.txt").keys()
    used = {name for line in re.findall(r"^License: (.+)$", text, re.MULTILINE) for name in line.split(" and ")}
    assert "c-ares" in used
    told = {name for name in used if re.search(rf"^License: {re.escape(name)}\n ", text, re.MULTILINE)}
    assert used == told


def test_what_a_bundled_one_says_of_itself_is_under_its_licence() -> None:
    text = (DEBIAN / "copyright").read_text(encoding="utf-8")
    paragraphs = [(found[1].split(), found[2]) for found in
                  re.finditer(r"^Files: ((?:.+\n)+?)Copyright: (?:.+\n)+?License: (.+)$", text, re.MULTILINE)]
    assert len(paragraphs) == text.count("\nFiles: ")
    for name, version in pins("bundled.txt").items():
        path = f"usr/lib/mxallowd/{name.replace('-', '_')}-{version}.dist-info/METADATA"
        licence = [terms for patterns, terms in paragraphs if any(fnmatch(path, one) for one in patterns)][-1]
        assert licence != "GPL-2+", path


def test_readme_leads_to_what_the_package_has() -> None:
    documents = {*(DEBIAN / "mxallowd.docs").read_text(encoding="utf-8").split(),
                 *(line.split()[0] for line in (DEBIAN / "mxallowd.install").read_text(encoding="utf-8").splitlines())}
    linked = re.findall(r"\]\(([A-Za-z][^):#]*)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert linked and {one for one in linked if one not in documents and one.split("/")[0] not in documents} == set()


def test_the_unit_of_the_package(tmp_path: Path) -> None:
    """It is the one unit, with the places and the user of the package."""
    rules = (DEBIAN / "rules").read_text(encoding="utf-8")
    [recipe] = re.findall(r"^\t(sed (?:.*\\\n)*.*>debian/mxallowd\.service)$", rules, re.MULTILINE)
    (tmp_path / "debian").mkdir()
    command = recipe.replace("$(DATA)", str(ROOT / "mxallowd" / "data")).replace("$$", "$")
    subprocess.run(["sh", "-euc", command], cwd=tmp_path, check=True)
    made = (tmp_path / "debian" / "mxallowd.service").read_text(encoding="utf-8").splitlines()
    ours = (ROOT / "mxallowd" / "data" / "mxallowd.service").read_text(encoding="utf-8").splitlines()
    changed = {line for line in made if line not in ours}
    assert changed == {line.replace("/usr/local/bin/", "/usr/sbin/") for line in ours if "/usr/local" in line
                       and line.startswith("Exec")} | {"Group=mxallowd"}
    lost = {line for line in ours if line not in made and not line.startswith("#")}
    assert lost == {line for line in ours if line.startswith("Exec") and "/usr/local" in line} | {"DynamicUser=yes"}


def test_the_unit_of_the_console(tmp_path: Path) -> None:
    """As the other one; its user is one of the system anyway."""
    rules = (DEBIAN / "rules").read_text(encoding="utf-8")
    [recipe] = re.findall(r"^\t(sed (?:.*\\\n)*.*>debian/mxallowd\.mxallowd-console\.service)$", rules, re.MULTILINE)
    (tmp_path / "debian").mkdir()
    command = recipe.replace("$(DATA)", str(ROOT / "mxallowd" / "data")).replace("$$", "$")
    subprocess.run(["sh", "-euc", command], cwd=tmp_path, check=True)
    made = (tmp_path / "debian" / "mxallowd.mxallowd-console.service").read_text(encoding="utf-8").splitlines()
    ours = (ROOT / "mxallowd" / "data" / "mxallowd-console.service").read_text(encoding="utf-8").splitlines()
    assert {line for line in made if line not in ours} == {"ExecStart=/usr/sbin/mxallowd-console serve $OPTIONS"}
    assert {line for line in ours if line not in made and not line.startswith("#")} == {
        "ExecStart=/usr/local/bin/mxallowd-console serve $OPTIONS"}
    users = (DEBIAN / "mxallowd.sysusers").read_text(encoding="utf-8")
    assert re.findall(r"^(?:User|Group)=(.*)$", "\n".join(made), re.MULTILINE) == ["mxallowd-console"] * 2
    assert "\nu mxallowd-console - " in users and "\nm mxallowd-console mxallowd\n" in users
