"""FaceCycle's protocols: how the paper and its authors' code scored frozen features.

Source: Chang, Chen and Chiu, "Learning Facial Representations from the Cycle-consistency of Face",
ICCV 2021, section 4, and the authors' code. Nothing is chosen on a validation split there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LinearRegression
from torch import Tensor

from linear_probe.features.frozen import Features, Pictures
from linear_probe.probes.verification import plain_similarities
from linear_probe.sources.changed_images import Change
from linear_probe.tasks import Expression, Figure, Identity, Pose, Task
from linear_probe.tasks.task import rows_of
from ssl_faces import InputError
from ssl_faces.pairs.augment import Augmentation, PairAugmentation

EPOCHS = 300
RATE = 30.0
RATE_STEPS = 80 / 300
"""After this share of the epochs, and again, the learning rate is divided by 10."""

BATCH = 256
VIEWS = 8
"""Augmented views of each image, whose features are computed once; the authors draw one anew for
each of the 300 epochs."""

AUGMENTATION = Augmentation(
    crop_scale=(0.8, 1.2), crop_ratio=(3 / 4, 4 / 3), grey_share=0.2, alike=False
)
"""Crop, mirroring and greying are the authors'; the strengths of the colour jitter, which the paper
does not state, are those of pretraining."""


def _augmented(images: Tensor, level: float, seeds: list[int]) -> Tensor:
    augmentation = PairAugmentation(images.shape[-1], AUGMENTATION)
    views = []
    with torch.random.fork_rng(devices=[]):
        for image, seed in zip(images, seeds, strict=True):
            torch.manual_seed(seed)
            views.append(augmentation(image.expand(1, 2, -1, -1, -1))[0, 0])
    return torch.stack(views)


class FaceCycleExpression(Expression):
    """One linear layer by SGD, the last epoch, nothing chosen."""

    probe = "linear layer by SGD, FaceCycle's protocol"
    epochs: ClassVar[int] = EPOCHS

    def _prepare(self) -> None:
        super()._prepare()
        self.protocol = (
            "FaceCycle's protocol: one linear layer on frozen features as they are, cross-entropy, "
            f"SGD with momentum 0.9, weight decay 1e-4, batches of {BATCH}, learning rate "
            f"{RATE:g} divided by 10 every {_step(self.epochs)} epochs, {self.epochs} epochs"
            f"{'' if self.epochs == EPOCHS else f' (the paper: {EPOCHS})'}, the last one; no "
            f"validation; in each epoch one of {VIEWS} views of each image ({AUGMENTATION}); "
            "unlike the paper's: this encoder's size and feature spaces, these face crops, exact "
            "copies of test pictures left out"
        )

    def views(self) -> list[Change]:
        # Random numbers are drawn by the factor's name.
        return [Change(f"view {k}", 1, "", True, _augmented) for k in range(VIEWS)]

    def tested(self) -> None:
        """Robustness is not part of the protocol."""
        return None

    def score(self, features: Features, pictures: Pictures) -> list[Figure]:
        splits = self.splits(features, pictures)
        layers = []
        for rows in splits:
            known = features.records[rows.train]
            views = [seen.values[torch.from_numpy(rows_of(seen, known))] for seen in self.seen]
            weight, bias = train_linear_layer(
                torch.stack(views),
                torch.from_numpy(self.labels[known]),
                self.epochs,
                self.seed,
                self.device,
            )
            layers.append(lambda x, weight=weight, bias=bias: x.to(weight) @ weight + bias)
        records = self.tested_records(features, splits)
        note = self.note(splits, self.labels[records])
        logits = self._logits(layers, features, [rows.test for rows in splits])
        return self.main_figures(records, logits, {}, note)

    @classmethod
    def score_together(
        cls, tasks: Sequence[Task], features: Features, pictures: Pictures
    ) -> list[list[Figure]]:
        return [task.score(features, pictures) for task in tasks]


class FaceCyclePose(Pose):
    """Linear regression without a penalty."""

    probe = "least squares, FaceCycle's protocol"

    def _prepare(self) -> None:
        super()._prepare()
        self.protocol = (
            "FaceCycle's protocol: linear regression on frozen features as they are by least "
            "squares (of many solutions the smallest), no penalty, nothing chosen; unlike the "
            "paper's: other pictures, landmark-derived pose, people of the test unseen in training"
        )

    def score(self, features: Features, pictures: Pictures) -> list[Figure]:
        splits = self.splits(features, pictures)
        predicted = []
        for rows in splits:
            train, test = (features.values[torch.from_numpy(r)] for r in (rows.train, rows.test))
            model = LinearRegression()
            model.fit(train.double().numpy(), self.targets[features.records[rows.train]])
            predicted.append(model.predict(test.double().numpy()))
        return self.figures(features, splits, np.concatenate(predicted))


class FaceCycleIdentity(Identity):
    """Cosine similarity of the features as they are, and a threshold."""

    probe = "cosine similarity, FaceCycle's protocol"

    def _prepare(self) -> None:
        super()._prepare()
        self.protocol = (
            "FaceCycle's protocol: cosine similarity of frozen features as they are, nothing taken "
            "off; threshold chosen on the other folds; unlike the paper's: these pairs and crops"
        )

    def tested(self) -> None:
        """Robustness is not part of the protocol."""
        return None

    def score(self, features: Features, pictures: Pictures) -> list[Figure]:
        pairs = self._whole(features)
        return self._figures(pairs, plain_similarities(features.values, pairs.first, pairs.second))


def facecycle_tasks(epochs: int = EPOCHS) -> Mapping[str, type[Task]]:
    """The protocol's tasks by name. `epochs`: of the linear layer."""

    class Trained(FaceCycleExpression):
        pass

    Trained.epochs = epochs
    return {"expression": Trained, "pose": FaceCyclePose, "identity": FaceCycleIdentity}


def train_linear_layer(
    views: Tensor, targets: Tensor, epochs: int = EPOCHS, seed: int = 0, device: str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Weight [D, K] and bias [K] of the last epoch of FaceCycle's SGD.

    Args:
        views: float [V, N, D], features of V views of the images, one of which is drawn for each
            image in each epoch.
        targets: int64 [N], classes from 0.
        seed: of the first weights, the order and the views.

    Raises:
        InputError: the weights don't stay finite.
    """
    count, n, dim = views.shape
    generator = torch.Generator().manual_seed(seed)
    classes = int(targets.max()) + 1
    # torch's own first weights of a linear layer, from a generator of our own.
    bound = dim**-0.5
    weight, bias = (
        ((torch.rand(*shape, generator=generator) * 2 - 1) * bound).to(device).requires_grad_()
        for shape in ((dim, classes), (classes,))
    )
    optimiser = torch.optim.SGD([weight, bias], lr=RATE, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, _step(epochs), 0.1)
    views, targets = views.to(device), targets.to(device)
    for _ in range(epochs):
        order = torch.randperm(n, generator=generator)
        view = torch.randint(count, (n,), generator=generator)
        for rows in order.split(BATCH):
            logits = views[view[rows].to(device), rows.to(device)] @ weight + bias
            loss = F.cross_entropy(logits, targets[rows.to(device)])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    weight, bias = weight.detach(), bias.detach()
    if not (weight.isfinite().all() and bias.isfinite().all()):
        raise InputError(
            f"FaceCycle's protocol: the linear layer's weights overflow at its learning rate of "
            f"{RATE:g}; these features are too large for it"
        )
    return weight, bias


def _step(epochs: int) -> int:
    """Epochs between two falls of the learning rate."""
    return max(1, round(RATE_STEPS * epochs))
