"""An exogenous variable: it shapes an image and should not change the answer.

On the test beds of `linear_probe.tasks.toy_sets` the angle of digits and the scale of shapes. A
head's exogenous network learns it; a representation of the answer should hold little of it.
"""

from __future__ import annotations

from linear_probe.tasks.classification import Classes


class Exogenous(Classes):
    """Accuracy and mean class recall of multinomial logistic regression, and kNN's accuracy."""

    name = "exogenous"
    order = 9
    required_labels = ("exogenous",)
    needs = "a test bed, `--data digits` or `--data shapes`"
