"""What a sweep looks like in a terminal: before it, while it runs, and when it is over."""
