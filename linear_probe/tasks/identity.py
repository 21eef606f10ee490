"""Identity: do two images show one person? Pairs of LFW, CPLFW or others, by similarity.

Source of the protocol: Huang et al., "Labeled Faces in the Wild", Univ. of Massachusetts TR 07-49,
2007 (view 2): folds of pairs that share no person; a fold's threshold is chosen on the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from linear_probe.features.frozen import Features, Pictures
from linear_probe.probes.verification import (
    pair_distances,
    pair_similarities,
    verify,
    weighted_rates,
    whitened_similarities,
)
from linear_probe.records.measured import Figure
from linear_probe.records.predictions import Predictions
from linear_probe.tasks.sample import Sample
from linear_probe.tasks.splits import components
from linear_probe.tasks.task import Task, rows_of
from ssl_faces import InputError
from ssl_faces.data import FacePair, FaceSet, distinct_pairs
from ssl_faces.data.sets.recognised import VerificationSet

MOST_MISSING = 0.2
"""Share of pairs without both pictures from which there is no figure."""

FALSE_ACCEPT = 0.01
"""Rate of different pairs taken for the same at which true accepts are given."""

EUCLIDEAN = "Euclidean distance"
WHITENED = "cosine similarity, whitened"


class Identity(Task):
    """Accuracy, area under the ROC curve, equal error rate and true-accept rate of verification."""

    name = "identity"
    order = 3
    probe = "cosine similarity"
    needs = "LFW, CPLFW, CFP or other pairs"
    baseline_side = 64

    pairs: list[FacePair]

    @classmethod
    def serves(cls, faces: FaceSet) -> bool:
        return bool(getattr(faces, "pairs", []))

    @classmethod
    def _missing(cls, face_sets: Sequence[FaceSet]) -> str:
        for faces in face_sets:
            if isinstance(faces, VerificationSet):
                source = f"{faces.title}'s {faces.pairs_source}"
                return f"identity needs pairs of {faces.title} pictures, and {source} is not there"
        return super()._missing(face_sets)

    def _prepare(self) -> None:
        listed: list[FacePair] = getattr(self.faces, "pairs", [])
        self.pairs = distinct_pairs(listed, self.faces.title)
        self.doubled = len(listed) - len(self.pairs) + getattr(self.faces, "doubled_pairs", 0)
        self.missing = len(getattr(self.faces, "missing_pairs", []))
        self._refuse_many_missing(self.missing)
        folds = len({pair.fold for pair in self.pairs})
        if folds < 2:
            raise InputError(
                f"identity: the pairs of {self.faces.name} are one fold, which leaves none to "
                "choose the threshold on; give the official pairs.txt with its folds"
            )
        self._number = {record.key: i for i, record in enumerate(self.faces.records)}
        self._person = person_numbers(self.pairs, {r.key: r.person for r in self.faces.records})
        self._drawn: Sample | None = None
        named = {self._number[key] for p in self.pairs for key in (p.first, p.second)}
        self.indices = np.array(sorted(named))
        self.split = f"pairs in {folds} folds"
        self.protocol = (
            "cosine similarity of frozen features, less the mean of the other folds' pictures, or "
            "their Euclidean distance; whitened: after PCA whitening learnt on the other folds' "
            "pictures, as many directions as serve best there; threshold chosen on the other "
            "folds; intervals by bootstrap over people: pairs that share a person vary together"
        )

    def _refuse_many_missing(self, missing: int) -> None:
        total = len(self.pairs) + self.missing
        if missing > MOST_MISSING * total:
            raise InputError(
                f"identity: {missing:,} of {total:,} pairs of {self.faces.title} lack a picture, "
                f"more than {MOST_MISSING:.0%}, so that a figure would be of other pairs than it "
                f"says; add the pictures{self._example()}"
            )

    def _example(self) -> str:
        present = {record.key for record in self.faces.records}
        for pair in getattr(self.faces, "missing_pairs", []):
            for key in (pair.first, pair.second):
                if key not in present:
                    return f", such as {key}"
        return " that can't be decoded"

    def score(self, features: Features, pictures: Pictures) -> list[Figure]:
        pairs = self._whole(features)
        x, (first, second, same, folds, *_) = features.values, pairs
        whitened = whitened_similarities(x, first, second, same, folds)
        dims = {"directions kept": whitened.dims.tolist()}
        # For the main probe first. Distances count as similarities the wrong way round.
        return [
            *self._figures(pairs, pair_similarities(x, first, second, folds)),
            *self._figures(pairs, -pair_distances(x, first, second), probe=EUCLIDEAN),
            *self._figures(
                pairs,
                whitened.similarities,
                probe=WHITENED,
                chosen=dims,
                at_grid_edge=whitened.at_grid_edge,
            ),
        ]

    def tested(self) -> np.ndarray | None:
        return self.indices

    def score_degraded(
        self, features: Features, pictures: Pictures, degraded: Iterable[Features]
    ) -> Iterator[list[Figure]]:
        pairs = self._whole(features)
        clean = pair_similarities(features.values, pairs.first, pairs.second, pairs.folds)
        for changed in degraded:
            rows = torch.from_numpy(rows_of(changed, features.records[pairs.pictures]))
            # Rows of the pictures in pairs alone, as `features` holds them.
            values = torch.zeros_like(features.values)
            values[torch.from_numpy(pairs.pictures)] = changed.values[rows]
            similarities = pair_similarities(
                features.values, pairs.first, pairs.second, pairs.folds, values
            )
            yield self._figures(pairs, similarities, thresholds_from=clean)

    def _whole(self, features: Features) -> _Pairs:
        """The pairs both of whose pictures have features."""
        row_of = {record: row for row, record in enumerate(features.records.tolist())}
        whole = [p for p in self.pairs if {self._number[key] for key in p[:2]} <= row_of.keys()]
        self._refuse_many_missing(len(self.pairs) - len(whole) + self.missing)
        same = np.array([pair.same for pair in whole], dtype=bool)
        folds = np.array([pair.fold for pair in whole], dtype=np.int64)
        if len(np.unique(folds)) < 2 or same.all() or not same.any():
            raise InputError(
                f"identity: only {len(whole)} pairs of {self.faces.name} have both pictures whole, "
                "too few to choose a threshold on other folds; check the pictures"
            )
        keys = [(pair.first, pair.second) for pair in whole]
        first, second = np.array([[row_of[self._number[key]] for key in both] for both in keys]).T
        people = np.array([[self._person[key] for key in both] for both in keys])
        return _Pairs(first, second, same, folds, keys, people)

    def _sample(self, pairs: _Pairs) -> Sample:
        """The pairs with their draws, the same for all feature spaces."""
        if self._drawn is None or self._drawn.keys != pairs.keys:
            rows = (
                f"{a} {b} {fold} {kind} {who}"
                for (a, b), fold, kind, who in zip(
                    *(pairs.keys, pairs.folds, pairs.same, pairs.people.tolist()), strict=True
                )
            )
            # By kind, as the protocol fixes how many pairs of each kind there are.
            self._drawn = Sample(pairs.keys, self.replicates, pairs.people, pairs.same, rows)
        return self._drawn

    def _figures(
        self,
        pairs: _Pairs,
        similarities: np.ndarray,
        *,
        thresholds_from: np.ndarray | None = None,
        probe: str = "",
        chosen: dict[str, Any] | None = None,
        at_grid_edge: bool = False,
    ) -> list[Figure]:
        same, folds, n = pairs.same, pairs.folds, len(pairs.same)
        learnt_from = similarities if thresholds_from is None else thresholds_from
        decided = verify(learnt_from, same, folds, similarities)
        sample = self._sample(pairs)
        once = np.ones((1, n), dtype=sample.weights.dtype)
        weights = np.concatenate([once, sample.weights])
        rates = weighted_rates(similarities, same, weights, [FALSE_ACCEPT])
        note = f"{len(self.pairs) - n + self.missing} pairs skipped (image missing)"
        if self.doubled:
            note += f"; {self.doubled:,} pairs listed twice count once"
        official, there = self.faces.official_pairs, (n, len(np.unique(folds)))
        if official is not None and there != official:
            note += (
                f"; {n:,} pairs in {there[1]} folds and not the official "
                f"{official[0]:,} in {official[1]}: near the published protocol, not equal to it"
            )
        # Of each fold what its threshold reached where it was chosen: what a choice between
        # feature spaces for that fold may rest on.
        others = [
            float(np.mean((learnt_from[folds != fold] >= threshold) == same[folds != fold]))
            for fold, threshold in zip(np.unique(folds), decided.thresholds, strict=True)
        ]
        thresholds = {
            "thresholds": [round(float(t), 6) for t in decided.thresholds],
            "other folds": {"accuracy": [round(100 * share, 4) for share in others]},
        }
        predictions = Predictions(
            *("verification", ["\t".join(both) for both in pairs.keys], same.astype(np.int64)),
            *((decided.correct == same).astype(np.int64), similarities[:, None]),
            ["different", "same"],
        )
        more: dict[str, Any] = {"note": note, "probe": probe, "at_grid_edge": at_grid_edge}
        right = decided.correct
        return [
            sample.percentage(
                *("accuracy", right.mean(), sample.weights @ right / n),
                hyperparameters=thresholds | (chosen or {}),
                predictions=predictions,
                **more,
            ),
            *(
                sample.percentage(metric, values[0], values[1:], better, **more)
                for metric, values, better in (
                    ("AUC", rates.area, True),
                    ("EER", rates.equal_error, False),
                    (f"TAR at FAR {FALSE_ACCEPT:.0%}", rates.accepted[FALSE_ACCEPT], True),
                )
            ),
        ]


def person_numbers(
    pairs: Sequence[FacePair], person_of: Mapping[str, str | None]
) -> dict[str, int]:
    """The number of the person in each image of the pairs, by key.

    Images without a known person show one person if pairs say so, else different people.
    """
    keys = dict.fromkeys(key for pair in pairs for key in pair[:2])
    # A person's name, or the image itself.
    label = {key: (person_of.get(key) is not None, person_of.get(key) or key) for key in keys}
    same = ((label[pair.first], label[pair.second]) for pair in pairs if pair.same)
    person = components(label.values(), same)
    return {key: person[label[key]] for key in keys}


class _Pairs(NamedTuple):
    """Pairs by their rows of the features: int [N], bool [N], int [N]; their keys, N, and the
    numbers of their people, int [N, 2]."""

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray
    folds: np.ndarray
    keys: list[tuple[str, str]]
    people: np.ndarray

    @property
    def pictures(self) -> np.ndarray:
        """int64 [P], the rows that any pair is of."""
        return np.unique(np.concatenate([self.first, self.second]))
