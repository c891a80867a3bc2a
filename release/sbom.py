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

from release.licences import licence
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
        named[part.name] = _component(part)
        bom.components.add(named[part.name])
    for part in parts:
        if part.within:
            bom.register_dependency(named[part.within], [named[part.name]])
    bom.register_dependency(whole, [named[part.name] for part in parts if not part.within])
    told = [f"{part.name} {part.purl} {licence(part)} {part.within}" for part in parts]
    content = "\n".join([subject, version, *told])
    bom.serial_number = uuid.UUID(bytes=hashlib.sha256(content.encode()).digest()[:16], version=5)
    text: str = JsonV1Dot6(bom).output_as_string(indent=2) + "\n"
    if fault := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise InvalidError(str(fault))
    return text


def _component(part: Part) -> Component:
    terms = licence(part)
    return Component(
        name=part.name, version=part.version or None, type=ComponentType.LIBRARY, bom_ref=part.purl or part.name,
        purl=PackageURL.from_string(part.purl) if part.purl else None,
        licenses=[LicenseFactory().make_from_string(terms)] if terms else ())
