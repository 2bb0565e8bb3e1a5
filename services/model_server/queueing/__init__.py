"""Who waits, for how long, and what is computed together."""
