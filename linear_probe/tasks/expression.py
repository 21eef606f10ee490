"""Expression: seven classes or eight, a linear classifier, on every set of expressions there is.

FER-2013 `Training` to `PublicTest` (Goodfellow et al., "Challenges in Representation Learning",
ICML 2013 workshop), FERPlus, RAF-DB, AffectNet and SFEW by their owners' splits, CK+ and Oulu-CASIA
by folds of people, folders of expressions, rendered faces by person; across sets, see
`ssl_faces.data.cross_database`.
"""

from __future__ import annotations

from typing import ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from linear_probe.features.frozen import Features
from linear_probe.tasks.classification import Classes
from linear_probe.tasks.labelled import Rows
from linear_probe.tasks.near_copies import has_near_copy
from ssl_faces.data import FaceSet


class Expression(Classes):
    """Accuracy and mean class recall of multinomial logistic regression, and kNN's accuracy."""

    name = "expression"
    needs = "FER-2013, FERPlus, RAF-DB, AffectNet, SFEW, CK+, Oulu-CASIA or folders of expressions"
    label = "expression"

    _found: ClassVar[WeakKeyDictionary[FaceSet, dict[tuple[bytes, bytes], np.ndarray]]] = (
        WeakKeyDictionary()
    )

    def _near_copies(self, features: Features, rows: Rows) -> np.ndarray:
        train, test = (features.records[part] for part in (rows.train, rows.test))
        if self.faces.name not in ("fer2013", "ferplus"):
            # Only there copies are known of; rendered faces are all alike to HOG.
            return np.zeros(len(test), dtype=bool)
        # The same for every encoder and seed: looked for once.
        found = self._found.setdefault(self.faces, {})
        known = (train.tobytes(), test.tobytes())
        if known not in found:
            found[known] = has_near_copy(self.faces, train, test)
        return found[known]
