"""Identity: are two pictures of one person? LFW's pairs, by cosine similarity.

Source of the protocol: Huang et al., "Labeled Faces in the Wild", Univ. of Massachusetts TR 07-49,
2007 (view 2): folds of pairs that share no person; each fold is decided by what the others teach.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import accuracy_score

from linear_probe.features import Features, Pictures
from linear_probe.intervals import stratum_weights
from linear_probe.probes.verification import pair_similarities, verify, weighted_rates
from linear_probe.tasks.task import Figure, MissingData, Task, find, percentage, sample_of
from ssl_faces import InputError
from ssl_faces.data import FacePair, FaceSet

OFFICIAL = (6000, 10)
"""Pairs and folds of LFW's view 2."""

FALSE_ACCEPT = 0.01
"""Rate of different pairs taken for the same at which true accepts are told."""


class Identity(Task):
    """Accuracy, area under the ROC curve, equal error rate and true-accept rate of verification."""

    name = "identity"
    probe = "cosine similarity"
    baseline_side = 64

    pairs: list[FacePair]

    def _choose(self, face_sets: Sequence[FaceSet]) -> None:
        faces = find(face_sets, ["lfw", "rendered"])
        if faces is None:
            raise MissingData("identity needs LFW, which is not there")
        self.faces = faces
        self.pairs = list(getattr(faces, "pairs", []))
        if not self.pairs:
            raise MissingData(
                "identity needs pairs of LFW pictures, and LFW's pairs.txt is not there"
                if faces.name == "lfw"
                else "identity needs pairs, and there are too few rendered people for them"
            )
        folds = len({pair.fold for pair in self.pairs})
        if folds < 2:
            raise InputError(
                f"identity: the pairs of {faces.name} are one fold, which leaves none to choose "
                "the threshold on; give the official pairs.txt with its folds"
            )
        self._number = {record.key: i for i, record in enumerate(faces.records)}
        named = {self._number[key] for p in self.pairs for key in (p.first, p.second)}
        self.indices = np.array(sorted(named))
        self.data_set = "LFW" if faces.name == "lfw" else "rendered faces"
        self.split = f"pairs in {folds} folds"
        self.protocol = (
            "cosine similarity of frozen features, less the mean of the other folds' pictures; "
            "threshold chosen on the other folds; intervals by bootstrap over pairs within folds"
        )

    def score(self, features: Features, pictures: Pictures) -> list[Figure]:
        row_of = {record: row for row, record in enumerate(features.records.tolist())}
        rows, same_of, fold_of = [], [], []
        for pair in self.pairs:
            numbers = self._number[pair.first], self._number[pair.second]
            if all(number in row_of for number in numbers):
                rows.append([row_of[number] for number in numbers])
                same_of.append(pair.same)
                fold_of.append(pair.fold)
        same, folds = np.array(same_of, dtype=bool), np.array(fold_of, dtype=np.int64)
        if len(np.unique(folds)) < 2 or same.all() or not same.any():
            raise InputError(
                f"identity: only {len(rows)} pairs of {self.faces.name} have both pictures whole, "
                "too few to choose a threshold on other folds; check the pictures"
            )
        first, second = np.array(rows).T
        similarities = pair_similarities(features.values, first, second, folds)
        decided = verify(similarities, same, folds)

        # By fold and kind, as the protocol fixes how many pairs of each kind a fold has.
        weights = stratum_weights(2 * folds + same, self.replicates, self.seed)
        once = np.ones((1, len(same)), dtype=weights.dtype)
        rates = weighted_rates(similarities, same, np.concatenate([once, weights]), [FALSE_ACCEPT])
        left_out = len(self.pairs) - len(rows) + len(getattr(self.faces, "missing_pairs", []))
        note = f"{left_out} pairs left out for want of a picture"
        if self.faces.name == "lfw" and (len(rows), len(np.unique(folds))) != OFFICIAL:
            note += (
                f"; {len(rows):,} pairs in {len(np.unique(folds))} folds and not the official "
                f"{OFFICIAL[0]:,} in {OFFICIAL[1]}: near the published protocol, not equal to it"
            )
        thresholds = {"thresholds": [round(float(t), 6) for t in decided.thresholds]}
        accuracy = accuracy_score(same, decided.correct == same)
        n = len(same)
        keys = [self.faces.records[i].key for i in features.records]
        drawn = (
            f"{keys[a]} {keys[b]} {f} {s}"
            for a, b, f, s in zip(first, second, folds, same, strict=True)
        )
        sample = sample_of(drawn, self.replicates, self.seed)
        return [
            percentage(
                *("accuracy", accuracy, weights @ decided.correct / n, n, sample),
                hyperparameters=thresholds,
                note=note,
            ),
            *(
                percentage(metric, values[0], values[1:], n, sample, note=note, **more)
                for metric, values, more in (
                    ("AUC", rates.area, {}),
                    ("EER", rates.equal_error, {"higher_is_better": False}),
                    (f"TAR at FAR {FALSE_ACCEPT:.0%}", rates.accepted[FALSE_ACCEPT], {}),
                )
            ),
        ]
