"""Keeps studies, records, artifacts and models in one dated file, and brings them back: `python -m services.backup`.

It copies while everything runs, in an order that leaves nothing out (`copying.py`).
"""
