"""Tells kinds of failure from the exception that a training raised."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from pipelines.records import Failure

_FULL_DISK = re.compile(r"no space left on device|disk is full", re.IGNORECASE)
_NO_MEMORY = re.compile(
    r"CUDA_ERROR_OUT_OF_MEMORY|CU(DNN|BLAS|SOLVER)_STATUS_(ALLOC_FAILED|NOT_ALLOCATED)|\bOOM when allocating"
    r"|out of memory|failed to allocate (memory|request|\d)|unable to allocate",
    re.IGNORECASE,
)
_BROKEN_DEVICE = re.compile(
    r"CUDA_ERROR_(ILLEGAL_ADDRESS|ILLEGAL_INSTRUCTION|MISALIGNED_ADDRESS|LAUNCH_FAILED|LAUNCH_TIMEOUT|ECC_UNCORRECTABLE"
    r"|NVLINK_UNCORRECTABLE|HARDWARE_STACK_ERROR|DEVICE_UNAVAILABLE|DEVICES_UNAVAILABLE|CONTEXT_IS_DESTROYED|CONTAINED"
    r"|SYSTEM_NOT_READY|NO_DEVICE|UNKNOWN)|illegal memory access was encountered|unspecified launch failure"
    r"|uncorrectable (ECC|NVLink) error|GPU is lost|fallen off the bus",
    re.IGNORECASE,
)


def broke_the_device(error: BaseException) -> bool:
    """Whether this process can do nothing more on its GPU: after such an error CUDA refuses everything that follows."""
    return any(_of_a_device(one) and bool(_BROKEN_DEVICE.search(str(one))) for one in _chain(error))


def failure_of(error: BaseException) -> Failure:
    """The kind of an exception, told by it or by what it came of."""
    if broke_the_device(error):
        return Failure.LOST  # the trial is tried again elsewhere, as it is when a worker dies of the same
    chain = list(_chain(error))
    # first, as TensorFlow calls a full disk an exhausted resource, too
    if any(_lacked_room(one) for one in chain):
        return Failure.DISK
    if any(_lacked_memory(one) for one in chain):
        return Failure.MEMORY
    return Failure.ERROR


def _lacked_room(error: BaseException) -> bool:
    return (isinstance(error, OSError) and error.errno == errno.ENOSPC) or bool(_FULL_DISK.search(str(error)))


def _lacked_memory(error: BaseException) -> bool:
    # by name, so that this needs no TensorFlow: its ResourceExhaustedError is no MemoryError
    named = any(kind.__name__ == "ResourceExhaustedError" for kind in type(error).__mro__)
    told = _of_a_device(error) and bool(_NO_MEMORY.search(str(error)))
    return isinstance(error, MemoryError) or named or told


def _of_a_device(error: BaseException) -> bool:
    return any(kind.__name__ == "OpError" for kind in type(error).__mro__) or isinstance(error, RuntimeError)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
