"""A certificate authority of the lab: what it signs is good for two days, and nobody else trusts it (by openssl)."""
import subprocess
from dataclasses import dataclass
from pathlib import Path

_DAYS = "2"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, both PEM, of mode 0600."""

    certificate: Path
    key: Path


class Authority:
    """Its files are in `directory`, which it makes."""

    def __init__(self, directory: Path, name: str = "lab") -> None:
        self._directory = directory
        directory.mkdir(parents=True)
        self.own = self._make(name, "-addext", "basicConstraints=critical,CA:TRUE")

    def sign(self, name: str, *alternatives: str) -> Certificate:
        """One for `name`; `alternatives` are other names of it, such as "IP:198.51.100.1" or "DNS:engine.example"."""
        names = ["-addext", f"subjectAltName={','.join(alternatives)}"] if alternatives else []
        return self._make(name, "-CA", str(self.own.certificate), "-CAkey", str(self.own.key),
                          "-addext", "basicConstraints=critical,CA:FALSE", *names)

    def _make(self, name: str, *more: str) -> Certificate:
        made = Certificate(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        done = subprocess.run(
            ["openssl", "req", "-x509", *_KEY, "-days", _DAYS, "-subj", f"/CN={name}", "-keyout", str(made.key),
             "-out", str(made.certificate), *more], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"openssl: {done.stderr.strip()}")
        for path in (made.certificate, made.key):
            path.chmod(0o600)
        return made
