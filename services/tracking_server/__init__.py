"""The tracking server: MLflow's own, with a shorter way to what a sweep asks of it."""
