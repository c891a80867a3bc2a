"""Overview: is all well, what happens now, and what happened; the page that stays open on a second screen."""
from mxallowd.console.asking import Daemon
from mxallowd.console.figures import rate
from mxallowd.console.history import SPANS
from mxallowd.console.plots import PLOTS
from mxallowd.console.visit import Page, Visit
from mxallowd.console.watching import Watching, span_of


async def show(visit: Visit, daemon: Daemon) -> Page:
    """The page. It shows what is known: by the pulse, and what is broken; so it is there when the daemon is not."""
    if not isinstance(daemon, Watching):
        raise TypeError("the overview needs what is watched")
    span = span_of(visit)
    told = await daemon.told(span)
    await daemon.examined()
    tables = [(plot, [(one.label, rate(one.last), rate(one.mean), rate(one.most)) for one in told.summaries[plot.key]])
              for plot in PLOTS]
    return Page("overview.html", {
        "state": daemon.state, "figures": daemon.pulse.figures, "span": span, "spans": SPANS,
        # What nothing feeds here, or not yet, such as a queue that only root can read, is hidden.
        "tables": tables})
