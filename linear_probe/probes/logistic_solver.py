"""Many multinomial logistic regressions on the same features, solved together.

Conv maps and pixels are so correlated that on plain weights L-BFGS takes hundreds of steps and
stops short of the optimum. So the weights are turned into the features' principal directions and
scaled by a bound on the curvature there, once for all problems (the bound is Böhning's,
"Multinomial logistic regression algorithm", 1992). Each step then is two matrix products for all
problems that have not converged.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST_PRECONDITIONED = 8192
"""Above this many directions their eigenvectors cost more than they save."""

_HISTORY = 10  # pairs that L-BFGS remembers
_BLOCK_BYTES = 64 << 20  # of logits at once
_SUFFICIENT = 1e-4  # share of the expected decrease that a step must reach (Armijo)
_MOST_HALVINGS = 12


class Design:
    """Features [N, D] in the basis the problems are solved in, with a column of ones for the bias.

    Fewer rows than features span R = N directions only, and the optimum lies among them: with an
    L2 penalty no weight is given to what no row has. Else R = D.

    Attributes:
        columns: [N, R + 1].
        variances: [R], mean squares of the columns but the last.
    """

    def __init__(self, features: Tensor) -> None:
        n, d = features.shape
        fewer = n < d and n <= MOST_PRECONDITIONED
        self.columns = features.new_ones(n, (n if fewer else d) + 1)
        self.vectors: Tensor | None = None
        if fewer:
            turned, lengths, directions = torch.linalg.svd(features, full_matrices=False)
            self.vectors = directions.T
            self.variances = lengths.square() / n
            torch.mul(turned, lengths, out=self.columns[:, :-1])
        elif d > MOST_PRECONDITIONED:
            self.columns[:, :-1] = features
            self.variances = features.square().mean(dim=0)
        else:
            variances, self.vectors = torch.linalg.eigh(features.T @ features / n)
            self.variances = variances.clamp_(min=0)
            torch.matmul(features, self.vectors, out=self.columns[:, :-1])

    def into(self, weight: Tensor) -> Tensor:
        """Weights [P, D, K] in this basis."""
        return weight if self.vectors is None else self.vectors.T @ weight

    def out_of(self, weight: Tensor) -> Tensor:
        """Weights [P, D, K] of the features as they were."""
        return weight if self.vectors is None else self.vectors @ weight


@torch.no_grad()
def solve_together(
    design: Design,
    targets: Tensor,
    l2: Tensor,
    rows: Tensor | None = None,
    *,
    most_steps: int = 200,
    tolerance: float = 1e-4,
    start: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The optimum of mean cross-entropy + l2/2 |weight|² for each of P problems, by L-BFGS: weights
    [P, D, K] and biases [P, K].

    Args:
        design: the features [N, D].
        targets: int64 [N], classes from 0.
        l2: [P].
        rows: bool [P, N], the rows that each problem is fitted on; None: all.
        most_steps: after which the best so far is taken.
        tolerance: a problem is solved where no preconditioned gradient is above it.
        start: weights and biases to start from; None: zeros.
    """
    problem = _Problems(design, targets, l2, rows)
    v = problem.pack(*start) if start else problem.zeros()
    best = v.clone()
    active = torch.arange(len(l2), device=l2.device)
    loss, gradient = problem.evaluate(v, active)
    steps: list[Tensor] = []
    changes: list[Tensor] = []
    for _ in range(most_steps):
        unsolved = gradient.abs().amax(dim=1) > tolerance
        if not unsolved.all():
            best[active] = v
            keep = unsolved.nonzero()[:, 0]
            active, v, loss, gradient = active[keep], v[keep], loss[keep], gradient[keep]
            steps, changes = [s[keep] for s in steps], [y[keep] for y in changes]
        if not len(active):
            break
        direction = -_quasi_newton(gradient, steps, changes)
        slope = (direction * gradient).sum(dim=1).double()
        new_v, new_loss, new_gradient = _search(
            problem, active, v, direction, slope, loss, tolerance
        )
        steps.append(new_v - v)
        changes.append(new_gradient - gradient)
        del steps[:-_HISTORY], changes[:-_HISTORY]
        # No step that lowers the loss: rounding decides now, this is the optimum.
        stuck = (steps[-1] == 0).all(dim=1)
        v, loss, gradient = new_v, new_loss, new_gradient.masked_fill(stuck[:, None], 0)
    best[active] = v
    return problem.unpack(best)


def _search(
    problem: _Problems,
    active: Tensor,
    v: Tensor,
    direction: Tensor,
    slope: Tensor,
    loss: Tensor,
    tolerance: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The whole step for each problem, halved until its loss falls enough; else no step."""
    new_v = v + direction
    new_loss, new_gradient = problem.evaluate(new_v, active)
    rate = torch.ones_like(slope)
    for _ in range(_MOST_HALVINGS):
        # Losses are summed in double, but of logits in the features' own precision.
        noise = torch.finfo(v.dtype).eps * loss.abs()
        bad = ~(new_loss <= loss + _SUFFICIENT * rate * slope + noise)
        again = bad.nonzero()[:, 0]
        if not len(again):
            return new_v, new_loss, new_gradient
        rate[again] /= 2
        new_v[again] = v[again] + rate[again, None].to(v) * direction[again]
        new_loss[again], new_gradient[again] = problem.evaluate(new_v[again], active[again])
    bad = ~(new_loss <= loss)
    new_v[bad], new_loss[bad] = v[bad], loss[bad]
    return new_v, new_loss, new_gradient


def _quasi_newton(gradient: Tensor, steps: list[Tensor], changes: list[Tensor]) -> Tensor:
    """L-BFGS's two loops, for all problems [P, Q] at once; the first guess is the identity."""
    q = gradient.clone()
    scales: list[tuple[Tensor, Tensor]] = []
    for s, y in zip(reversed(steps), reversed(changes), strict=True):
        curvature = (s * y).sum(dim=1, keepdim=True)
        # Of no step nothing is learnt.
        inverse = torch.where(curvature > 0, 1 / curvature, 0.0)
        alpha = inverse * (s * q).sum(dim=1, keepdim=True)
        q -= alpha * y
        scales.append((alpha, inverse))
    if steps:
        s, y = steps[-1], changes[-1]
        squared = y.square().sum(dim=1, keepdim=True)
        ratio = (s * y).sum(dim=1, keepdim=True) / squared
        q *= torch.where(squared > 0, ratio, 1.0).clamp(min=1e-6)
    for s, y, (alpha, inverse) in zip(steps, changes, reversed(scales), strict=True):
        beta = inverse * (y * q).sum(dim=1, keepdim=True)
        q += (alpha - beta) * s
    return q


class _Problems:
    """Losses and gradients of all problems, in preconditioned weights [P, (D + 1) K]."""

    def __init__(self, design: Design, targets: Tensor, l2: Tensor, rows: Tensor | None) -> None:
        self.design = design
        self.targets = targets
        self.l2 = l2.to(design.columns)
        self.rows = rows
        self.count = len(l2)
        self.classes = classes = int(targets.max()) + 1
        # Cross-entropy's curvature where all classes are equally likely.
        curvature = (1 - 1 / classes) / classes if classes > 1 else 0.25
        scale = (curvature * design.variances + self.l2[:, None]).rsqrt()
        bias = scale.new_full((self.count, 1), curvature**-0.5)
        self.scale = torch.cat([scale, bias], dim=1)[..., None]  # [P, D + 1, 1]
        if rows is None:
            self.counts = scale.new_full((self.count,), len(targets))
        else:
            self.counts = rows.sum(dim=1).to(scale)

    def zeros(self) -> Tensor:
        columns = self.design.columns
        return columns.new_zeros(self.count, columns.shape[1] * self.classes)

    def pack(self, weight: Tensor, bias: Tensor) -> Tensor:
        return (torch.cat([self.design.into(weight), bias[:, None]], 1) / self.scale).flatten(1)

    def unpack(self, v: Tensor) -> tuple[Tensor, Tensor]:
        w = v.view(self.count, -1, self.classes) * self.scale
        return self.design.out_of(w[:, :-1]), w[:, -1]

    def evaluate(self, v: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        """Losses (double) [A] and gradients [A, (D + 1) K] of the problems `active`."""
        columns, classes, scale = self.design.columns, self.classes, self.scale[active]
        w = v.view(len(active), -1, classes) * scale
        by_column = w.transpose(0, 1).flatten(1).contiguous()  # [D + 1, A K]
        loss = torch.zeros(len(active), dtype=torch.float64, device=v.device)
        gradient = torch.zeros_like(by_column)
        block = max(256, _BLOCK_BYTES // (by_column.shape[1] * v.element_size()))
        for start in range(0, len(columns), block):
            x, y = columns[start : start + block], self.targets[start : start + block]
            logits = (x @ by_column).view(len(x), len(active), classes)
            log_likely = torch.log_softmax(logits, dim=2)
            index = y[:, None, None].expand(-1, len(active), 1)
            share = (1 / self.counts[active])[None].expand(len(x), -1)  # of each row in the mean
            if self.rows is not None:
                share = share * self.rows[active, start : start + block].T
            loss -= (log_likely.gather(2, index)[..., 0] * share).sum(dim=0, dtype=torch.float64)
            residual = log_likely.exp_()
            residual.scatter_add_(2, index, residual.new_full((1, 1, 1), -1).expand(index.shape))
            residual *= share[..., None]
            gradient.addmm_(x.T, residual.flatten(1))
        gradient = gradient.view(-1, len(active), classes).transpose(0, 1)
        penalty = self.l2[active, None, None]
        loss += (w[:, :-1].double().square() * penalty / 2).sum(dim=(1, 2))
        gradient = torch.cat([gradient[:, :-1] + penalty * w[:, :-1], gradient[:, -1:]], dim=1)
        return loss, (gradient * scale).flatten(1)
