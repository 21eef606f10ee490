"""Experiments whose settings are a YAML file: `linear-probe VERB -c FILE --out DIR`."""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """An experiment by its command.

    Attributes:
        says: what it does, for `--help`.
        module, job: where its settings are, an `Experiment`; imported when it runs.
        configs: folder of its configs in `configs`.
    """

    says: str
    module: str
    job: str
    configs: str = "head"


VERBS = {
    "head": Verb(
        "train a paper's head, and score it as probes are scored",
        *("linear_probe.heads.job", "HeadJob"),
    ),
    "video": Verb(
        "score whole videos by the statistics of their frames",
        *("linear_probe.experiments.video.run", "VideoJob"),
    ),
    "audit": Verb(
        "compress a classifier: its cost, overall and by groups of people",
        *("linear_probe.experiments.audit.settings", "AuditJob", "audit"),
    ),
    "landmarks": Verb(
        "identify people by moving landmarks: train a Face-GCN, and score it",
        *("linear_probe.heads.face_gcn.run", "LandmarksJob"),
    ),
}
