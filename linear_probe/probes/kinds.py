"""Probes that every task of classes is scored by, beside its main probe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from ssl_faces.common.registries import import_modules

_KINDS: dict[str, type[ClassProbe]] = {}


class ClassProbe(ABC):
    """A classifier of frozen features.

    A subclass with a `name`, in a file of this folder, is registered: its accuracy stands in the
    table of every task of classes.

    Attributes:
        name: in tables.
        about: for the protocol, how it predicts.
        hyperparameters: as in `Record`; nothing is chosen on test rows.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    hyperparameters: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" in cls.__dict__:
            _KINDS[cls.name] = cls

    def chosen(self, targets: Tensor) -> dict[str, Any]:
        """The hyper-parameters for training targets int64 [N]."""
        return dict(self.hyperparameters)

    @abstractmethod
    def predict(self, train: Tensor, targets: Tensor, test: Tensor, device: str) -> Tensor:
        """The class of each test row, int64 [M] on the CPU, of features [N, D] with classes int64
        [N] and features [M, D]."""


def class_probes() -> list[ClassProbe]:
    """All of them, in the order of their names."""
    import_modules("linear_probe.probes")
    return [_KINDS[name]() for name in sorted(_KINDS)]
