"""What the tests of lanes share."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.pipelines.training.lanes.parity")
