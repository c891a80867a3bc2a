"""The subcommands of mxallowctl, one module for each subject."""
