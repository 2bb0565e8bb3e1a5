"""What crosses from training to serving: the model in a form to be served, and what its training data was like."""
