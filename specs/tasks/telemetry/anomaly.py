"""Is this window's reconstruction error out of line with the errors so far on this very machine?

An exponentially weighted mean and variance follow the error (West, CACM 22(9), 1979); a window is an
anomaly when it lies more than LIMIT standard deviations above the mean, and then it does not move the mean.
"""

from typing import Any

Item = dict[str, Any]

WARM_UP = 8
"""Windows that are only learned from."""
WEIGHT = 0.1
"""Share of the newest window in the mean and the variance."""
LIMIT = 4.0
FLOOR = 4e-3
"""Smallest standard deviation: below it, differences are noise of the model."""


def on_result(item: Item, state: Item) -> Item:
    error = item["error"]
    seen, mean, variance = state.get("seen", 0), state.get("mean", error), state.get("variance", 0.0)
    step = error - mean
    z = step / max(variance**0.5, FLOOR)
    anomaly = seen >= WARM_UP and z > LIMIT
    if not anomaly:
        weight = max(WEIGHT, 1 / (seen + 1))
        state["mean"] = mean + weight * step
        state["variance"] = (1 - weight) * (variance + weight * step * step)
    state["seen"] = seen + 1
    return {**item, "z": round(z, 3), "anomaly": anomaly}
