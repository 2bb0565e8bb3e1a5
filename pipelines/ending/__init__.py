"""The end of a sweep: the record delivered, the best promoted, the parent run closed, the whole of it summed up."""
