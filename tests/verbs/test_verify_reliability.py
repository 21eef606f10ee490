"""How often `verify` is right, as the card says."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from ssl_faces.apps.verify import accuracy_of


def record(data_set, value):
    return {
        **{"task": "identity", "metric": "accuracy", "probe": "cosine similarity"},
        **{"feature_space": "identity", "data_set": data_set, "value": value},
        **{"low": value - 1, "high": value + 1, "n": 100},
    }


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([record("CFP frontal-profile", 55), record("LFW", 65)], "65.0 % [64.0, 66.0] of 100"),
        ([record("CFP frontal-profile", 55), {"task": "pose"}], "55.0 % [54.0, 56.0] of 100"),
        ([], ""),
    ],
)
def test_it_is_that_of_the_thresholds_set(records, expected):
    sentence = accuracy_of(cast(Any, SimpleNamespace(card={"records": records})))
    assert expected in sentence
    assert bool(sentence) == bool(expected)
