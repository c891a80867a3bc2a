"""Copies of the whitelist elsewhere, kept the same as it."""
