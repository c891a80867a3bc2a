"""History: what hosts met, kept for a while and bounded, for the questions of an operator."""
