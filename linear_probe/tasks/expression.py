"""Expression: a linear classifier of seven or eight classes, on every data set with expressions.

Data sets with a fixed split are scored on it (FER-2013 on `PublicTest`: Goodfellow et al.,
"Challenges in Representation Learning", ICML 2013 workshop), CK+ and Oulu-CASIA in folds of people.
For pairs of data sets see `ssl_faces.data.cross_database`.
"""

from __future__ import annotations

from linear_probe.tasks.classification import Classes


class Expression(Classes):
    """Accuracy and mean class recall of multinomial logistic regression, and kNN's accuracy."""

    name = "expression"
    order = 1
    required_labels = ("expression",)
    needs = ""  # of the registered data sets
