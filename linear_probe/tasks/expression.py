"""Expression: a linear classifier of seven or eight classes, on every data set with expressions.

Data sets with a fixed split are scored on it (FER-2013 on `PublicTest`: Goodfellow et al.,
"Challenges in Representation Learning", ICML 2013 workshop), CK+ and Oulu-CASIA in folds of people.
For pairs of data sets see `ssl_faces.data.cross_database`.
"""

from __future__ import annotations

from typing import ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from linear_probe.features.frozen import Features
from linear_probe.tasks.classification import Classes
from linear_probe.tasks.labelled import Split
from linear_probe.tasks.near_copies import has_near_copy
from ssl_faces.data import FaceSet


class Expression(Classes):
    """Accuracy and mean class recall of multinomial logistic regression, and kNN's accuracy."""

    name = "expression"
    order = 1
    required_labels = ("expression",)
    needs = ""  # of the registered data sets

    _known: ClassVar[WeakKeyDictionary[FaceSet, dict[tuple[bytes, bytes], np.ndarray]]] = (
        WeakKeyDictionary()
    )

    def _near_copies(self, features: Features, rows: Split) -> np.ndarray:
        train, test = (features.records[part] for part in (rows.train, rows.test))
        if not self.faces.near_copies:
            # Rendered faces, for one, are all alike to HOG.
            return np.zeros(len(test), dtype=bool)
        # The same for every encoder and seed: computed once.
        known = self._known.setdefault(self.faces, {})
        key = (train.tobytes(), test.tobytes())
        if key not in known:
            known[key] = has_near_copy(self.faces, train, test)
        return known[key]
