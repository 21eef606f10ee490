"""The settings of `linear-probe audit`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from linear_probe.experiments.audit.compression import Compression
from linear_probe.records.record import Record
from linear_probe.records.runner import Experiment
from ssl_faces.common.ranges import PositiveFloat, PositiveInt, Seed, check_fields


@dataclass(frozen=True)
class Tuning:
    """Training after pruning: AdamW at one rate, on the training part, with the statistics of batch
    normalisation as they were.

    Attributes:
        learning_rate: of all steps.
        batch_size: pictures a step.
    """

    learning_rate: PositiveFloat = 1e-4
    batch_size: PositiveInt = 64

    def __post_init__(self) -> None:
        check_fields(self, "tuning")


@dataclass(frozen=True)
class AuditJob(Experiment):
    """Settings of one config in `configs/audit`: one of `head`, `encoder` and `onnx`, and data.

    Attributes:
        head: folder of a trained head, `OUT/heads/NAME/seedN` of `linear-probe head`, or its OUT,
            for the head of `seed`; it brings its task and its data.
        encoder: an encoder, as `linear-probe run --encoder` takes it: a linear probe is fitted on
            it, and both are compressed as one network.
        space: the encoder's feature space.
        onnx: an ONNX file of a classifier, that can be quantised: pictures [B, 3, S, S] in [0, 1]
            to logits in the order of the task's classes.
        task: `expression`, `attributes` or `classes`.
        target: of attributes, `gender` or `race`.
        data: a folder, `rendered`, or None for the usual one; of a head None is its own.
        train_csv, test_csv: tables of labels instead, as `linear-probe run` takes them.
        max_train: training pictures of a probe, and those that calibration and training after
            pruning draw from; None is all. A head has its own.
        groups: groupings to compare, perhaps none; None is all there are, such as `race` and
            `age band`.
        compressions: each is applied to the uncompressed classifier.
        tuning: how a network is trained after pruning, where a compression asks for it.
        seed: of what compressing draws: pictures of the calibration, order of the training. Splits
            and bootstrap are those of seed 0, as heads' are, so that figures of several seeds (and
            of heads of several seeds) into one folder rest on the same draws.
        bootstrap: replicates behind the intervals.
    """

    head: str | None = None
    encoder: str | None = None
    space: str | None = None
    onnx: str | None = None
    task: str = "expression"
    target: str | None = None
    data: str | None = None
    train_csv: str | None = None
    test_csv: str | None = None
    max_train: PositiveInt | None = None
    groups: list[str] | None = None
    compressions: list[Compression] = field(default_factory=list)
    tuning: Tuning = field(default_factory=Tuning)
    seed: Seed = 0
    bootstrap: PositiveInt = 1000

    module = "linear_probe.experiments.audit.run"

    def summary(self, out: Path, records: list[Record]) -> str:
        from linear_probe.experiments.audit.tables import AUDIT_FILE, AUDIT_PAGE, write_audit
        from linear_probe.reports.text_tables import as_text

        shown = "".join(f"\n{as_text(table)}\n" for table in write_audit(out))
        return f"{shown}\ntables: {out / AUDIT_FILE}\nwith plots: {out / AUDIT_PAGE}"
