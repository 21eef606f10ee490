"""A record of a probe."""

from __future__ import annotations

from linear_probe.records.record import Record

ONE = Record(
    task="expression",
    data_set="FER-2013",
    split="Training -> PublicTest",
    encoder="runs/a",
    feature_space="expression_map",
    probe="logistic regression",
    metric="accuracy",
    value=44.123,
    low=42.5,
    high=45.75,
    unit="%",
    higher_is_better=True,
    n=3589,
    seed=0,
    protocol="the protocol",
    note="2 left out",
)
