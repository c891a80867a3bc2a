"""Numbers that the daemon keeps: what there is and what it means. Who counts is elsewhere."""
