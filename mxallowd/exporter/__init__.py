"""The process that gives metrics by HTTP at `--metrics ADDRESS:PORT`, and the daemon's end of it.

The daemon binds the port while it may, and starts the process (child.py), which gives up every right, and gets the port
and two pipes (process.py). It can ask for three things and for nothing else (pipes.py). So whoever breaks it, by the
network, has a process without files, sockets or capabilities.
"""
