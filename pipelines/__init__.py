"""Regatta's pipelines: from a search space to a registered champion."""
