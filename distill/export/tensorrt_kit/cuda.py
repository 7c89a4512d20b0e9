"""Calls of the NVIDIA driver that an engine needs, through libcuda only."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np


class KitError(Exception):
    """Error message with the remedy, in one sentence."""


class Cuda:
    """Device memory, copies and one stream, in the primary context, which torch uses too."""

    def __init__(self) -> None:
        """Open device 0.

        Raises:
            KitError: No driver, or no GPU.
        """
        try:
            self._driver: Any = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise KitError("no NVIDIA driver (libcuda.so.1) found: run this on the machine with the GPU") from error
        self._check(self._driver.cuInit(0), "cuInit")
        self._device = ctypes.c_int()
        self._check(self._driver.cuDeviceGet(ctypes.byref(self._device), 0), "cuDeviceGet")
        self._context = ctypes.c_void_p()
        self._check(
            self._driver.cuDevicePrimaryCtxRetain(ctypes.byref(self._context), self._device), "cuDevicePrimaryCtxRetain"
        )
        self.enter()
        handle = ctypes.c_void_p()
        self._check(self._driver.cuStreamCreate(ctypes.byref(handle), 1), "cuStreamCreate")  # 1: not the default stream
        self.stream = int(handle.value or 0)

    def enter(self) -> None:
        """Make the context current in this thread."""
        self._check(self._driver.cuCtxSetCurrent(self._context), "cuCtxSetCurrent")

    def describe(self) -> dict[str, str]:
        """Name and compute capability of the GPU, and CUDA version of the driver."""
        name = ctypes.create_string_buffer(256)
        self._check(self._driver.cuDeviceGetName(name, 256, self._device), "cuDeviceGetName")
        version = ctypes.c_int()
        self._check(self._driver.cuDriverGetVersion(ctypes.byref(version)), "cuDriverGetVersion")
        capability = f"{self._attribute(75)}.{self._attribute(76)}"
        return {"gpu": name.value.decode(), "compute_capability": capability, "driver_cuda": str(version.value)}

    def allocate(self, num_bytes: int) -> int:
        """Address of new device memory."""
        pointer = ctypes.c_uint64()
        self._check(self._driver.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(max(1, num_bytes))), "cuMemAlloc")
        return int(pointer.value)

    def free(self, pointer: int) -> None:
        """Free device memory."""
        self._driver.cuMemFree_v2(ctypes.c_uint64(pointer))

    def upload(self, pointer: int, array: np.ndarray) -> None:
        """Copy from host to device."""
        self._check(
            self._driver.cuMemcpyHtoD_v2(
                ctypes.c_uint64(pointer), ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
            ),
            "cuMemcpyHtoD",
        )

    def download(self, array: np.ndarray, pointer: int) -> None:
        """Copy from device to host."""
        self._check(
            self._driver.cuMemcpyDtoH_v2(
                ctypes.c_void_p(array.ctypes.data), ctypes.c_uint64(pointer), ctypes.c_size_t(array.nbytes)
            ),
            "cuMemcpyDtoH",
        )

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._check(self._driver.cuStreamSynchronize(ctypes.c_void_p(self.stream)), "cuStreamSynchronize")

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self._check(
            self._driver.cuDeviceGetAttribute(ctypes.byref(value), number, self._device), "cuDeviceGetAttribute"
        )
        return value.value

    def _check(self, code: int, call: str) -> None:
        if code != 0:
            raise KitError(f"{call} failed (error {code} of the NVIDIA driver): check the GPU and its free memory")
