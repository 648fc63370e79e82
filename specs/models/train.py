"""Train and export the demo models: `python specs/models/train.py` writes them here and prints their table.

digits_int8.tflite classifies 8x8 digits, telemetry_ae_f32.tflite reconstructs a window of host telemetry.
All is seeded: the same NumPy and scikit-learn give the same bytes. `--measure SECONDS` measures new telemetry
instead. The layers are in `layers.py`, the features in `telemetry.py`.
"""

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import layers as nn
import numpy as np
import numpy.typing as npt
import telemetry
from PIL import Image
from sklearn.datasets import load_digits

from runtime.exporters.quantize import interpreter, quantize
from runtime.exporters.tflite import ModelSpec, OpSpec, TensorSpec, write

Array = npt.NDArray[Any]
HERE = Path(__file__).resolve().parent
SEED, SIGNATURE = 1, "serving_default"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--measure", type=float, metavar="SECONDS", help="measure this machine instead of training"
    )
    parser.add_argument("--out", type=Path, help="folder of the models, or CSV file with --measure")
    args = parser.parse_args()
    if args.measure:
        print(f"{telemetry.measure(args.measure, args.out or HERE / 'telemetry.csv')} windows")
        return
    out = args.out or HERE
    print(f"{'model':<26}{'bytes':>7}  figures")
    for path, figures in (make_digits(out), make_autoencoder(out)):
        print(f"{path.name:<26}{path.stat().st_size:>7}  {figures[0]}")
        for figure in figures[1:]:
            print(f"{'':<35}{figure}")


Report = tuple[Path, list[str]]  # the file written, and its figures for the table


def run_tflite(model: bytes, x: Array) -> Array:
    """Every row of x through the model in TFLite; int8 inputs are quantised here and outputs dequantised."""
    run = interpreter(model)
    run.allocate_tensors()
    (source,), (sink,) = run.get_input_details(), run.get_output_details()
    outputs = []
    for row in x:
        run.set_tensor(source["index"], to_tensor(row[None], source))
        run.invoke()
        outputs.append(from_tensor(run.get_tensor(sink["index"]), sink)[0])
    return np.array(outputs)


def to_tensor(x: Array, detail: dict[str, Any]) -> Array:
    scale, zero_point = detail["quantization"]
    if not scale:
        return x.astype("float32")
    steps: Array = np.round(x / scale) + zero_point
    return np.clip(steps, -128, 127).astype("int8")


def from_tensor(y: Array, detail: dict[str, Any]) -> Array:
    scale, zero_point = detail["quantization"]
    return (y.astype("float64") - zero_point) * scale if scale else y


# ---------------------------------------------------------------- digits

PNG_SIDE, PNG_COUNT, TEST_COUNT = 64, 40, 360


def digits() -> tuple[Array, Array, Array, Array]:
    """Training images [n, 8, 8, 1] in 0..1 and labels, then the held-out ones, of scikit-learn's digits."""
    data = load_digits()
    gray = np.round(data.images * (255 / 16)) / 255
    order = np.random.default_rng(SEED).permutation(len(gray))
    x, labels = gray[order, :, :, None], data.target[order]
    return x[:-TEST_COUNT], labels[:-TEST_COUNT], x[-TEST_COUNT:], labels[-TEST_COUNT:]


def make_digits(out: Path) -> Report:
    x, labels, test_x, test_labels = digits()
    rng = np.random.default_rng(SEED)
    net: list[nn.Layer] = [
        nn.Conv3x3(rng, 1, 16), nn.relu(), nn.MaxPool2x2(),
        nn.Conv3x3(rng, 16, 32), nn.relu(), nn.MaxPool2x2(), nn.Dense(rng, 128, 10),
    ]  # fmt: skip
    nn.fit(net, x, labels, nn.cross_entropy_gradient, rng, epochs=40)
    spec = digits_spec(net[0].parameters, net[3].parameters, net[6].parameters)
    model = write(quantize(spec, ([row[None].astype("float32")] for row in x[:400])))
    path = out / "digits_int8.tflite"
    path.write_bytes(model)
    pictures = write_pictures(out / "digits", test_x, test_labels)
    seen = np.array([read_picture(picture) for picture in pictures])
    return path, [
        f"accuracy on {TEST_COUNT} held-out digits: float {accuracy(write(spec), test_x, test_labels):.2%}, "
        f"int8 {accuracy(model, test_x, test_labels):.2%}",
        f"accuracy on {PNG_COUNT} of them as PNG files: int8 {accuracy(model, seen, test_labels):.2%}",
    ]


def digits_spec(conv1: Sequence[Array], conv2: Sequence[Array], dense: Sequence[Array]) -> ModelSpec:
    constants = {"conv1_w": conv1[0], "conv1_b": conv1[1], "conv2_w": conv2[0], "conv2_b": conv2[1]}
    constants |= {"dense_w": dense[0], "dense_b": dense[1]}
    relu, pool = {"fused_activation_function": "RELU"}, {"stride_w": 2, "stride_h": 2}
    shapes = {
        "image": (1, 8, 8, 1), "conv1": (1, 8, 8, 16), "pool1": (1, 4, 4, 16), "conv2": (1, 4, 4, 32),
        "pool2": (1, 2, 2, 32), "flat": (1, 128), "logits": (1, 10), "probabilities": (1, 10),
    }  # fmt: skip
    return ModelSpec(
        tensors=(
            *(TensorSpec(name, shape) for name, shape in shapes.items()),
            *(TensorSpec.constant(name, data.astype("float32")) for name, data in constants.items()),
            TensorSpec.constant("flat_shape", np.array([1, 128], "int32")),
        ),
        operators=(
            OpSpec("CONV_2D", ("image", "conv1_w", "conv1_b"), ("conv1",), relu),
            OpSpec("MAX_POOL_2D", ("conv1",), ("pool1",), pool),
            OpSpec("CONV_2D", ("pool1", "conv2_w", "conv2_b"), ("conv2",), relu),
            OpSpec("MAX_POOL_2D", ("conv2",), ("pool2",), pool),
            OpSpec("RESHAPE", ("pool2", "flat_shape"), ("flat",), {"new_shape": (1, 128)}),
            OpSpec("FULLY_CONNECTED", ("flat", "dense_w", "dense_b"), ("logits",)),
            OpSpec("SOFTMAX", ("logits",), ("probabilities",)),
        ),
        inputs=("image",),
        outputs=("probabilities",),
        description="Handwritten digits 0..9: an 8x8 grey image, white ink on black, 0..1",
        signature=SIGNATURE,
    )


def accuracy(model: bytes, x: Array, labels: Array) -> float:
    return float((run_tflite(model, x).argmax(1) == labels[: len(x)]).mean())


def write_pictures(folder: Path, x: Array, labels: Array) -> list[Path]:
    """The first test digits as grey PNG files that a person can see: 8x8 enlarged, white ink on black."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"digit_{i:03}_is_{labels[i]}.png" for i in range(PNG_COUNT)]
    for path, image in zip(paths, x, strict=False):
        grey = Image.fromarray(np.round(image[:, :, 0] * 255).astype("uint8"))
        grey.resize((PNG_SIDE, PNG_SIDE), Image.Resampling.NEAREST).save(path, optimize=True)
    return paths


def read_picture(path: Path) -> Array:
    """What a task does before the model: grey, area resize to 8x8, 0..1."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize((8, 8), Image.Resampling.BOX))[:, :, None] / 255


# ---------------------------------------------------------------- telemetry

OTHER_HOSTS, HELD_OUT, CORRUPTIONS = 12, 0.25, 4


def windows() -> tuple[Array, Array]:
    """Model inputs [n, 8] to train on, and held-out ones: measured windows, and those as on other hosts."""
    raw = telemetry.read_csv(HERE / "telemetry.csv")
    rng = np.random.default_rng(SEED)
    raw = raw[rng.permutation(len(raw))]
    split = int(len(raw) * (1 - HELD_OUT))
    train, test = (
        telemetry.scaled(np.concatenate([part, *(other_host(part, rng) for _ in range(OTHER_HOSTS))]))
        for part in (raw[:split], raw[split:])
    )
    return train, test


def other_host(raw: Array, rng: np.random.Generator) -> Array:
    """Every row as on some other board: memory in use, work beside, a sensor, processes, slower links."""
    cpu_mean, cpu_max, _, disk, net, load, _, _ = raw.T
    n = len(raw)
    beside = rng.uniform(0, 0.35, n)
    cpu_mean = np.minimum(cpu_mean + beside, 0.9)
    cpu_max = np.clip(cpu_max + beside * rng.uniform(1, 1.5, n), cpu_mean, 1)
    temp = np.where(rng.random(n) < 0.4, 0.0, rng.uniform(35, 50, n) + 30 * cpu_mean)
    procs = np.exp(rng.uniform(np.log(60), np.log(400), n))
    mem, load = rng.uniform(0.05, 0.8, n), load + beside * rng.uniform(0.8, 1.5, n)
    disk, net = disk * rng.uniform(0, 1, n), net * rng.uniform(0, 1, n)
    return np.stack([cpu_mean, cpu_max, mem, disk, net, load, temp, procs], axis=1)


def corrupted(x: Array, rng: np.random.Generator) -> Array:
    """What a denoising autoencoder (Vincent et al. 2008) sees of x: jitter, one feature in seven at random.

    Restoring x from it teaches the model to pull abnormal features to normal ones, not to copy them.
    """
    jittered = x + rng.normal(0, 0.01, x.shape)
    return np.where(rng.random(x.shape) < 0.15, rng.uniform(0, 1.1, x.shape), jittered)


def abnormal(x: Array, rng: np.random.Generator) -> dict[str, Array]:
    """Windows that no healthy host sends, made of normal ones, by kind."""
    saturated, overload = x.copy(), x.copy()
    columns = rng.random(x.shape).argsort(1)
    np.put_along_axis(saturated, columns[:, :2], rng.uniform(0.95, 1.05, (len(x), 2)), 1)
    overload[:, [0, 1, 5]] = 1.0
    return {
        "saturated": saturated,
        "overload": overload,
        "swapped": np.take_along_axis(x, columns, 1),
    }


def make_autoencoder(out: Path) -> Report:
    train, test = windows()
    rng = np.random.default_rng(SEED)
    sizes = (8, 6, 3, 6, 8)
    net: list[nn.Layer] = []
    for inputs, outputs in pairwise(sizes):
        net += [nn.Dense(rng, inputs, outputs), nn.tanh()]
    net.pop()  # the output is linear
    clean = np.tile(train, (CORRUPTIONS, 1))
    nn.fit(net, corrupted(clean, rng), clean, nn.squared_error_gradient, rng, epochs=60, rate=5e-3)
    model = write(autoencoder_spec([layer.parameters for layer in net[::2]]))
    path = out / "telemetry_ae_f32.tflite"
    path.write_bytes(model)
    normal = errors(model, test)
    by_kind = {kind: errors(model, x) for kind, x in abnormal(test, rng).items()}
    by_kind["all abnormal"] = np.concatenate(list(by_kind.values()))
    return path, [
        f"mean squared error on {len(normal)} held-out normal windows: mean {normal.mean():.4f}, "
        f"99th percentile {np.percentile(normal, 99):.4f}",
        *(
            f"{kind}: mean {wrong.mean():.4f}, AUC {auc(normal, wrong):.4f}"
            for kind, wrong in by_kind.items()
        ),
    ]


def autoencoder_spec(parameters: Sequence[Sequence[Array]]) -> ModelSpec:
    names = ["features", *(f"hidden{i}" for i in range(1, len(parameters))), "reconstruction"]
    sizes = [8, *(len(b) for _, b in parameters)]
    tensors = [TensorSpec(name, (1, size)) for name, size in zip(names, sizes, strict=True)]
    operators = []
    for i, (w, b) in enumerate(parameters):
        source, sink = names[i], names[i + 1]
        dense = sink if sink == names[-1] else f"{sink}_in"
        tensors += [
            TensorSpec.constant(f"{sink}_w", w.astype("float32")),
            TensorSpec.constant(f"{sink}_b", b.astype("float32")),
        ]
        operators.append(OpSpec("FULLY_CONNECTED", (source, f"{sink}_w", f"{sink}_b"), (dense,)))
        if dense != sink:
            tensors.append(TensorSpec(dense, (1, sizes[i + 1])))
            operators.append(OpSpec("TANH", (dense,), (sink,)))
    return ModelSpec(
        tensors=tuple(tensors),
        operators=tuple(operators),
        inputs=(names[0],),
        outputs=(names[-1],),
        description=f"Host telemetry autoencoder, features {', '.join(telemetry.NAMES)}",
        signature=SIGNATURE,
    )


def errors(model: bytes, x: Array) -> Array:
    """Mean squared reconstruction error of each row."""
    each: Array = ((run_tflite(model, x) - x) ** 2).mean(1)
    return each


def auc(normal: Array, abnormal: Array) -> float:
    """The chance that an abnormal row scores above a normal one: the area under the ROC curve."""
    below = np.searchsorted(np.sort(normal), abnormal)
    return float(below.mean() / len(normal))


if __name__ == "__main__":
    main()
