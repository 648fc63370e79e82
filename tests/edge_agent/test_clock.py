import threading

import pytest

from edge_agent import clock as clock_module
from edge_agent.clock import ManualClock, SystemClock


def test_a_manual_clock_moves_only_by_hand_and_never_back() -> None:
    clock = ManualClock(100.0)
    clock.advance(5.0)
    clock.set(50.0)
    assert clock.now() == 105.0


def test_waiting_on_a_manual_clock_ends_with_its_time_or_the_event() -> None:
    clock, stop, ended = ManualClock(), threading.Event(), []
    thread = threading.Thread(target=lambda: ended.append(clock.wait(stop, 10.0)))
    thread.start()
    while thread.is_alive():
        clock.advance(1.0)
        thread.join(0.01)
    assert ended == [False] and clock.now() >= 10.0
    stop.set()
    assert clock.wait(stop, 10.0)


@pytest.mark.parametrize(
    ("wall", "steady", "expected", "stepped"),
    [
        ([1000.0, 1001.0], [0.0, 1.0], 1001.0, 0.0),
        ([1000.0, 1001.5], [0.0, 1.0], 1001.5, 0.0),  # a correction
        ([1000.0, 9000.0], [0.0, 1.0], 9000.0, 7999.0),  # the time service arrives
        ([1000.0, 500.0], [0.0, 2.0], 1002.0, 0.0),  # a step back is not followed, time goes on
    ],
)
def test_the_system_clock_follows_steps_forward_only(
    monkeypatch: pytest.MonkeyPatch, wall: list[float], steady: list[float], expected: float, stepped: float
) -> None:
    monkeypatch.setattr(clock_module.time, "time", iter(wall).__next__)
    monkeypatch.setattr(clock_module.time, "monotonic", iter(steady).__next__)
    clock = SystemClock()
    assert (clock.now(), clock.stepped) == (expected, stepped)
