"""TFLite trusts the files it opens; what a hostile one does must end in a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from runtime import EngineError, UnsupportedError
from runtime.backends import tflite_rehearsal
from runtime.backends.tflite import TfliteBackend, interpreter_module, rehearse
from runtime.compile import Model, load

DIGITS = (Path(__file__).parents[2] / "specs" / "models" / "digits_int8.tflite").read_bytes()


def test_guarded_bytes_are_the_same_bytes() -> None:
    """In a process of its own: guarded bytes live for ever."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tflite_rehearsal import between_guards as guarded\n"
        "for n in (0, 1, 15, 16, 4095, 4096, 100_000):\n"
        "    data = bytes(i % 251 for i in range(n))\n"
        "    assert guarded(data) == data and type(guarded(data)) is bytes and len(guarded(data)) == n"
    )
    folder = str(Path(tflite_rehearsal.__file__).parent)
    subprocess.run([sys.executable, "-c", code, folder], check=True, timeout=60)


@pytest.mark.parametrize("distance", [64, 1 << 20, (1 << 32) - 1])
def test_reading_behind_the_guarded_bytes_ends_the_process(distance: int) -> None:
    code = (
        "import ctypes, sys; sys.path.insert(0, sys.argv[1])\n"
        "from tflite_rehearsal import HEADER, between_guards\n"
        "place = id(between_guards(bytes(1000))) + HEADER + 1000\n"
        "ctypes.string_at(place + int(sys.argv[2]), 1)"
    )
    folder = str(Path(tflite_rehearsal.__file__).parent)
    done = subprocess.run([sys.executable, "-c", code, folder, str(distance)], check=False, timeout=60)
    assert done.returncode < 0


def test_a_sound_model_passes_and_is_rehearsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model("digits", DIGITS)
    rehearse(model)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("rehearsed again"))
    rehearse(model)
    assert TfliteBackend().compile(model).inputs[0].shape == (1, 8, 8, 1)


def test_a_model_that_leads_out_of_its_file_is_refused() -> None:
    """The root offset leads 2 GiB away: tflite-runtime would end this process, its successor refuses it."""
    hostile = Model("hostile", (0x7FFFFFF0).to_bytes(4, "little") + DIGITS[4:])

    def opened() -> None:
        rehearse(hostile)
        interpreter_module().Interpreter(model_content=hostile.data)

    with pytest.raises((UnsupportedError, ValueError), match=r"TFLite dies of it: signal 11|not a valid"):
        opened()


def test_damaged_models_do_nothing_worse_than_being_refused() -> None:
    rng = Random(2022)
    for _ in range(25):
        data = bytearray(DIGITS)
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(0, len(data) - 4)
            data[at : at + 4] = rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32))).to_bytes(
                4, "little"
            )
        with contextlib.suppress(EngineError):
            assert load(bytes(data)).outputs


def test_the_interpreter_is_of_this_python() -> None:
    assert interpreter_module().__name__.endswith(".interpreter")
