"""What can go wrong for a reason that the user can understand: it ends in one line, without a traceback."""


class MxallowdError(Exception):
    """The root of this package's exceptions; its text is the line that the user reads."""


class ConfigError(MxallowdError):
    """The command line or the configuration file cannot be used."""


class StartError(MxallowdError):
    """The system does not let the daemon start: a queue that is taken, a privilege or a file that is missing."""
