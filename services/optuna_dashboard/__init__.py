"""Optuna's own page, on the database that `REGATTA_STORAGE` names; an image of its own (`Dockerfile`)."""
