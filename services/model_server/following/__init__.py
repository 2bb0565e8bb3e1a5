"""From an alias in the registry to a verified model on this disk that could answer."""
