"""Arrays are read whatever other threads read meanwhile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.model_server.npz import read_arrays


def test_all_arrays_come_by_their_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", one=np.arange(3), texts=np.array(["a", "bc"]))
    found = read_arrays(tmp_path / "two.npz")
    assert {name: array.tolist() for name, array in found.items()} == {"one": [0, 1, 2], "texts": ["a", "bc"]}


@pytest.mark.parametrize(("failures", "read"), [(0, True), (3, True), (1000, False)])
def test_a_reading_that_another_thread_spoiled_is_made_again_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, read: bool
) -> None:
    np.savez(tmp_path / "one.npz", one=np.arange(3))
    load, asked = np.load, []

    def spoiled(*args: object, **kwargs: object) -> object:
        asked.append(1)
        if len(asked) <= failures:
            raise SystemError("AST constructor recursion depth mismatch (before=42, after=41)")
        return load(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(np, "load", spoiled)
    if read:
        assert read_arrays(tmp_path / "one.npz")["one"].tolist() == [0, 1, 2]
        assert len(asked) == failures + 1
    else:
        with pytest.raises(SystemError, match="recursion depth"):
            read_arrays(tmp_path / "one.npz")
        assert len(asked) < 100
