"""The licences of all that is bundled, as one text: for a package that carries it, and for who asks.

Each distribution of Python brings its texts in its dist-info, the wheel of NetfilterQueue made here those of its
libraries, too. For what is compiled into a wheel of others without a word in it, BROUGHT says what it is.
"""
import hashlib
from collections.abc import Iterable

from release.parts import Part

# Libraries that wheels from elsewhere have within, and their licences by the names of SPDX. Their wheels have no text.
BROUGHT = {
    "libibverbs": "GPL-2.0-only OR Linux-OpenIB",
    "libmnl0": "LGPL-2.1-or-later",
    "libnetfilter-queue1": "GPL-2.0-or-later",
    "libnfnetlink0": "GPL-2.0-or-later",
    "libnl3": "LGPL-2.1-only",
    "libpcap": "BSD-3-Clause",
}


def licence(part: Part) -> str:
    """The name of its licence; empty where nobody says it."""
    return part.licence or BROUGHT.get(part.name, "")


def text(parts: Iterable[Part]) -> str:
    """All of them: a list, then each text once, under the names of those that have it."""
    parts = list(parts)
    lines = ["What is bundled here, and its licences. The texts follow.\n"]
    owners: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    for part in parts:
        within = f", within {part.within}" if part.within else ""
        lines.append(f"{' '.join((part.name, part.version)).rstrip()} ({part.kind}{within}): "
                     f"{licence(part) or 'see its text'}")
        for name, content in sorted(part.texts.items()):
            key = hashlib.sha256(content).hexdigest()
            texts[key] = content.decode("utf-8", "replace").strip("\n")
            owners.setdefault(key, []).append(f"{part.name}: {name}")
    for key, names in owners.items():
        lines += ["", "=" * 79, *names, "=" * 79, "", texts[key]]
    return "\n".join(lines) + "\n"
