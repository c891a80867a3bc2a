"""The life of the process: process 1, background, signals, pid file, privileges, streams, memory, processes beside it."""
