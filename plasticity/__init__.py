"""Learning rules, memories and the mathematics of sparse distributed representations."""
