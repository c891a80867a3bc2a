"""mxallowd: nolisting for mail gateways. CONTRIBUTING.md has the map of the modules."""

__version__ = "2.0.0"
