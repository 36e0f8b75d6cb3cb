"""Libraries of CUDA kernels built for the host (tests/cuda/CMakeLists.txt), called through plain C functions."""

from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def built_folder(variable: str = "GENIMG_FAST_CUDA_ON_CPU") -> Path:
    """Return the folder of the library that an environment variable names; skip the test, or fail it if
    GENIMG_FAST_REQUIRE_DEVICES asks for it, where there is none."""
    path = os.environ.get(variable)
    if path:
        return Path(path).resolve().parent
    required = os.environ.get("GENIMG_FAST_REQUIRE_DEVICES", "").split(",")
    (pytest.fail if "cuda-on-cpu" in required else pytest.skip)(f"{variable} does not name a library of the harness")
    raise AssertionError("unreachable")


class KernelLibrary:
    """A library with the harness in it: its launchers, memory that its kernels may use, and its errors."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.cuda_on_cpu_allocate.restype = ctypes.c_void_p
        self._library.cuda_on_cpu_allocate.argtypes = [ctypes.c_size_t]
        self._library.cuda_on_cpu_free.argtypes = [ctypes.c_void_p]
        self._library.cuda_on_cpu_launch_count.restype = ctypes.c_int64
        self._library.cuda_on_cpu_error_count.restype = ctypes.c_int64
        self._library.cuda_on_cpu_last_error.restype = ctypes.c_char_p
        self._pointers: list[int] = []

    def empty(self, shape: Any, dtype: Any) -> np.ndarray:
        """Return an array in device memory: aligned to 256 bytes, every byte 0xFF (floats are NaN)."""
        dtype = np.dtype(dtype)
        count = int(np.prod(shape))
        pointer = self._library.cuda_on_cpu_allocate(max(count * dtype.itemsize, 1))
        self._pointers.append(pointer)
        buffer = (ctypes.c_byte * (count * dtype.itemsize)).from_address(pointer)
        return np.frombuffer(buffer, dtype).reshape(shape)

    def array(self, values: Any, dtype: Any = None) -> np.ndarray:
        """Return a copy of values in device memory."""
        values = np.asarray(values, dtype)
        copy = self.empty(values.shape, values.dtype)
        copy[...] = values
        return copy

    def free(self) -> None:
        for pointer in self._pointers:
            self._library.cuda_on_cpu_free(pointer)
        self._pointers.clear()

    def call(self, name: str, *arguments: Any) -> int:
        """Call a launcher; arrays are passed as pointers. Returns its cudaError_t."""
        return int(getattr(self._library, name)(*map(_as_c, arguments)))

    def size(self, name: str, *arguments: Any) -> int:
        """Call a function that returns a number of bytes."""
        function = getattr(self._library, name)
        function.restype = ctypes.c_size_t
        return int(function(*map(_as_c, arguments)))

    def check(self, name: str, *arguments: Any) -> None:
        """Call a launcher that must succeed."""
        error = self.call(name, *arguments)
        assert error == 0, f"{name}: error {error}: {self.last_error()}"

    def fails(self, name: str, *arguments: Any) -> str:
        """Call a launcher that must fail; return why it did."""
        before = self._library.cuda_on_cpu_error_count()
        error = self.call(name, *arguments)
        assert error != 0, f"{name}: nothing was noticed"
        assert self._library.cuda_on_cpu_error_count() > before
        return self.last_error()

    def last_error(self) -> str:
        return self._library.cuda_on_cpu_last_error().decode()

    def launch_count(self) -> int:
        return int(self._library.cuda_on_cpu_launch_count())

    def reverse_order(self, reverse: bool) -> None:
        """Run blocks, warps and lanes in descending order from now on."""
        self._library.cuda_on_cpu_set_reverse_order(int(reverse))

    def set_compute_capability(self, major: int) -> None:
        """Tell launchers that the device is of another generation from now on."""
        self._library.cuda_on_cpu_set_compute_capability(major)


class TracedLibrary(KernelLibrary):
    """A library built with GENIMG_CUDA_ON_CPU_TRACE: it counts what its kernels' memory accesses cost on a GPU."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._library.cuda_on_cpu_trace_report.restype = ctypes.c_char_p

    def reset(self) -> None:
        """Forget what was counted."""
        self._library.cuda_on_cpu_trace_reset()

    def report(self) -> dict[str, dict[str, Any]]:
        """Return what was counted since reset, by kernel; on_cpu/trace.cpp says what the numbers are."""
        kernels = json.loads(self._library.cuda_on_cpu_trace_report())["kernels"]
        return {kernel["name"]: kernel for kernel in kernels}


def _as_c(argument: Any) -> Any:
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    if isinstance(argument, bool):
        return ctypes.c_bool(argument)
    if isinstance(argument, int):
        return ctypes.c_int64(argument)
    return argument
