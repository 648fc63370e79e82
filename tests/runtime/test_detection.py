"""Detectors with TFLite_Detection_PostProcess: whole models against TFLite, and what the operator refuses."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from runtime import Interpreter
from runtime.backends.tflite import interpreter_module
from runtime.errors import ModelError, UnsupportedError
from runtime.exporters.quantize import quantize
from runtime.exporters.tflite import ModelSpec, OpSpec, TensorSpec
from runtime.graph import Array
from runtime.importers.tflite import load
from runtime.infer import infer
from tests.conformance.case import written
from tests.conformance.detection import DECODING

SIZE, CLASSES = 32, 5
OPTIONS: dict[str, Any] = {
    "max_detections": 8, "max_classes_per_detection": 1, "num_classes": CLASSES,
    "nms_score_threshold": 0.3, "nms_iou_threshold": 0.5, **DECODING,
}  # fmt: skip


class Builder:
    """A float model as it grows, its weights drawn."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(5)
        self.tensors, self.operators = list[TensorSpec](), list[OpSpec]()

    def tensor(self, name: str, *shape: int, dtype: str = "float32") -> str:
        self.tensors.append(TensorSpec(name, shape, dtype))
        return name

    def constant(self, name: str, data: Array) -> str:
        self.tensors.append(TensorSpec.constant(name, data))
        return name

    def add(self, kind: str, inputs: tuple[str, ...], name: str, *shape: int, **options: Any) -> str:
        self.operators.append(OpSpec(kind, inputs, (self.tensor(name, *shape),), options))
        return name

    def conv(self, x: str, name: str, size: int, depth: tuple[int, int], kernel: int, **options: Any) -> str:
        scale = 1.5 / np.sqrt(kernel * kernel * depth[0])
        weights = self.rng.normal(0, scale, (depth[1], kernel, kernel, depth[0])).astype(np.float32)
        bias = self.rng.normal(0, 0.2, depth[1]).astype(np.float32)
        operands = x, self.constant(f"{name}/w", weights), self.constant(f"{name}/b", bias)
        return self.add("CONV_2D", operands, name, 1, size, size, depth[1], **options)


def grid(size: int, extents: tuple[float, ...]) -> Array:
    """Anchors y, x, h, w of a feature map, `extents` at each of its places."""
    at = (np.arange(size) + 0.5) / size
    y, x, extent = np.meshgrid(at, at, extents, indexing="ij")
    return np.stack([y, x, extent, 1.3 * extent], -1).reshape(-1, 4).astype(np.float32)


def ssd() -> tuple[ModelSpec, Array]:
    """A small single-shot detector up to its encoded boxes and scores, and its anchors: two feature maps,
    three boxes at each place of them."""
    b = Builder()
    x = b.tensor("image", 1, SIZE, SIZE, 3)
    down = {"stride_w": 2, "stride_h": 2, "fused_activation_function": "RELU6"}
    x = b.conv(x, "stem", 16, (3, 12), 3, **down)
    maps = [(8, b.conv(x, "map 0", 8, (12, 16), 3, **down))]
    maps.append((4, b.conv("map 0", "map 1", 4, (16, 24), 3, **down)))
    parts: dict[str, list[str]] = {"boxes": [], "classes": []}
    for (size, feature), depth in zip(maps, (16, 24), strict=True):
        for part, width in (("boxes", 4), ("classes", CLASSES + 1)):
            y = b.conv(feature, f"{part} of {feature}", size, (depth, 3 * width), 1)
            parts[part].append(b.add("RESHAPE", (y,), f"{y}/flat", 1, size * size * 3, width,
                                     new_shape=(1, size * size * 3, width)))  # fmt: skip
    anchors = np.concatenate([grid(8, (0.15, 0.2, 0.3)), grid(4, (0.4, 0.5, 0.7))])
    b.add("CONCATENATION", tuple(parts["boxes"]), "encodings", 1, len(anchors), 4, axis=1)
    b.add("CONCATENATION", tuple(parts["classes"]), "logits", 1, len(anchors), CLASSES + 1, axis=1)
    b.add("LOGISTIC", ("logits",), "scores", 1, len(anchors), CLASSES + 1)
    return ModelSpec(tuple(b.tensors), tuple(b.operators), ("image",), ("encodings", "scores")), anchors


def with_detections(model: ModelSpec, anchors: Array, **options: Any) -> ModelSpec:
    """The detector with boxes, classes, scores and their number as outputs; integers dequantised first."""
    options = {**OPTIONS, **options}
    tensors, operators, ends = list(model.tensors), list(model.operators), list[str]()
    of = {tensor.name: tensor for tensor in tensors}
    for name in model.outputs:
        ends.append(name)
        if of[name].dtype != "float32":
            ends[-1] = f"{name}/real"
            tensors.append(TensorSpec(ends[-1], of[name].shape))
            operators.append(OpSpec("DEQUANTIZE", (name,), (ends[-1],)))
    most = options["max_detections"] * options["max_classes_per_detection"]
    outputs = {"boxes": (1, most, 4), "classes": (1, most), "confidences": (1, most), "number": (1,)}
    tensors += [TensorSpec.constant("anchors", anchors), *(TensorSpec(*item) for item in outputs.items())]
    operators.append(OpSpec("TFLite_Detection_PostProcess", (*ends, "anchors"), tuple(outputs), options))
    return replace(model, tensors=tuple(tensors), operators=tuple(operators), outputs=tuple(outputs))


def images(count: int) -> list[Array]:
    """Noise of several sizes, as float images."""
    rng = np.random.default_rng(1)
    return [
        np.kron(rng.uniform(-1, 1, (1, SIZE // n, SIZE // n, 3)), np.ones((1, n, n, 1))).astype(np.float32)
        for n in (1, 2, 4, 8) * (count // 4)
    ]


def outputs(interpreter: Any, image: Array) -> list[Array]:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return [interpreter.get_tensor(details["index"]) for details in interpreter.get_output_details()]


@pytest.mark.parametrize("kind", ["float32", "int8"])
@pytest.mark.parametrize(
    "options",
    [
        {}, {"max_classes_per_detection": 3}, {"use_regular_nms": True, "max_detections": 500},
        {"use_regular_nms": True, "detections_per_class": 2, "max_detections": 30},
    ],
)  # fmt: skip
def test_a_detector_finds_what_it_finds_in_tflite(
    kind: str, options: dict[str, Any], tflite_interpreter: Callable[..., Any]
) -> None:
    """In the order of TFLite, zeros after the last one."""
    model, anchors = ssd()
    if kind == "int8":
        model = quantize(model, [[image] for image in images(8)])
        scale, zero = model.tensors[0].scale[0], model.tensors[0].zero_point[0]
    data = written(with_detections(model, anchors, **options))
    resolver = interpreter_module().OpResolverType.BUILTIN_REF
    ours = Interpreter(model_content=data, experimental_op_resolver_type=resolver)
    ours.allocate_tensors()
    theirs, numbers = tflite_interpreter(data), set[int]()
    for image in images(8):
        if kind == "int8":
            image = np.clip(np.round(image / scale) + zero, -128, 127).astype(np.int8)
        *got, number = outputs(ours, image)
        *want, expected = outputs(theirs, image)
        assert number.tolist() == expected.tolist()
        numbers.add(int(number[0]))
        filled = int(number[0]) * options.get("max_classes_per_detection", 1)
        assert not any(array[:, filled:].any() for array in got)
        rows, theirs_rows = (detections(arrays, filled) for arrays in (got, want))
        if kind == "int8" and options:
            rows, theirs_rows = (reordered(array) for array in (rows, theirs_rows))
        np.testing.assert_allclose(rows, theirs_rows, rtol=0, atol=1e-5)
    assert max(numbers) > 1, "the detector of this test finds nothing"


def detections(arrays: list[Array], count: int) -> Array:
    """Rows of score, four corners, class."""
    boxes, classes, scores = arrays
    return np.concatenate([scores[0, :count, None], boxes[0, :count], classes[0, :count, None]], 1)


def reordered(rows: Array) -> Array:
    """By score, box and class: scores of 8 bits are often equal, and then TFLite leaves the order of a box's
    classes open, and tflite-runtime 2.14 has its own order of boxes of several classes."""
    return np.array(sorted(rows.tolist()))


# ---------------------------------------------------------------- one operator


def alone(scores: Array, anchors: Array | None = None, **options: Any) -> bytes:
    """The operator on boxes as an input, far apart from each other."""
    count, classes = scores.shape
    if anchors is None:
        anchors = np.array([(i, i, 0.5, 0.5) for i in range(count)], np.float32)
    model = ModelSpec(
        (TensorSpec("encodings", (1, count, 4)), TensorSpec.constant("scores", scores[None])),
        (), ("encodings",), ("encodings", "scores"),
    )  # fmt: skip
    return written(with_detections(model, anchors, **{"num_classes": classes, **options}))


def detected(model: bytes, scores: Array) -> list[Array]:
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    return outputs(interpreter, np.zeros((1, len(scores), 4), np.float32))


def test_of_equal_scores_the_lower_class_and_the_first_box_come_first(
    tflite_interpreter: Callable[..., Any],
) -> None:
    """tflite-runtime 2.14 takes the higher class first, by an order that is none; its successor is ours."""
    scores = np.array([[0.5, 0.9, 0.5], [0.5, 0.5, 0.9], [0.5, 0.5, 0.5]], np.float32)
    model = alone(scores, use_regular_nms=True, max_detections=9)
    got = detected(model, scores)
    assert got[1][0].tolist() == [1, 2, 0, 0, 0, 1, 1, 2, 2]
    assert got[0][0, :, 0].tolist() == [-0.25, 0.75, -0.25, 0.75, 1.75, 0.75, 1.75, -0.25, 1.75]
    if sys.version_info >= (3, 12):
        want = outputs(tflite_interpreter(model), np.zeros((1, 3, 4), np.float32))
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_box_that_ends_before_it_begins_stops_the_run() -> None:
    scores = np.array([[0.5, 0.9]], np.float32)
    with pytest.raises(RuntimeError, match="TFLite_Detection_PostProcess#0"):
        detected(alone(scores, np.array([(0, 0, 1, -1)], np.float32)), scores)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_detections": 0}, "max_detections = 0, expected at least 1"),
        ({"max_classes_per_detection": -1}, "max_classes_per_detection = -1"),
        ({"num_classes": 0}, "num_classes = 0, expected at least 1"),
        ({"num_classes": 4}, "scores of 2 classes for num_classes = 4"),
        ({"nms_iou_threshold": 0.0}, "nms_iou_threshold = 0.0, expected more than 0"),
        ({"nms_iou_threshold": 1.5}, "nms_iou_threshold = 1.5"),
        ({"y_scale": 0}, "y_scale = 0, expected a number to divide by"),
        ({"w_scale": "wide"}, "TFLite_Detection_PostProcess#0: w_scale = 'wide', expected a finite number"),
        ({"detections_per_class": 2.5}, "detections_per_class = 2.5, expected an integer"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    scores = np.array([[0.5, 0.9]], np.float32)
    model = ModelSpec(
        (
            TensorSpec("encodings", (1, 1, 4)), TensorSpec.constant("scores", scores[None]),
            TensorSpec.constant("anchors", np.ones((1, 4), np.float32)),
            *(TensorSpec(f"y{i}", (1,)) for i in range(4)),
        ),
        (OpSpec("TFLite_Detection_PostProcess", ("encodings", "scores", "anchors"),
                ("y0", "y1", "y2", "y3"), {**OPTIONS, "num_classes": 2, **options}),),
        ("encodings",), ("y0",),
    )  # fmt: skip
    with pytest.raises(ModelError, match=message):
        infer(load(written(model), "m"))


def test_a_custom_operator_that_is_not_known_is_named() -> None:
    model = alone(np.ones((1, 2), np.float32))
    with pytest.raises(
        UnsupportedError, match=r"CUSTOM#0: custom operator 'TFLite_Detection_PostProcesz' is"
    ):
        load(model.replace(b"PostProcess", b"PostProcesz"), "m")
    with pytest.raises(UnsupportedError, match="the tflite backend may run this model"):
        load(model.replace(b"TFLite_Detection_PostProcess", b"ADD\0" + bytes(24)), "m")


def test_options_that_are_no_flexbuffer_are_refused() -> None:
    model = alone(np.ones((1, 2), np.float32))
    with pytest.raises(ModelError, match="m: TFLite_Detection_PostProcess#0: flexbuffer: "):
        load(model.replace(b"w_scale", b"z_scale"), "m")
