"""The committed demo models load, classify, tell normal from abnormal; training repeats byte by byte."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

MODELS = Path(__file__).resolve().parents[2] / "specs" / "models"


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(MODELS))
    return importlib.import_module("train")


def test_all_committed_files_are_small() -> None:
    models = sum(path.stat().st_size for path in MODELS.glob("*.tflite"))
    pictures = sum(path.stat().st_size for path in (MODELS / "digits").glob("*.png"))
    assert 0 < models < 200_000
    assert 0 < pictures < 60_000
    assert (MODELS / "telemetry.csv").stat().st_size < 40_000


def test_training_again_gives_the_committed_files(train: ModuleType, tmp_path: Path) -> None:
    for make in (train.make_digits, train.make_autoencoder):
        path, figures = make(tmp_path)
        assert path.read_bytes() == (MODELS / path.name).read_bytes(), "run `make demo-models` and commit"
        assert figures
    for picture in (tmp_path / "digits").iterdir():
        assert (MODELS / "digits" / picture.name).is_file()


def test_digits_are_classified(train: ModuleType) -> None:
    model = (MODELS / "digits_int8.tflite").read_bytes()
    run = train.interpreter(model)
    (source,), (sink,) = run.get_input_details(), run.get_output_details()
    assert (source["shape"].tolist(), source["dtype"]) == ([1, 8, 8, 1], np.int8)
    assert (sink["shape"].tolist(), sink["dtype"]) == ([1, 10], np.int8)
    assert sink["quantization"] == (pytest.approx(1 / 256), -128)
    _, _, x, labels = train.digits()
    assert train.accuracy(model, x, labels) >= 0.95


def test_pictures_hold_the_test_digits(train: ModuleType) -> None:
    _, _, x, labels = train.digits()
    paths = sorted((MODELS / "digits").glob("*.png"))
    assert [path.name for path in paths] == [f"digit_{i:03}_is_{labels[i]}.png" for i in range(40)]
    for path, image in zip(paths, x, strict=False):
        with Image.open(path) as picture:
            assert (picture.size, picture.mode) == ((64, 64), "L")
        np.testing.assert_allclose(train.read_picture(path), image, atol=1e-9)
    model = (MODELS / "digits_int8.tflite").read_bytes()
    assert train.accuracy(model, np.array([train.read_picture(path) for path in paths]), labels) >= 0.95


def test_autoencoder_tells_normal_from_abnormal(train: ModuleType) -> None:
    model = (MODELS / "telemetry_ae_f32.tflite").read_bytes()
    _, held_out = train.windows()
    normal = train.errors(model, held_out)
    assert np.isfinite(normal).all()
    for kind, x in train.abnormal(held_out, np.random.default_rng(3)).items():
        wrong = train.errors(model, x)
        assert np.isfinite(wrong).all()
        assert normal.mean() < wrong.mean(), kind
        assert train.auc(normal, wrong) > 0.9, kind


def test_telemetry_rows_are_scaled_features(train: ModuleType) -> None:
    raw = train.telemetry.read_csv(MODELS / "telemetry.csv")
    x = train.telemetry.scaled(raw)
    assert x.shape == raw.shape and len(x) > 300 and x.shape[1] == len(train.telemetry.FEATURES) == 8
    assert (x >= 0).all() and (x <= 1).all()
    row = np.array([[0.5, 0.75, 0.25, np.e - 1, 0.0, 3.0, 55.0, np.exp(4) - 1]])
    np.testing.assert_allclose(train.telemetry.scaled(row)[0], [0.5, 0.75, 0.25, 0.125, 0, 1.0, 0.55, 0.5])


def test_measuring_writes_what_reading_reads(train: ModuleType, tmp_path: Path) -> None:
    count = train.telemetry.measure(0.6, tmp_path / "t.csv")
    rows = train.telemetry.read_csv(tmp_path / "t.csv")
    assert rows.shape == (count, 8) and count >= 1
    assert (rows[:, 7] >= 1).all() and (rows[:, 2] > 0).all()


LAYERS = [
    ("Dense", (5, 4), (3, 5)),
    ("Conv3x3", (2, 3), (2, 4, 4, 2)),
    ("MaxPool2x2", (), (2, 4, 4, 3)),
    ("relu", (), (2, 6)),
    ("tanh", (), (2, 6)),
]


@pytest.mark.parametrize(("name", "sizes", "shape"), LAYERS, ids=[name for name, _, _ in LAYERS])
def test_backward_is_the_gradient(
    train: ModuleType, name: str, sizes: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    """Against central differences of sum(weight * y), for the input and every parameter."""
    rng = np.random.default_rng(0)
    make = getattr(train.nn, name)
    layer = make(rng, *sizes) if sizes else make()
    x = rng.normal(size=shape)
    weight = rng.normal(size=layer.forward(x).shape)
    analytic = [layer.backward(weight), *layer.gradients]
    for array, gradient in zip([x, *layer.parameters], analytic, strict=True):
        for place in rng.permutation(array.size)[:10]:
            at, step = np.unravel_index(place, array.shape), 1e-6
            sides = []
            for sign in (1, -1):
                array[at] += sign * step
                sides.append((weight * layer.forward(x)).sum())
                array[at] -= sign * step
            assert gradient[at] == pytest.approx((sides[0] - sides[1]) / (2 * step), abs=1e-5)
