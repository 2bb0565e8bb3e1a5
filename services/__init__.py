"""Long-running processes of Regatta; one folder is one container. Nothing here imports `pipelines`."""
