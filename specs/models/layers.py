"""The few layers that the demo models are trained with: each has `forward`, `backward` and its parameters.

Plain NumPy, float64, NHWC, written to be read; `fit` is Adam on mini-batches. Exporting is left to others.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


class Layer(Protocol):
    """`backward`: gradient of the loss by the output -> by the input; keeps those by the parameters."""

    parameters: list[Array]
    gradients: list[Array]

    def forward(self, x: Array) -> Array: ...
    def backward(self, g: Array) -> Array: ...


class Dense:
    """y = x w^T + b; x is flattened to [n, inputs], w is [outputs, inputs] as in TFLite."""

    def __init__(self, rng: np.random.Generator, inputs: int, outputs: int) -> None:
        self.parameters = [rng.normal(0, inputs**-0.5, (outputs, inputs)), np.zeros(outputs)]
        self.gradients: list[Array] = []

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        self.x = x.reshape(len(x), -1)
        w, b = self.parameters
        y: Array = self.x @ w.T + b
        return y

    def backward(self, g: Array) -> Array:
        self.gradients = [g.T @ self.x, g.sum(0)]
        return (g @ self.parameters[0]).reshape(self.shape)


class Conv3x3:
    """Stride 1, SAME padding; w is [outputs, 3, 3, inputs] as in TFLite: nine shifted matrix products."""

    SHIFTS = tuple((dy, dx) for dy in range(3) for dx in range(3))

    def __init__(self, rng: np.random.Generator, inputs: int, outputs: int) -> None:
        self.parameters = [
            rng.normal(0, (2 / (9 * inputs)) ** 0.5, (outputs, 3, 3, inputs)),
            np.zeros(outputs),
        ]
        self.gradients: list[Array] = []

    def forward(self, x: Array) -> Array:
        w, b = self.parameters
        self.padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        self.window = x.shape[1:3]
        return sum((self._shifted(dy, dx) @ w[:, dy, dx].T for dy, dx in self.SHIFTS), b)

    def backward(self, g: Array) -> Array:
        w, by_padded = self.parameters[0], np.zeros_like(self.padded)
        by_w = np.empty_like(w)
        height, width = self.window
        for dy, dx in self.SHIFTS:
            by_w[:, dy, dx] = np.tensordot(g, self._shifted(dy, dx), axes=((0, 1, 2), (0, 1, 2)))
            by_padded[:, dy : dy + height, dx : dx + width] += g @ w[:, dy, dx]
        self.gradients = [by_w, g.sum((0, 1, 2))]
        return by_padded[:, 1:-1, 1:-1]

    def _shifted(self, dy: int, dx: int) -> Array:
        height, width = self.window
        return self.padded[:, dy : dy + height, dx : dx + width]


class MaxPool2x2:
    """Largest of each 2x2 window; a tie shares the gradient."""

    def __init__(self) -> None:
        self.parameters: list[Array] = []
        self.gradients: list[Array] = []

    def forward(self, x: Array) -> Array:
        n, h, w, c = x.shape
        windows = x.reshape(n, h // 2, 2, w // 2, 2, c)
        y = windows.max((2, 4), keepdims=True)
        self.mask = windows == y
        pooled: Array = np.squeeze(y, (2, 4))
        return pooled

    def backward(self, g: Array) -> Array:
        share = self.mask / self.mask.sum((2, 4), keepdims=True)
        n, h, _, w, _, c = share.shape
        spread: Array = share * g[:, :, None, :, None]
        return spread.reshape(n, 2 * h, 2 * w, c)


class Elementwise:
    """y = f(x), with the derivative written in terms of y."""

    def __init__(self, f: Callable[[Array], Array], derivative: Callable[[Array], Array]) -> None:
        self.f, self.derivative = f, derivative
        self.parameters: list[Array] = []
        self.gradients: list[Array] = []

    def forward(self, x: Array) -> Array:
        self.y = self.f(x)
        return self.y

    def backward(self, g: Array) -> Array:
        return g * self.derivative(self.y)


def relu() -> Elementwise:
    return Elementwise(lambda x: np.maximum(x, 0.0), lambda y: (y > 0).astype(y.dtype))


def tanh() -> Elementwise:
    return Elementwise(np.tanh, lambda y: 1 - y * y)


def forward(layers: Sequence[Layer], x: Array) -> Array:
    for layer in layers:
        x = layer.forward(x)
    return x


def cross_entropy_gradient(logits: Array, labels: Labels) -> Array:
    """Gradient of mean softmax cross-entropy by the logits: probabilities minus one-hot, over n."""
    g: Array = np.exp(logits - logits.max(1, keepdims=True))
    g /= g.sum(1, keepdims=True)
    g[np.arange(len(labels)), labels] -= 1
    g /= len(labels)
    return g


def squared_error_gradient(y: Array, target: Array) -> Array:
    """Gradient of the mean squared error by y."""
    return 2 * (y - target) / y.size


def fit(
    layers: Sequence[Layer],
    x: Array,
    target: npt.NDArray[Any],
    loss_gradient: Callable[[Array, Any], Array],
    rng: np.random.Generator,
    epochs: int,
    batch: int = 64,
    rate: float = 2e-3,
) -> None:
    """Train in place: Adam (Kingma and Ba 2015), the rate falling linearly to zero."""
    parameters = [parameter for layer in layers for parameter in layer.parameters]
    mean = [np.zeros_like(parameter) for parameter in parameters]
    square = [np.zeros_like(parameter) for parameter in parameters]
    steps, step = epochs * -(-len(x) // batch), 0
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            g = loss_gradient(forward(layers, x[rows]), target[rows])
            for layer in reversed(layers):
                g = layer.backward(g)
            step, rate_now = step + 1, rate * (1 - step / steps)
            gradients = [gradient for layer in layers for gradient in layer.gradients]
            for p, m, s, gradient in zip(parameters, mean, square, gradients, strict=True):
                m += 0.1 * (gradient - m)
                s += 0.001 * (gradient * gradient - s)
                p -= rate_now * (m / (1 - 0.9**step)) / (np.sqrt(s / (1 - 0.999**step)) + 1e-8)
