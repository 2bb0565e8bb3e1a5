"""From YAML to a sweep that makes sense: the configs, what varies in them, and every check before anything trains."""
