"""Bootstrap: the uncertainty of a figure, given how its test rows depend on each other.

A replicate is a vector of weights: how often each test row was drawn. Figures are computed with
weights, so that rows, clusters (people) and pairs of people differ only in how weights are drawn.
Source: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def row_weights(n: int, replicates: int, seed: int) -> np.ndarray:
    """Draw n rows of n with replacement: float32 [replicates, n], each row summing to n."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, np.full(n, 1 / n), size=replicates).astype(np.float32)


def cluster_weights(clusters: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Draw whole clusters with replacement.

    Args:
        clusters: [N], which cluster each row belongs to.

    Returns:
        float32 [replicates, N]; rows of one cluster have the same weight.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    return row_weights(int(cluster.max()) + 1, replicates, seed)[:, cluster]


def pair_weights(people: np.ndarray, strata: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Weights of pairs that share people: two pairs with a person in common vary together.

    The covariance of two pairs' weights is that of the dyadic cluster-robust variance: 1 if they
    share a person, else 0. This matrix has negative eigenvalues, which count as 0, so that an
    interval is rather too wide than too narrow. Weights are log-normal, with mean 1. (The product
    of two people's multiplicities has variance 3 for each pair, also if people don't matter.)

    Sources: Aronow, Samii & Assenova, "Cluster-Robust Variance Estimation for Dyadic Data",
    Political Analysis 2015; eigenvalues: Cameron, Gelbach & Miller, "Robust Inference with Multiway
    Clustering", JBES 2011, section 2.3; weights with a covariance: Shao, "The Dependent Wild
    Bootstrap", JASA 2010.

    Args:
        people: int [N, 2], the two people of each pair, equal if it shows one.
        strata: [N]; the weights of each stratum sum to its number of pairs.

    Returns:
        float32 [replicates, N], positive.
    """
    _, ends = np.unique(people, return_inverse=True)
    ends = ends.reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), ends.T), shape=(ends.max() + 1,) * 2)
    component = connected_components(graph, directed=False)[1][ends[:, 0]]
    rng = np.random.default_rng(seed)
    weights = np.empty((replicates, len(ends)), dtype=np.float32)
    order = np.argsort(component, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(component[order])) + 1):
        root = np.sqrt(np.log(2)) * _root(ends[rows])
        normal = rng.standard_normal((replicates, root.shape[1])) @ root.T
        weights[:, rows] = np.exp(normal - (root**2).sum(axis=1) / 2)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        weights[:, rows] *= len(rows) / weights[:, rows].sum(axis=1, keepdims=True)
    return weights


_MOST_PAIRS = 1500
"""Connected pairs up to which the eigenvalues are computed, in seconds."""


def _root(ends: np.ndarray) -> np.ndarray:
    """A matrix [n, k] whose product with its transpose is the covariance of n pairs' weights."""
    _, number = np.unique(ends, return_inverse=True)
    incidence = np.zeros((len(ends), number.max() + 1))
    np.put_along_axis(incidence, number.reshape(-1, 2), 1.0, axis=1)
    if len(ends) > _MOST_PAIRS:
        return incidence  # as the product of multiplicities: wider
    values, vectors = np.linalg.eigh((incidence @ incidence.T > 0).astype(float))
    kept = values > 1e-9
    root: np.ndarray = vectors[:, kept] * np.sqrt(values[kept])
    return root


FEW_PEOPLE = 20
"""Fewer resampled people give intervals that are too narrow."""

_TOO_NARROW = "test people: intervals and p-values are too narrow"


def few_people_note(people: int) -> str:
    """The warning for figures whose bootstrap draws so few people; empty if there are enough."""
    return f"only {people} {_TOO_NARROW}" if people < FEW_PEOPLE else ""


def few_people_in(notes: Iterable[str]) -> list[str]:
    """These warnings among the notes of records, each once."""
    parts = dict.fromkeys(part for note in notes for part in note.split("; "))
    return [part for part in parts if part.endswith(_TOO_NARROW)]
