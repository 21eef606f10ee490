"""Expression: seven classes, a linear classifier, on every set of expressions that is there.

FER-2013 `Training` to `PublicTest` (Goodfellow et al., "Challenges in Representation Learning",
ICML 2013 workshop), RAF-DB and AffectNet by their owners' splits, CK+ by folds of people, folders
of expressions, rendered faces by person.
"""

from __future__ import annotations

import numpy as np

from linear_probe.features import Features
from linear_probe.near_copies import has_near_copy
from linear_probe.tasks.classification import Classes
from linear_probe.tasks.labelled import Rows


class Expression(Classes):
    """Accuracy and mean class recall of multinomial logistic regression, and kNN's accuracy."""

    name = "expression"
    needs = "FER-2013, RAF-DB, AffectNet, CK+ or folders of expressions"
    label = "expression"

    def _prepare(self) -> None:
        self._found: dict[tuple[bytes, bytes], np.ndarray] = {}
        super()._prepare()

    def _near_copies(self, features: Features, rows: Rows) -> np.ndarray:
        train, test = (features.records[part] for part in (rows.train, rows.test))
        if self.faces.name != "fer2013":
            # Only there copies are known of; rendered faces are all alike to HOG.
            return np.zeros(len(test), dtype=bool)
        known = (train.tobytes(), test.tobytes())
        # The same for every encoder: looked for once.
        if known not in self._found:
            self._found = {known: has_near_copy(self.faces, train, test)}
        return self._found[known]
