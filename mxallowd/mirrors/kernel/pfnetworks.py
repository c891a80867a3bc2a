"""The lists where pf decides: mxallowd fills no table of pf with them, and says so."""
from collections.abc import Sequence

from mxallowd.mirrors.networks import PLACES, Place, Range


class PfNetworks:
    """No sets."""

    name = "pf"
    places: Sequence[Place] = PLACES

    def open(self) -> None:
        """Nothing to be opened."""

    def close(self) -> None:
        """Nothing was opened."""

    def present(self) -> set[Place]:
        """None of them."""
        return set()

    def fill(self, place: Place, ranges: Sequence[Range]) -> None:
        """Is never called: there are none."""

    def lacks(self, place: Place, ranges: Sequence[Range], total: int) -> bool:
        """Nothing lacks where nothing is kept."""
        return False

    def remedy(self, place: Place) -> str:
        """What the operator is told."""
        action = "pass" if place.verdict == "allow" else "block"
        return f"mxallowd fills no table of pf with them: name these networks in a rule of pf.conf ({action} in quick)"
