"""mxallowd: nolisting for mail gateways. README.md has the map of the modules."""

__version__ = "2.0.0"
