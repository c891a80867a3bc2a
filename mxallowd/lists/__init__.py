"""Lists: networks that are allowed or denied at the real server, whatever the whitelist says.

    composition   the networks of all sources laid over each other, and which of them holds
    files         list files: read, told apart from what is half written, parsed
    broker        the process that opens, for the sandbox, files that are new in the configuration
    own           the networks that were added by hand, and their file in the state directory
    lists         what is in force: reload, by hand, the end of a network's time

The rule is said once: the longest network over both lists holds, and deny where both are equally long. What no list
knows goes on to the whitelist.
"""
