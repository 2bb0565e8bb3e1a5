from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.datasets.idx import read_idx
from pipelines.errors import DataError

THREE = bytes([0, 0, 8, 1]) + struct.pack(">I", 3) + b"abc"


@pytest.mark.parametrize("shape", [(0,), (5,), (3, 4), (2, 3, 4), (0, 28, 28), (1, 1, 1, 1)])
@pytest.mark.parametrize("packed", [True, False], ids=["gzipped", "plain"])
def test_what_was_written_is_read(tmp_path: Path, shape: tuple[int, ...], packed: bool) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    content = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()
    path = tmp_path / "values"
    path.write_bytes(gzip.compress(content) if packed else content)
    found = read_idx(path)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array, strict=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not an IDX file of bytes: it begins with nothing"),
        (b"\x00\x00\x08", "is not an IDX file"),
        (b"PK\x03\x04rest", "begins with 504b0304"),
        (bytes([0, 0, 0x0D, 1]) + struct.pack(">I", 1) + b"\0\0\0\0", "begins with 00000d01"),  # floats
        (bytes([0, 0, 8, 3]) + b"\0\0\0\5", "ends inside its header, after 8 bytes"),
        (THREE[:-1], "holds 10 bytes, its header promises 11"),
        (THREE + b"d", "holds 12 bytes, its header promises 11"),
        (gzip.compress(THREE[:-1]), "holds 10 bytes, its header promises 11"),
        (gzip.compress(THREE)[:-4], "cannot be read"),
        (gzip.compress(THREE)[:12], "cannot be read"),
        (b"\x1f\x8b" + b"rubbish" * 9, "cannot be read"),
        (gzip.compress(THREE)[:14] + b"\xff\xff" + gzip.compress(THREE)[16:], "cannot be read"),
    ],
)
def test_a_file_that_is_cut_short_damaged_or_no_idx_is_named_with_what_it_holds(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing-here"):
        read_idx(tmp_path / "nothing-here")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40), st.integers(0, 11))
def test_any_damage_is_a_data_error_and_nothing_else(tmp_path: Path, noise: bytes, at: int) -> None:
    path = tmp_path / "noise"
    for content in (noise, THREE[:at] + noise, gzip.compress(THREE)[: at * 2] + noise):
        path.write_bytes(content)
        try:
            found = read_idx(path)
        except DataError:
            continue
        assert found.size + 4 * (1 + found.ndim) == len(content) or content[:2] == b"\x1f\x8b"
