"""mxallowctl: the operator's command. It asks the daemon by its control socket (control/) and prints the answer.

    command     what a subcommand is
    commands/   the subcommands, one module for each subject

It imports nothing of the daemon, and each subcommand only when it is chosen: a whole command takes under 60 ms.
"""
