"""The C kernels behind cffi: `ffi`, `lib`, and the registry as Python rows. `ck.h` documents everything in
`lib`.

`WALLE_ISA` (a comma-separated list such as `scalar` or `avx2`) limits the instruction sets that kernels may
use; `WALLE_CKERNELS` names a folder with another build of the extension.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

if _folder := os.environ.get("WALLE_CKERNELS"):
    __path__.insert(0, os.path.abspath(_folder))

ISA_NAMES = {"scalar": 0, "avx2": 1, "neon": 2, "avx512": 4, "vnni": 8, "vbmi": 16, "dotprod": 32, "amx": 64}
"""Names of the bits of `ck_isa`, for `WALLE_ISA`."""


def __getattr__(name: str) -> Any:
    """`ffi` and `lib`, loaded when first asked for: `python -m ckernels.build` imports this package to make
    them.
    """
    if name not in ("ffi", "lib"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_extension(), name)


@cache
def _extension() -> Any:
    try:
        return importlib.import_module("ckernels._ckernels")
    except ModuleNotFoundError as error:
        raise ImportError(
            "the C kernels are not built for this Python: run `make build`", name=error.name
        ) from None


@dataclass(frozen=True, slots=True)
class Row:
    """One micro-kernel; operator and dtype are names such as "GEMM" and "F32", `kernel` and `pack` C
    functions, `op` the operator's number.
    """

    name: str
    operator: str
    dtype: str
    isa: int
    mr: int
    nr: int
    kr: int
    kernel: Any
    pack: Any
    entry: Any
    """The row itself, for C."""
    op: int

    def units(self, params: Any) -> int:
        """Units of a step with these parameters."""
        return int(_extension().lib.ck_units(self.op, params))

    @property
    def packing(self) -> Row:
        """The packer of a GEMM as a kernel of its own."""
        op = int(_extension().lib.CK_PACK)
        return replace(self, name=f"{self.name}_pack", operator="PACK", kernel=self.pack, pack=None, op=op)


def rows() -> tuple[Row, ...]:
    """The registry, in the order of `kernels.inc`: of two rows for the same work the later is the faster."""
    ffi, lib = _extension().ffi, _extension().lib
    count = ffi.new("int32_t *")
    first = lib.ck_rows(count)
    return tuple(_row(ffi, first + i) for i in range(count[0]))


def primitives() -> dict[str, int]:
    """MAP primitive -> its opcode in `ck_instruction.op`."""
    ffi, lib = _extension().ffi, _extension().lib
    count = ffi.new("int32_t *")
    first = lib.ck_primitives(count)
    return {ffi.string(first[i].name).decode(): i for i in range(count[0])}


def cpu_features() -> int:
    """The instruction sets of this CPU as bits of `ck_isa`, without those that `WALLE_ISA` leaves out."""
    features = int(_extension().lib.ck_cpu_features())
    allowed = os.environ.get("WALLE_ISA")
    if not allowed:
        return features
    names = set(allowed.split(","))
    if unknown := sorted(names - set(ISA_NAMES)):
        raise ValueError(f"WALLE_ISA={allowed}: unknown {unknown[0]!r}, expected {', '.join(ISA_NAMES)}")
    return features & sum(ISA_NAMES[name] for name in names)


def build_digest() -> str:
    """Changes with sources, flags, compiler and interpreter: a part of every cache key."""
    extension = _extension()
    digest: bytes = extension.ffi.string(extension.lib.ck_build_digest)
    return digest.decode()


def _row(ffi: Any, row: Any) -> Row:
    operator = ffi.string(ffi.cast("ck_operator", row.op)).removeprefix("CK_")
    dtype = ffi.string(ffi.cast("ck_dtype", row.dtype)).removeprefix("CK_")
    name = ffi.string(row.name).decode()
    return Row(name, operator, dtype, row.isa, row.mr, row.nr, row.kr, row.kernel, row.pack, row, row.op)
