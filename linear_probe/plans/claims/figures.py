"""The figures that a claim compares, over seeds, from the records of its two arms."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from linear_probe.plans.claims.settings import Call, Claim
from linear_probe.records.record import RECORDS_FILE, Record, read_records
from linear_probe.records.replicates import REPLICATES_FILE, read_replicates
from linear_probe.stats.over_seeds import Estimate, bounds_of
from ssl_faces import InputError

_ONE_OF = (
    ("data_set", "data set: name it in the arguments"),
    ("probe", "probe: name it as the claim's `probe`"),
    ("task", "task: name it as the claim's `task`"),
)
_ONE_OF_A_SEED = (
    ("feature_space", "feature space: name it in the arm's `row`"),
    ("encoder", "encoder: name it in the arm's `row`"),
    ("split", "split: name it in the arm's `row`"),
    ("condition", "condition: have one kind of it scored"),
)


def seeds_there(calls: Sequence[Call], claim: Claim) -> set[int]:
    """Seeds of an arm that have records of all the claim's metrics.

    Raises:
        InputError: as `meant`.
    """
    of_metrics = [
        {_seed(call, record) for call in calls for record in meant(call, claim, metric)}
        for metric in claim.metrics
    ]
    return set.intersection(*of_metrics)


def _seed(call: Call, record: Record) -> int:
    # Encoders of several seeds have a folder each, and are all scored by one seed.
    return int(call.folder.name.removeprefix("seed")) if call.fits else record.seed


def figure(
    calls: Sequence[Call], claim: Claim, seeds: Collection[int]
) -> tuple[Estimate, list[Record]]:
    """The claim's metric in the folders of an arm, over these seeds, and records of one metric.

    Both are in the order of the seeds.

    Raises:
        InputError: there is no such figure.
    """
    values, draws = [], []
    for metric in claim.metrics:
        records, of_records = [], []
        for call in {one.folder: one for one in calls}.values():
            replicates = read_replicates(call.folder / REPLICATES_FILE)
            for record in meant(call, claim, metric):
                if _seed(call, record) not in seeds:
                    continue
                if record.name not in replicates:
                    raise InputError(
                        f"{call.folder / REPLICATES_FILE}: has none of {record.encoder}, "
                        f"{record.metric}; delete the folder, and run it anew"
                    )
                records.append(record)
                of_records.append(replicates[record.name])
        values.append([record.value for record in records])
        # Draws of test rows are the same for all metrics.
        draws.append(of_records)
    mean, mean_draws = np.mean(values, axis=0), np.mean(draws, axis=0)
    return Estimate(mean, mean_draws, tuple(sorted(seeds)), bounds_of(records[0])), records


def meant(call: Call, claim: Claim, metric: str) -> list[Record]:
    """The records of a folder that a claim is about, one for each seed.

    Raises:
        InputError: there are none, or several for a seed.
    """
    records = [
        record
        for record in read_records(call.folder / RECORDS_FILE)
        if record.metric == metric
        and record.condition.get("level") == claim.level
        and claim.probe in (None, record.probe)
        and claim.task in (None, record.task)
        and all(_matches(getattr(record, field), value) for field, value in call.row.items())
    ]
    if not records:
        raise InputError(f"{call.folder}: no record of {metric} as the claim needs it")
    by_seed: dict[int | None, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.seed):
        by_seed.setdefault(record.seed, []).append(record)
    # Each seed may have chosen its own feature space, on its training part.
    for seed, part in ({None: records} | by_seed).items():
        for field, mend in _ONE_OF if seed is None else _ONE_OF_A_SEED:
            several = {str(getattr(record, field)) for record in part}
            if len(several) > 1:
                there = ", ".join(sorted(several)) + ("" if seed is None else f" by seed {seed}")
                raise InputError(f"{call.folder}: {metric} of {there}; a claim needs one {mend}")
    return [record for part in by_seed.values() for record in part]


def _matches(value: str, wanted: str) -> bool:
    return value == wanted or value.endswith(f"/{wanted}")


def times_smaller(idea: Sequence[Record], without: Sequence[Record]) -> dict[str, float]:
    """How many times smaller the compressed file of `idea` is than that of `without` in float32
    and, where it is known, in float16; means over seeds.

    Raises:
        InputError: records without the size.
    """
    size, float32 = (_mean_cost(records, "compressed_bytes") for records in (idea, without))
    if size is None or float32 is None:
        raise InputError(
            f"at_least_smaller: records of {(idea if size is None else without)[0].probe} don't "
            "have a file's size; only those of audits do"
        )
    float16 = _mean_cost(without, "float16_bytes")
    smaller = {"float32": float32 / size}
    return smaller if float16 is None else {**smaller, "float16": float16 / size}


def _mean_cost(records: Sequence[Record], name: str) -> float | None:
    """The mean of a cost over records; None if one lacks it."""
    values = [record.hyperparameters.get("cost", {}).get(name) for record in records]
    return None if None in values else float(np.mean(values))
