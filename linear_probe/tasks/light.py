"""Light: where it comes from, by ridge regression, on faces whose light is known exactly.

A code of expression or identity should hold little information about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from linear_probe.tasks.regression import Regression

ANGLES = ("azimuth", "elevation")


class Light(Regression):
    """Mean absolute error of the light's azimuth and elevation, in degrees, of ridge regression."""

    name = "light"
    order = 7
    required_labels = ("light",)
    needs = "rendered faces"
    names = ANGLES

    def _target(self, labels: Mapping[str, Any]) -> np.ndarray:
        # The third number is the ambient share. Drawn lights are in front of the face, from -110 to
        # 110 degrees: no angle wraps around.
        return np.asarray(labels["light"])[:2]

    def _prepare(self) -> None:
        super()._prepare()
        self.protocol = self._ridge("exact azimuth and elevation of the light")
