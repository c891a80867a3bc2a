"""Captured packets: files, filters, and how they pass the decision."""
