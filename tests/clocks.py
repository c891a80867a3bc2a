"""The lab's clocks, under the name by which tests know them."""
from lab.clocks import Clocks, shim

__all__ = ["Clocks", "shim"]
