"""mxallowd: nolisting for mail gateways. See README.md for the map of the packet's way."""

__version__ = "2.0.0"
