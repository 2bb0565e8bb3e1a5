"""Many trials trained at once in one compiled program, to the same results as by `fit`."""
