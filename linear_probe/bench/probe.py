"""`python -m linear_probe.bench.probe`: the logistic probe's speed beside scikit-learn's.

On features of FER-2013's training part from an untrained encoder, for the whole grid of L2 values
and several validation splits. scikit-learn fits some of the grid's values, spread evenly, and its
time for the whole grid is theirs in proportion.
"""

from __future__ import annotations

import resource
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from linear_probe.features.frozen import EncoderSource, FeatureCache, Pictures
from linear_probe.probes.logistic import LogisticProbe
from linear_probe.probes.standardise import Standardiser
from linear_probe.tasks.splits import stratified_group_split
from ssl_faces import InputError
from ssl_faces.bench.apart import run_module
from ssl_faces.common.arguments import Parser, whole
from ssl_faces.common.hardware import hardware
from ssl_faces.data import default_data_root, find_face_sets
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder

VALUES = 45
GRID = tuple(float(f"{10 ** (1 - 6 * k / (VALUES - 1)):.4g}") for k in range(VALUES))
"""L2 values from 10 to 1e-5."""


MOST_STEPS = 2000
"""Where scikit-learn's solver is stopped."""


def objective(x: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, l2: float) -> float:
    """What both minimise: mean cross-entropy + l2/2 times the squared weights."""
    loss = torch.nn.functional.cross_entropy((x @ weight + bias).double(), targets)
    return float(loss + l2 / 2 * weight.double().square().sum())


def compare(
    features: Tensor, targets: Tensor, splits: int, fits: int, grid: Sequence[float] = GRID
) -> str:
    """Both on features float [N, D] and classes int64 [N]; the lines of the result.

    Args:
        splits: validation splits, of 10 % each.
        fits: how many of the grid's values scikit-learn fits, on the first split.
    """
    groups = np.arange(len(targets)).astype(str)
    validations = np.stack(
        [stratified_group_split(targets.numpy(), groups, 0.1, seed) for seed in range(splits)]
    )
    started = time.perf_counter()
    predictors = LogisticProbe(grid).fit_splits(features, targets, validations)
    ours = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    x = Standardiser.of(features)(features).numpy()
    y, held_out = targets.numpy(), validations[0]
    picked = [grid[i] for i in np.unique(np.linspace(0, len(grid) - 1, fits).round().astype(int))]
    theirs, lines = 0.0, []
    for l2 in picked:
        model = LogisticRegression(C=1 / ((~held_out).sum() * l2), max_iter=MOST_STEPS)
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x[~held_out], y[~held_out])
        seconds = time.perf_counter() - started
        theirs += seconds
        accuracy = 100 * model.score(x[held_out], y[held_out])
        own = 100 * predictors[0].validation_accuracy[l2]
        fitted, labels = torch.from_numpy(x[~held_out]), targets[torch.from_numpy(~held_out)]
        weight, bias = LogisticProbe().solve(fitted, labels, l2)
        reached = objective(fitted, labels, weight, bias, l2)
        coefficients = torch.from_numpy(model.coef_.T).float()
        intercept = torch.from_numpy(model.intercept_).float()
        steps = int(model.n_iter_.max())
        lines.append(
            f"  L2 {l2:<9g} validation accuracy {own:.2f} %, scikit-learn {accuracy:.2f} %; "
            f"objective {reached:.6f}, "
            f"{objective(fitted, labels, coefficients, intercept, l2):.6f} "
            f"({seconds:.1f} s, {steps} steps{', its limit' if steps >= MOST_STEPS else ''})"
        )
    whole = theirs * len(grid) * splits / len(picked)
    head = (
        f"{len(features):,} x {features.shape[1]:,}, {len(grid)} L2 values x {splits} splits: "
        f"{ours:.1f} s, scikit-learn {whole:.0f} s (by {len(picked)} fits): "
        f"{whole / ours:.1f} times faster; peak memory {peak:.1f} GiB; " + hardware("cpu")
    )
    return "\n".join([head, *lines])


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", default=str(default_data_root()), help="folder with FER-2013")
    parser.add_argument("--out", default="runs/bench_probe", help="where features are kept")
    parser.add_argument("--splits", type=whole(1), default=3)
    parser.add_argument("--fits", type=whole(1), default=5, help="of scikit-learn, on each size")
    parser.add_argument("--dims", default="512,2048")
    arguments = parser.parse_args(argv)
    found = [f for f in find_face_sets(arguments.data, "train") if f.name == "fer2013"]
    if not found:
        raise InputError(f"{arguments.data}: no FER-2013 there; see the README on where to put it")
    torch.manual_seed(0)
    source = EncoderSource("untrained", FaceCycleEncoder().eval(), ["expression_map"])
    pictures = Pictures(found[0], np.arange(len(found[0])))
    cache = FeatureCache(Path(arguments.out))
    cache.fill([source], pictures)
    features = cache.read(source, pictures, "expression_map")
    records = found[0].records
    targets = torch.tensor([int(records[i].labels["expression"]) for i in features.records])
    # Some of the map's columns are as correlated as all of them.
    columns = torch.randperm(features.values.shape[1], generator=torch.Generator().manual_seed(0))
    for dim in map(int, arguments.dims.split(",")):
        print(compare(features.values[:, columns[:dim]], targets, arguments.splits, arguments.fits))
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run_module(main))
