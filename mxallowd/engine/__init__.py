"""The parts of the decision: addresses, headers, hash, the table with its shards, the ring of events, the clock."""
