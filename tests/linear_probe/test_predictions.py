"""Predictions kept beside records: read as written, refused when broken."""

import numpy as np
import pytest

from linear_probe.records.predictions import Predictions, read_predictions, write_predictions
from ssl_faces import InputError


def some():
    return Predictions(
        "classification",
        ["a.jpg", "b\udcff.jpg", "c.jpg"],
        np.array([0, 1, 1]),
        np.array([0, 0, 1]),
        np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], dtype=np.float32),
        ["no", "yes"],
        {"race": ["x", "y", "x"]},
    )


def test_read_as_written(tmp_path):
    write_predictions(tmp_path / "p" / "x.safetensors", some())
    found = read_predictions(tmp_path / "p" / "x.safetensors")
    for name, value in vars(some()).items():
        np.testing.assert_array_equal(getattr(found, name), value)


def test_none_and_broken(tmp_path):
    assert read_predictions(tmp_path / "x.safetensors") is None
    (tmp_path / "x.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="can't be read"):
        read_predictions(tmp_path / "x.safetensors")


def test_columns_of_different_lengths():
    with pytest.raises(ValueError, match="different lengths"):
        Predictions("regression", ["a"], np.zeros(2), np.zeros(2), np.zeros((2, 0)))
