"""The lines of the log that a start begins with: what serves, where, and for which servers."""
from collections.abc import Sequence

from mxallowd import __version__
from mxallowd.daemon import dryrun
from mxallowd.log import Log
from mxallowd.mirrors.mirror import Mirror
from mxallowd.settings import Settings


def greet(log: Log, settings: Settings, mirrors: Sequence[Mirror]) -> None:
    """Write them."""
    queues = settings.queue_num
    where = {"queue_num": f"{queues[0]}:{queues[-1]}" if len(queues) > 1 else queues[0]} if queues else {}
    capture = {"pflog_interface": settings.pflog_interface} if settings.pflog_interface else {}
    log.info("start", None, version=__version__, **where, **capture, whitelist_time=settings.whitelist_time)
    if settings.dry_run:
        log.warning("dry-run", reason=dryrun.reason(settings, mirrors))
    for server in settings.fake_mailserver:
        log.info("fake-mailserver", str(server))  # noqa: PLE1205  # no logger of logging
    for server in settings.real_mailserver:
        log.info("real-mailserver", str(server))  # noqa: PLE1205
