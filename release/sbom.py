"""The bill of materials of what is bundled, in the form of CycloneDX 1.6 (JSON).

It is made from the parts alone, so it is equal each time: its serial number follows from its content, and its time is
that of the release.
"""
import hashlib
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from release.licences import LINKED, licence
from release.parts import Part


class InvalidError(Exception):
    """What was made is no valid document of CycloneDX: a mistake in this module."""


def document(subject: str, version: str, parts: Sequence[Part], epoch: int) -> str:
    """The bill of one artefact by its name (a file's, say) and version. `epoch`: seconds since 1970.

    Raises InvalidError where it does not agree with the schema.
    """
    whole = Component(name=subject, version=version, type=ComponentType.APPLICATION, bom_ref=f"{subject}@{version}")
    bom = Bom(metadata=BomMetaData(component=whole, timestamp=datetime.fromtimestamp(epoch, UTC)))
    named: dict[str, Component] = {}
    for part in parts:
        component = _component(part.name, part.version, part.purl, licence(part))
        bom.components.add(component)
        named[part.name] = component
    for part in parts:
        if part.name in LINKED:
            name, terms = LINKED[part.name]
            within = _component(name, None, "", terms)
            bom.components.add(within)
            bom.register_dependency(named[part.name], [within])
        if part.within:
            bom.register_dependency(named[part.within], [named[part.name]])
    bom.register_dependency(whole, [named[part.name] for part in parts if not part.within])
    content = "\n".join([subject, version, *(f"{part.purl} {licence(part)} {part.within}" for part in parts)])
    bom.serial_number = uuid.UUID(bytes=hashlib.sha256(content.encode()).digest()[:16], version=5)
    text: str = JsonV1Dot6(bom).output_as_string(indent=2) + "\n"
    if fault := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise InvalidError(str(fault))
    return text


def _component(name: str, version: str | None, purl: str, terms: str) -> Component:
    return Component(
        name=name, version=version, type=ComponentType.LIBRARY, bom_ref=purl or name,
        purl=PackageURL.from_string(purl) if purl else None,
        licenses=[LicenseFactory().make_from_string(terms)] if terms else ())
