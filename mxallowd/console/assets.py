"""The files that a browser gets as they are: style, script, plots, icon. All are read at the start."""
import hashlib
from functools import cache
from importlib import resources

from mxallowd import __version__
from mxallowd.control.exchange import Response

KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


class Assets:
    """All files of the package's folder `files` whose kind a browser takes."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, str]] = {}
        self.total = 0  # bytes
        for one in (resources.files("mxallowd.console") / "files").iterdir():
            kind = KINDS.get(one.name[one.name.rfind(".") :])
            if kind is not None:
                data = one.read_bytes()
                self._files[one.name] = data, kind
                self.total += len(data)
        self._tags = {name: f'"{hashlib.sha256(data).hexdigest()[:32]}"' for name, (data, _) in self._files.items()}

    def get(self, name: str, known: str = "") -> Response | None:
        """The file as an answer; None: there is none of this name. `known` is the field If-None-Match."""
        found = self._files.get(name)
        if found is None:
            return None
        tag = self._tags[name]
        fields = (("ETag", tag), ("Cache-Control", "no-cache"))
        if tag in known:
            return Response(b"", 304, found[1], fields=fields)
        return Response(found[0], 200, found[1], fields=fields)


@cache
def build() -> str:
    """What tells this console from another one, by its version and all that pages are made of; read once."""
    found = hashlib.sha256(__version__.encode())
    for folder in ("files", "templates"):
        for one in sorted((resources.files("mxallowd.console") / folder).iterdir(), key=lambda one: one.name):
            found.update(one.name.encode() + b"\0" + one.read_bytes())
    return found.hexdigest()[:16]
