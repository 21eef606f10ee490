"""Verbs whose settings are a YAML file: `linear-probe VERB -c FILE --out DIR`."""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """What a verb runs.

    Attributes:
        says: what it does, for `--help`.
        module: has the job and its runner.
        job: a dataclass: its fields are the settings.
        run: takes the job, its settings as plain JSON values and the folder `out`; gives records.
    """

    says: str
    module: str
    job: str
    run: str


VERBS = {
    "head": Verb(
        "train a paper's head, and score it as probes are scored",
        *("linear_probe.heads.run", "HeadJob", "run_head"),
    ),
    "video": Verb(
        "score whole videos by the statistics of their frames",
        *("linear_probe.experiments.video.run", "VideoJob", "run_video"),
    ),
    "audit": Verb(
        "compress a classifier: what it costs, in sum and by groups of people",
        *("linear_probe.experiments.audit.run", "AuditJob", "run_audit"),
    ),
    "landmarks": Verb(
        "who is it, by landmarks that move: train a Face-GCN, and score it",
        *("linear_probe.heads.face_gcn.run", "LandmarksJob", "run_landmarks"),
    ),
}
