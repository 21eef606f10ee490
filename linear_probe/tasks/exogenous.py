"""An exogenous variable: what shapes a picture and should not change the answer.

On the test beds of `linear_probe.heads.thin_beds` the angle of digits and the scale of shapes. A
head's exogenous network learns it; a representation of the answer should say little of it.
"""

from __future__ import annotations

from linear_probe.tasks.classification import Classes


class Exogenous(Classes):
    """Accuracy and mean class recall of multinomial logistic regression, and kNN's accuracy."""

    name = "exogenous"
    needs = "a test bed, `--data digits` or `--data shapes`"
    label = "exogenous"
