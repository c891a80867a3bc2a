"""Measurements that a stranger can repeat; benchmarks/README.md says how to read them."""
