"""Identification: find a person among N by one image (1:N), and group images by person.

The people of the set's part `test`, whom no pretraining sees, are split in two by their names. On
one half the mean code, the similarity threshold and the distance of groups are chosen; the other
half is scored. Source of the measures: ISO/IEC 19795-1:2021; NIST, "Face Recognition Vendor Test,
Part 2: Identification", NISTIR 8271, 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from linear_probe.features.frozen import Features, Pictures
from linear_probe.probes.gallery import Gallery, Searches, gallery_of, rand_index
from linear_probe.records.measured import Figure
from linear_probe.tasks.sample import Sample
from linear_probe.tasks.task import Task, in_test_part
from ssl_faces import InputError
from ssl_faces.apps.grouping import cut, group_tree
from ssl_faces.data import FaceSet, in_test_share
from ssl_faces.data.sets.recognised import VerificationSet
from ssl_faces.rendered import RenderedFaces

GALLERIES = (10, 100, 500, 1000)
"""Numbers of people in a gallery, as far as there are more."""

CHOSEN_AT = 100
FALSE_POSITIVES = 0.1
"""The threshold is chosen for this FPIR in galleries of `CHOSEN_AT` people."""

_MOST = 4000  # images that are grouped
_DISTANCES = np.linspace(0.02, 1.2, 60)


class Chosen(NamedTuple):
    """What one half of the people teaches: the mean code, float64 [D], the cosine similarity of a
    match, the mean cosine distance up to which groups are merged, the people in the galleries of
    the threshold, and whether the distance is at the edge of those tried."""

    mean: Tensor
    threshold: float
    distance: float
    gallery: int
    at_edge: bool


class Identification(Task):
    """Rank-1 and rank-5 rates; at a threshold the rates of true and false positive identification
    (TPIR, FPIR) against the size of the gallery; and the adjusted Rand index of groups."""

    name = "identification"
    order = 4
    probe = "cosine similarity"
    needs = "LFW, CFP or rendered faces"
    baseline_side = 64

    @classmethod
    def serves(cls, faces: FaceSet) -> bool:
        if not isinstance(faces, VerificationSet | RenderedFaces) or not faces.pairs:
            return False
        return sum(record.person is not None for record in faces.records) > len(faces.people) > 0

    def _prepare(self) -> None:
        held_out = in_test_part(self.faces)
        names = np.array([record.person or "" for record in self.faces.records])
        names = np.where(held_out, names, "")
        # Not by the hash of the name alone, which may have decided who is a test person.
        self._tested = np.array([in_test_share(f"{self.name} {who}", 0.5) for who in names], bool)
        kept = []
        for half in (False, True):
            rows = np.flatnonzero((names != "") & (self._tested == half))
            gallery = self._gallery(names[rows], "has too few people with several pictures")
            kept += [rows[gallery.first], rows[gallery.probes]]
        self._names = names
        self.indices = np.sort(np.concatenate(kept))
        self.split = "half of the test people"
        self.protocol = (
            "cosine similarity of frozen features less their mean; a person's first picture is in "
            "the gallery, up to five others are searched for; expected rates over all galleries "
            "that can be drawn of the scored half of the people; mean, threshold (for an FPIR of "
            f"{FALSE_POSITIVES:.0%} in galleries of {CHOSEN_AT}) and distance of groups (average "
            "linkage) are chosen on the other half; intervals by bootstrap over people who are "
            "searched for"
        )

    def scored(self) -> np.ndarray:
        return self.indices[self._tested[self.indices]]

    def score(self, features: Features, pictures: Pictures) -> list[Figure]:
        return self.figures(features, self.choose(features))

    def choose(self, features: Features) -> Chosen:
        """Choose mean, threshold and distance on the half of the people that is not scored."""
        half = self._half(features, tested=False)
        mean = half.codes.double().mean(0)
        searches = Searches.of(half.codes, half.gallery, mean)
        size = min(CHOSEN_AT, searches.others.shape[1])
        tree = group_tree(half.codes[:_MOST], mean)
        people, once = half.people[:_MOST], np.ones((1, len(half.people[:_MOST])))
        scores = [float(rand_index(cut(tree, d), people, once)[0]) for d in _DISTANCES]
        best = int(np.argmax(scores))
        return Chosen(
            *(mean, searches.threshold(FALSE_POSITIVES, size), float(_DISTANCES[best]), size),
            at_edge=best in (0, len(_DISTANCES) - 1),
        )

    def figures(self, features: Features, chosen: Chosen) -> list[Figure]:
        """The figures of the scored half."""
        half = self._half(features, tested=True)
        searches = Searches.of(half.codes, half.gallery, chosen.mean)
        sample = self._sample(half.rows[half.gallery.probes])
        common: dict[str, Any] = {
            "hyperparameters": {
                "threshold": round(chosen.threshold, 6),
                "chosen in galleries of": chosen.gallery,
            },
            "note": (
                f"{len(half.gallery.first):,} people, {len(np.unique(half.gallery.person)):,} of "
                "them searched for"
            ),
        }
        figures = []
        for size in self.sizes(searches):
            for metric, values, better in (
                ("rank-1", searches.ranked(1, size), True),
                ("rank-5", searches.ranked(5, size), True),
                ("TPIR", searches.hits(chosen.threshold, size), True),
                ("FPIR", searches.false_positives(chosen.threshold, size), False),
            ):
                name = f"{metric}, gallery {size:,}"
                figures.append(sample.mean(name, values, higher_is_better=better, **common))
        return [*figures, self._groups(half, chosen)]

    @staticmethod
    def sizes(searches: Searches) -> list[int]:
        """The sizes of galleries that are scored: there must be more people than that."""
        most = searches.others.shape[1]
        return [size for size in GALLERIES if size <= most] or [most]

    def _groups(self, half: _Half, chosen: Chosen) -> Figure:
        people, rows = half.people[:_MOST], half.rows[:_MOST]
        groups = cut(group_tree(half.codes[:_MOST], chosen.mean), chosen.distance)
        sample = self._sample(rows)
        return Figure(
            "adjusted Rand index",
            float(rand_index(groups, people, np.ones((1, len(people))))[0]),
            *("", True, len(people), sample.name, rand_index(groups, people, sample.weights)),
            hyperparameters={"distance": round(chosen.distance, 4)},
            at_grid_edge=chosen.at_edge,
            note=f"{len(people):,} pictures of {len(np.unique(people)):,} people in "
            f"{groups.max() + 1:,} groups",
        )

    def _half(self, features: Features, tested: bool) -> _Half:
        wanted = np.isin(features.records, self.indices)
        rows = np.flatnonzero(wanted & (self._tested[features.records] == tested))
        records = features.records[rows]
        gallery = self._gallery(self._names[records], "has too few pictures that can be decoded")
        people = np.unique(self._names[records], return_inverse=True)[1]
        return _Half(features.values[torch.from_numpy(rows)], records, people, gallery)

    def _gallery(self, names: np.ndarray, fault: str) -> Gallery:
        gallery = gallery_of(names.tolist())
        if not len(gallery.probes) or len(gallery.first) < 3:
            raise InputError(f"{self.name}: {self.faces.title} {fault}; give a set with more")
        return gallery

    def _sample(self, records: np.ndarray) -> Sample:
        keys = [self.faces.records[i].key for i in records]
        return Sample(keys, self.replicates, self._names[records])


class _Half(NamedTuple):
    """Images of half of the people: codes [N, D], records [N], people [N], and the gallery."""

    codes: Tensor
    rows: np.ndarray
    people: np.ndarray
    gallery: Gallery


def rates_of(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """The rates of `Identification.figures` for an encoder's card, a row for each gallery."""
    names = {"rank-1": "rank_1", "rank-5": "rank_5", "TPIR": "tpir", "FPIR": "fpir"}
    rows: dict[int, dict[str, Any]] = {}
    for figure in figures:
        metric, of, size = figure.metric.rpartition(", gallery ")
        if of and metric in names:
            count = int(size.replace(",", ""))
            row = rows.setdefault(count, {"gallery": count, "n": figure.n})
            row[names[metric]] = {
                "value": round(figure.value, 2),
                "low": round(figure.low, 2),
                "high": round(figure.high, 2),
            }
    return [rows[size] for size in sorted(rows)]
