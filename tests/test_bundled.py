"""release/: what is bundled in a wheel or a directory is found with its licences, and the SBOM of it is a valid one."""
import json
import subprocess
import sys
from pathlib import Path

import pycares
import pytest

from release import licences, parts, sbom

ROOT = Path(__file__).parent.parent
EPOCH = 1_700_000_001


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A directory with two distributions, one of which has a library of Debian within, as auditwheel tells it."""
    place = tmp_path / "bundle"
    metadata = {
        "one-1.0": "Metadata-Version: 2.4\nName: One_\nVersion: 1.0\nLicense-Expression: MIT\n\n",
        "two-2.0": "Metadata-Version: 2.1\nName: pycares\nVersion: 2.0\nLicense: All of it\n  in many lines\n"
                   "Classifier: License :: OSI Approved :: BSD License\n\nLicense-Expression: none\n"}
    for name, text in metadata.items():
        deep = place / f"{name}.dist-info" / "licenses" / "deep"
        deep.mkdir(parents=True)
        (place / f"{name}.dist-info" / "METADATA").write_text(text, encoding="ascii")
        (deep / "COPYING").write_text("The same words.\n", encoding="ascii")
    (place / "one-1.0.dist-info" / "LICENSE").write_text("Words of One.\n", encoding="ascii")
    (place / "pycares").mkdir()
    (place / "pycares" / "_cares.abi3.so").write_bytes(b"GLIBC_2.2.5\0127.0.0.1\0.-1.34.9\0")
    component = {"purl": "pkg:deb/debian/libmnl0@1.0.4-3#5c09", "name": "libmnl0"}
    (place / "one-1.0.dist-info" / "sboms").mkdir()
    (place / "one-1.0.dist-info" / "sboms" / "auditwheel.cdx.json").write_text(
        json.dumps({"components": [{"purl": "pkg:pypi/one@1.0"}, component]}), encoding="ascii")
    return place


def test_what_is_bundled_and_its_licences(bundle: Path) -> None:
    one, library, two, linked = parts.of(bundle)
    assert (one.name, one.version, one.purl, one.licence) == ("One_", "1.0", "pkg:pypi/one-@1.0", "MIT")
    assert set(one.texts) == {"LICENSE", "deep/COPYING"}
    assert (library.name, library.within, library.purl) == ("libmnl0", "One_", "pkg:deb/debian/libmnl0@1.0.4-3")
    assert licences.licence(library) == "LGPL-2.1-or-later"
    assert two.licence == "BSD License"
    assert (linked.name, linked.kind, linked.within) == ("c-ares", "linked", "pycares")
    assert (linked.version, linked.purl) == ("1.34.9", "pkg:generic/c-ares@1.34.9")
    text = licences.text([one, library, two, linked])
    assert "libmnl0 1.0.4-3 (deb, within One_): LGPL-2.1-or-later\n" in text
    assert "\nc-ares 1.34.9 (linked, within pycares): MIT\n" in text
    assert text.count("The same words.") == 1
    assert "\nOne_: deep/COPYING\npycares: deep/COPYING\n====" in text
    assert text.endswith("\n")


def test_what_is_loaded_is_not_bundled(bundle: Path) -> None:
    (bundle / "pycares" / "_cares.abi3.so").write_bytes(b"\0libcares.so.2\0")
    assert [part.name for part in parts.of(bundle)] == ["One_", "libmnl0", "pycares"]


def test_what_draws_the_plots_is_told(tmp_path: Path) -> None:
    """It is no distribution of Python; what the wheel has is what lies here."""
    (tmp_path / "mxallowd-2.0.dist-info").mkdir()
    (tmp_path / "mxallowd-2.0.dist-info" / "METADATA").write_text("Name: mxallowd\nVersion: 2.0\n", encoding="ascii")
    (tmp_path / "mxallowd").symlink_to(ROOT / "mxallowd")
    _, plots = parts.of(tmp_path)
    assert (plots.name, plots.licence, plots.within) == ("uPlot", "MIT", "mxallowd")
    assert plots.purl == f"pkg:npm/uplot@{plots.version}" and plots.version.count(".") == 2
    assert b"Leon Sorokin" in plots.texts["uplot.LICENSE"]
    assert "\nuPlot: uplot.LICENSE\n" in licences.text([plots])
    assert '"pkg:npm/uplot@' in sbom.document("thing.deb", "1.0", parts.of(tmp_path), EPOCH)


def test_the_version_in_the_real_one() -> None:
    """pycares as PyPI has it carries one c-ares, and tells of it itself."""
    modules = Path(pycares.__file__).parent.glob("*.so")
    found = {one.decode() for module in modules for one in parts.VERSIONS["c-ares"].findall(module.read_bytes())}
    assert found == {pycares.ARES_VERSION}


@pytest.mark.parametrize(("text", "licence"), [
    ("The Apache Software License, Version 1.1\n", "Apache-1.1"),
    ("Apache License, Version 2.0\n", "Apache-2.0"),  # where a later one has changed its text
])
def test_a_licence_that_metadata_name_wrongly(tmp_path: Path, text: str, licence: str) -> None:
    place = tmp_path / "pcapy_ng-2.1.0.dist-info"
    (place / "licenses").mkdir(parents=True)
    (place / "METADATA").write_text("Name: pcapy-ng\nVersion: 2.1.0\nLicense: Apache-2.0\n", encoding="ascii")
    (place / "licenses" / "LICENSE").write_text(text, encoding="ascii")
    [part] = parts.of(tmp_path)
    assert part.licence == licence


def test_the_command_needs_no_other_package(bundle: Path) -> None:
    done = subprocess.run([ROOT / "scripts" / "licences", bundle.name], capture_output=True, text=True, timeout=60,
                          cwd=bundle.parent, env={"PATH": "/usr/bin:/bin", "PYTHON": f"{sys.executable}"})
    assert (done.returncode, done.stdout, done.stderr) == (0, licences.text(parts.of(bundle)), "")


def test_the_bill_is_valid_and_equal_each_time(bundle: Path) -> None:
    found = parts.of(bundle)
    text = sbom.document("thing.deb", "1.0", found, EPOCH)
    assert sbom.document("thing.deb", "1.0", found, EPOCH) == text
    bill = json.loads(text)
    assert bill["metadata"]["timestamp"] == "2023-11-14T22:13:21+00:00"
    assert {one["name"] for one in bill["components"]} == {"One_", "libmnl0", "pycares", "c-ares"}
    needed = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    assert needed["thing.deb@1.0"] == ["pkg:pypi/one-@1.0", "pkg:pypi/pycares@2.0"]
    assert needed["pkg:pypi/one-@1.0"] == ["pkg:deb/debian/libmnl0@1.0.4-3"]
    assert needed["pkg:pypi/pycares@2.0"] == ["pkg:generic/c-ares@1.34.9"]
    other = json.loads(sbom.document("thing.deb", "1.1", found, EPOCH))
    assert other["serialNumber"] != bill["serialNumber"]


def test_a_library_without_its_licence_on_this_system(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = parts.of(bundle)[1]
    place = bundle / "doc"
    (place / "libmnl0").mkdir(parents=True)
    (place / "GPL-9").write_text("all of it\n", encoding="ascii")
    monkeypatch.setattr(parts, "DOCUMENTED", place)
    monkeypatch.setattr(parts, "COMMON", place)
    with pytest.raises(ValueError, match="the licence of libmnl0 cannot be put beside it"):
        parts.system_texts(library)
    (place / "libmnl0" / "copyright").write_text('in "/usr/share/common-licenses/GPL-9".\n', encoding="ascii")
    assert parts.system_texts(library) == {
        "libmnl0/copyright": b'in "/usr/share/common-licenses/GPL-9".\n', "common/GPL-9": b"all of it\n"}
