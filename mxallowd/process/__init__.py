"""The life of the process: background, pid file, privileges, streams, memory, processes beside it."""
