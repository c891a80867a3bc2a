"""What is bundled: the Python distributions in a wheel or a directory of packages, and the libraries in their wheels.

A distribution tells of itself in its dist-info (METADATA, licenses/). What libraries a wheel has within, auditwheel
tells in sboms/ of its dist-info, with the package of the system that each came from.
"""
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.parser import HeaderParser
from pathlib import Path
from urllib.parse import unquote

TEXTS = re.compile(r"(?i)^(licen[cs]e|copying|notice|authors)")
LICENCE_CLASSIFIER = "License :: OSI Approved :: "
PURL = re.compile(r"pkg:(deb|rpm|apk)/(?:[^/]+/)?([^@]+)@([^?#]+)")
# What wheels from elsewhere have linked into a module, which no tool tells of; a module that loads it names this file.
LINKED = {"pycares": ("c-ares", "MIT", b"libcares.so"), "hiredis": ("libhiredis", "BSD-3-Clause", b"libhiredis.so")}
# The version that such a library has compiled in. That of c-ares may follow the last byte of another constant.
VERSIONS = {"c-ares": re.compile(rb"(?<![0-9.])(1\.[0-9]{1,3}\.[0-9]{1,3})\0")}  # libhiredis has none
# What this project carries that is no distribution of Python: the file, whose head has its version.
UPLOT = ("uPlot", "uplot.js", re.compile(rb"uPlot \(v([0-9.]+)\)"), "uplot.LICENSE")
# Licences that metadata name wrongly, or not exactly: name, what they say; what it is, a text of the distribution's.
CORRECTED = {
    ("async-timeout", "Apache 2"): ("Apache-2.0", b"Apache License, Version 2.0"),
    # Its LICENSE is that of Pcapy; the metadata of 2.1.0 say 2.0.
    ("pcapy-ng", "Apache-2.0"): ("Apache-1.1", b"The Apache Software License, Version 1.1"),
    # Its licence has no version there; the text is LICENSE.ASF-2.
    ("python-daemon", "Apache Software License"): ("Apache-2.0", b"Version 2.0, January 2004"),
}
DOCUMENTED = Path("/usr/share/doc")
COMMON = Path("/usr/share/common-licenses")
NAMED_COMMON = re.compile(rf"{COMMON}/([A-Za-z0-9.-]*[A-Za-z0-9])")

Place = Path | zipfile.Path


@dataclass(frozen=True)
class Part:
    """One thing that is bundled. `texts`: its licences, by their file names."""

    name: str
    version: str
    kind: str  # pypi, deb, rpm, apk, npm, linked
    purl: str
    licence: str = ""
    within: str = ""  # the distribution that carries it
    texts: dict[str, bytes] = field(default_factory=dict, compare=False)


def of(path: Path) -> list[Part]:
    """The parts of a wheel, or of all distributions in a directory, in the order of their names.

    Raises ValueError where there is none.
    """
    place: Place = zipfile.Path(path) if path.is_file() else path
    infos = [one for one in place.iterdir() if one.name.endswith(".dist-info")]
    found = [part for info in infos for part in _distribution(place, info)]
    if not found:
        raise ValueError(f"{path} holds no distribution of Python")
    return sorted(found, key=lambda part: (part.within or part.name, part.within != "", part.name))


def _distribution(place: Place, info: Place) -> Iterator[Part]:
    metadata = HeaderParser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
    name, version = metadata["Name"], metadata["Version"]
    named = [value.removeprefix(LICENCE_CLASSIFIER) for value in metadata.get_all("Classifier", ())
             if value.startswith(LICENCE_CLASSIFIER)]
    # Some have the whole text where its name belongs.
    licence = metadata["License-Expression"] or (metadata["License"] or "").strip()
    if not licence or "\n" in licence or len(licence) > 80:
        licence = " AND ".join(named)
    texts = {str(path.name): path.read_bytes() for path in info.iterdir() if path.is_file() and TEXTS.match(path.name)}
    if (info / "licenses").is_dir():
        texts |= dict(_below(info / "licenses", ""))
    if (info / "license_files").is_dir():
        texts |= dict(_below(info / "license_files", ""))
    plain = re.sub(r"[-_.]+", "-", name).lower()
    corrected, beginning = CORRECTED.get((plain, licence), (licence, b""))
    if any(beginning in content for content in texts.values()):
        licence = corrected
    yield Part(name, version, "pypi", f"pkg:pypi/{plain}@{version}", licence, texts=texts)
    if name in LINKED:
        library, terms, loaded = LINKED[name]
        modules = [path.read_bytes() for path in (place / name).iterdir() if path.name.endswith(".so")]
        if not any(loaded in module for module in modules):
            told = {one.decode() for module in modules for one in VERSIONS[library].findall(module)
                    } if library in VERSIONS else set()
            of_library = told.pop() if len(told) == 1 else ""
            purl = f"pkg:generic/{library}@{of_library}" if of_library else f"pkg:generic/{library}"
            yield Part(library, of_library, "linked", purl, terms, within=name)
    if plain == "mxallowd":
        yield from _plots(place, name)
    if (info / "sboms").is_dir():
        for sbom in (info / "sboms").iterdir():
            yield from _libraries(json.loads(sbom.read_bytes()), name)


def _plots(place: Place, within: str) -> Iterator[Part]:
    name, script, version, text = UPLOT
    files = place / "mxallowd" / "console" / "files"
    if (files / script).is_file():
        found = version.search((files / script).read_bytes()[:200])
        if not found:
            raise ValueError(f"{script} does not say its version")
        number = found[1].decode()
        yield Part(name, number, "npm", f"pkg:npm/{name.lower()}@{number}", "MIT", within,
                   {text: (files / text).read_bytes()})


def _below(place: Place, prefix: str) -> Iterator[tuple[str, bytes]]:
    for path in place.iterdir():
        if path.is_dir():
            yield from _below(path, f"{prefix}{path.name}/")
        else:
            yield f"{prefix}{path.name}", path.read_bytes()


def _libraries(sbom: dict[str, object], within: str) -> Iterator[Part]:
    components = sbom.get("components", ())
    assert isinstance(components, list | tuple)
    for component in components:
        purl = str(component.get("purl", "")).partition("#")[0]
        if found := PURL.match(purl):
            kind, name, version = found[1], unquote(found[2]), unquote(found[3])
            yield Part(name, version, kind, purl, within=within)


def system_texts(part: Part) -> dict[str, bytes]:
    """The licences of a library of this Debian system: its copyright file, and the common ones that this names.

    Raises ValueError where the system has none.
    """
    path = DOCUMENTED / part.name / "copyright"
    if not path.exists():
        raise ValueError(f"{path} is missing: the licence of {part.name} cannot be put beside it")
    copyright_ = path.read_bytes()
    texts = {f"{part.name}/copyright": copyright_}
    for name in NAMED_COMMON.findall(copyright_.decode("utf-8", "replace")):
        texts[f"common/{name}"] = (COMMON / name).read_bytes()
    return texts
