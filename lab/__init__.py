"""Hosts of our own in network namespaces: for the tests, the demo and the benchmarks. Not part of what is installed."""
