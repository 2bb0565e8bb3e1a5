"""What the controller of a sweep keeps account of: what is asked, where it is, what it may cost, what stays of it."""
