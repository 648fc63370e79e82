"""Opens and runs a model in TFLite, in a process of its own, between two guards.

TFLite follows the 32-bit offsets of a file without a check. Here the bytes (on stdin) lie between stretches
of address space that cannot be read and that no such offset leaps over: what leaves the file ends this
process, always, and what passes stays within the file wherever it lies. Standard library only, for this is
run as a script: `python tflite_rehearsal.py MODULE SHAPES`.
"""

from __future__ import annotations

import ast
import ctypes
import importlib
import mmap
import sys

ALIGNMENT = 16
"""Bytes behind the file that may be read: the room which is left for alignment in front of the guard."""
BEFORE, AFTER = 1 << 32, 1 << 33
NO_RESERVE = 0x4000
HEADER = bytes.__basicsize__ - 1
"""Bytes of an object in front of its characters."""


def between_guards(data: bytes) -> bytes:
    """An equal bytes object, less than a page behind memory that cannot be read and at most ALIGNMENT bytes
    in front of more of it. It must never be freed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    template = ctypes.string_at(id(data), HEADER + len(data) + 1)
    size = -(-len(template) // ALIGNMENT) * ALIGNMENT
    room = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
    start = libc.mmap(None, BEFORE + room + AFTER, 0, flags, -1, 0)
    if start == ctypes.c_void_p(-1).value or libc.mprotect(
        start + BEFORE, room, mmap.PROT_READ | mmap.PROT_WRITE
    ):
        raise OSError(ctypes.get_errno(), "no address space for the guards")
    place = start + BEFORE + room - size
    ctypes.memmove(place, template, len(template))
    guarded: bytes = ctypes.cast(place, ctypes.py_object).value
    ctypes.c_ssize_t.from_address(place).value += 1  # of the reference that nobody gives back
    return guarded


def main() -> None:
    module, shapes = importlib.import_module(sys.argv[1]), ast.literal_eval(sys.argv[2])
    guarded = between_guards(sys.stdin.buffer.read())
    interpreter = module.Interpreter(model_content=guarded, num_threads=1)
    for index, shape in shapes:
        interpreter.resize_tensor_input(index, shape)
    interpreter.allocate_tensors()
    interpreter.invoke()


if __name__ == "__main__":
    main()
