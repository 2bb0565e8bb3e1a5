from __future__ import annotations

import errno
from typing import Any

import numpy as np
import pytest

from pipelines.records import Failure
from pipelines.training.failing import broke_the_device, failure_of


def caused(error: BaseException, by: BaseException) -> BaseException:
    try:
        raise error from by
    except type(error) as found:
        return found


def too_large() -> BaseException:
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 58)
    return caught.value


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("a mistake"), Failure.ERROR),
        (ValueError("the table is out of memory of the past"), Failure.ERROR),
        (OSError(errno.ENOENT, "no such file"), Failure.ERROR),
        (MemoryError(), Failure.MEMORY),
        (too_large(), Failure.MEMORY),
        (caused(ValueError("in a layer"), MemoryError()), Failure.MEMORY),
        (RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"), Failure.MEMORY),
        (RuntimeError("Could not create cudnn handle: CUDNN_STATUS_ALLOC_FAILED"), Failure.MEMORY),
        (OSError(errno.ENOSPC, "No space left on device"), Failure.DISK),
        (caused(ValueError("while saving"), OSError(errno.ENOSPC, "full")), Failure.DISK),
        (RuntimeError("Can't write data (errno = 28, error message = 'No space left on device')"), Failure.DISK),
    ],
    ids=repr,
)
def test_a_failure_is_told_by_its_exception_or_what_that_came_of(error: BaseException, kind: Failure) -> None:
    assert failure_of(error) is kind


def test_so_are_those_of_tensorflow(keras: Any) -> None:
    from tensorflow import errors

    out = errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9,9]")
    full = errors.ResourceExhaustedError(None, None, "/data/x; No space left on device")
    inner = errors.InternalError(None, None, "Failed to allocate request for 4.00GiB on device ordinal 0")
    other = errors.InternalError(None, None, "the graph is wrong")
    assert [failure_of(one) for one in (out, full, inner, other)] == [
        Failure.MEMORY, Failure.DISK, Failure.MEMORY, Failure.ERROR,
    ]  # fmt: skip


def test_a_chain_that_leads_back_to_its_beginning_ends() -> None:
    one, other = ValueError("one"), RuntimeError("out of memory")
    one.__context__, other.__context__ = other, one
    assert failure_of(one) is Failure.MEMORY


@pytest.mark.parametrize(
    "text",
    [
        "Failed to memcpy: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered",
        "INTERNAL: CUDA error: unspecified launch failure",
        "CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error encountered",
        "CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected",
        "GPU is lost",
    ],
)
def test_an_error_after_which_a_gpu_computes_nothing_more_is_no_fault_of_the_trial(text: str) -> None:
    assert broke_the_device(RuntimeError(text))
    assert failure_of(RuntimeError(text)) is Failure.LOST
    above = ValueError("the epoch could not be ended")
    above.__cause__ = RuntimeError(text)
    assert failure_of(above) is Failure.LOST


@pytest.mark.parametrize("error", [ValueError("GPU is lost"), RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory")])
def test_other_errors_leave_the_device_as_it_is(error: Exception) -> None:
    assert not broke_the_device(error)
    assert failure_of(error) is not Failure.LOST
