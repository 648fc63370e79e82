"""The extension `ckernels._ckernels` with the kernels in another process, on another machine.

`WALLE_CKERNELS` names this folder, `WALLE_KERNEL_COMMAND` starts the other end (`driver.c`, under an
emulator). Everything is this machine's build, except the registry, the CPU's features, and `ck_run`: it sends
the program with all that its parameters point to, as one image, and writes the memories that come back over
those here. So whatever runs on the kernels, the tests above all, runs on those of the other machine, and does
not know.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib.util
import itertools
import os
import shlex
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from ckernels import build

Count = Callable[[Any, int], int]
"""(parameters, tile columns) -> elements behind a pointer."""


def _load() -> Any:
    """The extension built for this machine. cffi enters it as `ckernels._ckernels`, a place that is ours."""
    ours = sys.modules[__name__]
    spec = importlib.util.spec_from_file_location("here._ckernels", build.PACKAGE / build.extension())
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[__name__] = ours
    return module


here = _load()
ffi = here.ffi


def _columns(p: Any, nr: int) -> int:
    return int(-(-p.n // nr) * nr)


def _rows(p: Any, nr: int) -> int:  # noqa: ARG001
    return int(p.m * p.taps)


def _sources(p: Any, nr: int) -> int:  # noqa: ARG001
    return 1 + int(max((p.regions[i].input for i in range(p.n_regions)), default=-1))


def _loaded(p: Any, nr: int) -> int:  # noqa: ARG001
    steps = (p.program[i] for i in range(p.n_instructions))
    return 1 + int(max((step.input for step in steps if step.op == here.lib.CK_MAP_LOAD), default=-1))


STRUCTS: dict[str, tuple[str, dict[str, Count]]] = {
    "RASTER": (raster := ("ck_raster", {"inputs": _sources, "regions": lambda p, _: p.n_regions})),
    "RASTER_ADD": raster,
    "GEMM": ("ck_gemm", {"rows": _rows, "multiplier": _columns, "shift": _columns}),
    "DEPTHWISE": (
        "ck_depthwise",
        {
            "rows": _rows,
            "slides": lambda p, _: p.m,
            "multiplier": lambda p, _: p.channels,
            "shift": lambda p, _: p.channels,
        },
    ),
    "WINOGRAD": ("ck_winograd", {"rows": lambda p, _: -(-p.height // p.tile) * (p.tile + 2)}),
    "ADD": ("ck_pair", {}),
    "MUL": ("ck_pair", {}),
    "LOOKUP": ("ck_lookup", {}),
    "MAP": (
        "ck_map",
        {"inputs": _loaded, "dtypes": _loaded, "views": _loaded, "program": lambda p, _: p.n_instructions},
    ),
    "REDUCE": ("ck_reduce", {"rows": lambda p, _: p.outer * p.axis}),
    "GATHER": ("ck_gather", {}),
    "SCATTER": ("ck_scatter", {}),
    "SORT": ("ck_sort", {}),
    "RNG": ("ck_rng", {}),
    "IF": ("ck_if", {}),
    "WHILE": ("ck_while", {}),
    "TURN": ("ck_turn", {}),
    "LOOP": ("ck_loop", {"slices": lambda p, _: p.n_slices, "stacked": lambda p, _: p.n_stacked}),
}
"""Operator -> its parameter struct, and how many elements `ck.h` promises behind each pointer in it."""


class Image:
    """Bytes on their way, and which of them are pointers, to data or as steps to kernels (`calls`), all as
    offsets from the first byte. `rows` are those that the numbers of kernels name.
    """

    def __init__(self, rows: Any) -> None:
        self.data, self.rows = bytearray(), rows
        self.links: list[tuple[int, int]] = []
        self.calls: list[int] = []
        self._known: dict[int, int] = {}

    def put(self, data: bytes) -> int:
        """Appends at the next address that every type may have."""
        self.data += bytes(-len(self.data) % 64)
        self.data += data
        return len(self.data) - len(data)

    def steps(self, steps: Any, count: int) -> int:
        size, params = ffi.sizeof("ck_step"), ffi.offsetof("ck_step", "params")
        at = self.put(bytes(ffi.buffer(steps, count * size)))
        for i in range(count):
            number = self.number(_address(steps[i].kernel))
            row = self.rows[abs(number) - 1]
            operator = ffi.string(ffi.cast("ck_operator", row.op)).removeprefix("CK_")
            struct.pack_into("=q", self.data, at + i * size + ffi.offsetof("ck_step", "kernel"), number)
            self.calls.append(at + i * size)
            self.links.append((at + i * size + params, self.struct(steps[i].params, operator, row.nr)))
        return at

    def number(self, kernel: int) -> int:
        """What the other end knows a kernel by: its row, or less than 0 for the packer of a row."""
        if kernel <= len(self.rows):
            return kernel
        return -1 - next(i for i, row in enumerate(self.rows) if _address(row.pack) == kernel)

    def struct(self, params: Any, operator: str, nr: int) -> int:
        if (known := self._known.get(_address(params))) is not None:
            return known  # several calls of one step
        kind, counts = STRUCTS[operator]
        value = ffi.cast(f"{kind} *", params)
        at = self._known[_address(params)] = self.put(bytes(ffi.buffer(value)))
        for name, field in ffi.typeof(kind).fields:
            if field.type.kind == "pointer" and (pointer := getattr(value, name)) != ffi.NULL:
                size = counts[name](value, nr) * ffi.sizeof(field.type.item)
                self.links.append((at + field.offset, self.put(bytes(ffi.buffer(pointer, size)))))
            elif field.type is ffi.typeof("ck_block") and (block := getattr(value, name)).n_steps:
                self.links.append((at + field.offset, self.steps(block.steps, block.n_steps)))
        return at


class Machine:
    """The other end. A crash is an error of the run that met it: the next run starts it again."""

    def __init__(self, command: str) -> None:
        self._command, self._lock = command, threading.Lock()
        self._process, introduction = self._start()
        self.features = next(int(words[1]) for words in introduction if words[0] == "features")
        self.rows = [
            (words[1], *map(int, words[2:8]), words[8]) for words in introduction if words[0] == "row"
        ]
        for kind, size in (words[1:] for words in introduction if words[0] == "size"):
            if (ours := ffi.sizeof(kind)) != int(size):
                raise ImportError(f"{self._command}: {kind} is {size} bytes there and {ours} bytes here")

    def run(self, image: Image, memory: int, steps: int, n_steps: int, bases: int) -> tuple[int, int, bytes]:
        """(status, failed step, the memories after the run); RuntimeError where the other end dies."""
        links = b"".join(struct.pack("=qq", *link) for link in image.links)
        calls = struct.pack(f"={len(image.calls)}q", *image.calls)
        sizes = len(image.data), memory, len(image.links), len(image.calls)
        request = struct.pack("=7q", *sizes, steps, n_steps, bases)
        with self._lock:
            if self._process.poll() is not None:
                self._process, _ = self._start()
            assert self._process.stdin is not None and self._process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(request + image.data + links + calls)
                self._process.stdin.flush()
            reply = self._process.stdout.read(16 + memory)
            if len(reply) != 16 + memory:
                raise RuntimeError(f"{self._command}: died in a program, status {self._process.wait()}")
        return *struct.unpack("=qq", reply[:16]), reply[16:]

    def close(self) -> None:
        self._process.communicate()

    def _start(self) -> tuple[subprocess.Popen[bytes], list[list[str]]]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(shlex.split(self._command), stdin=pipe, stdout=pipe)
        assert process.stdout is not None
        lines = list(itertools.takewhile(lambda line: line.strip(), process.stdout))
        if not lines:
            raise ImportError(f"{self._command}: died at its start, status {process.wait()}")
        return process, [line.decode().split() for line in lines]


class Lib:
    """`lib` as cffi makes it, with the machine's kernels. A kernel's address is its row's number, from 1; its
    packer is the function of that name here, for constants are packed here.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine, self._sizes = machine, dict[int, int]()
        ours = ctypes.CDLL(here.__file__)
        self._names = [ffi.new("char[]", str(name).encode()) for name, *_ in machine.rows]
        self._rows = ffi.new("ck_row[]", len(machine.rows))
        for i, (_, *numbers, packer) in enumerate(machine.rows):
            place = 0 if packer == "NULL" else ctypes.cast(ours[packer], ctypes.c_void_p).value
            kernel, pack = ffi.cast("ck_kernel", i + 1), ffi.cast("ck_kernel", place)
            self._rows[i] = (self._names[i], *numbers, kernel, pack)

    def __getattr__(self, name: str) -> Any:
        return getattr(here.lib, name)

    def ck_cpu_features(self) -> int:
        return self._machine.features

    def ck_rows(self, count: Any) -> Any:
        count[0] = len(self._rows)
        return self._rows

    def ck_alloc(self, size: int) -> Any:
        pointer = here.lib.ck_alloc(size)
        self._sizes[_address(pointer)] = size
        return pointer

    def ck_run(self, steps: Any, n_steps: int, bases: Any, failed: Any) -> int:
        image = Image(self._rows)
        memories = [ffi.buffer(base, self._sizes[_address(base)]) for base in bases if base]
        places = [image.put(bytes(memory)) for memory in memories]
        used = len(image.data)
        table = image.put(bytes(8 * len(bases)))  # those of rings are set by the program
        image.links += [(table + 8 * i, place) for i, place in enumerate(places)]
        walk = image.steps(steps, n_steps)
        status, failed[0], after = self._machine.run(image, used, walk, n_steps, table)
        for memory, place in zip(memories, places, strict=True):
            memory[:] = after[place : place + len(memory)]
        return status


def _address(pointer: Any) -> int:
    return int(ffi.cast("intptr_t", pointer))


_machine = Machine(os.environ["WALLE_KERNEL_COMMAND"])
atexit.register(_machine.close)
lib = Lib(_machine)
