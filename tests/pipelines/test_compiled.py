from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines import compiled


@pytest.fixture(autouse=True)
def flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_auto_jit=1 --tf_xla_persistent_cache_directory=/elsewhere")


def test_tensorflow_is_told_where_programs_are_kept_and_other_flags_stay(tmp_path: Path) -> None:
    place = compiled.keep_in(tmp_path)
    assert place.parent == tmp_path
    assert os.environ["TF_XLA_FLAGS"].split() == ["--tf_xla_auto_jit=1", f"{compiled.FLAG}={place}"]
    assert compiled.kept_in() == place
    assert compiled.keep_in(tmp_path) == place  # the same machine, the same folder


def test_nothing_is_kept_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_auto_jit=1")
    assert compiled.kept_in() is None
    assert not compiled.forget()


def test_what_may_be_spoilt_is_removed(tmp_path: Path) -> None:
    place = compiled.keep_in(tmp_path)
    assert not compiled.forget()
    (place / "program.pb").write_bytes(b"torn")
    assert compiled.forget()
    assert not list(place.iterdir())


def test_the_oldest_of_many_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_MOST_BYTES", 250)
    place = compiled.keep_in(tmp_path)
    for age, name in enumerate(("new", "middle", "old")):
        (place / f"{name}.pb").write_bytes(b"x" * 100)
        os.utime(place / f"{name}.pb", (1000 - age, 1000 - age))
    compiled.keep_in(tmp_path)
    assert sorted(path.stem for path in place.iterdir()) == ["middle", "new"]
