"""Checks that what a source gave is what it says it gives: else no figure can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from linear_probe.sources.source import Source
from ssl_faces import InputError
from ssl_faces.common.finite import non_finite_rows
from ssl_faces.data import FaceSet


def check_shapes(source: Source, found: Mapping[str, Tensor], rows: int) -> None:
    """Refuse what a source gave for `rows` pictures where it is not what it says it gives.

    Raises:
        InputError: a space is missing, not [rows, D], or of another length; says which.
    """
    for space, dim in source.dims.items():
        if space not in found:
            raise InputError(
                f"{source.name}: gave no features '{space}', though it says it has them; give an "
                "encoder whose feature_dims are those of its output"
            )
        shape = tuple(found[space].shape)
        if len(shape) != 2 or shape[0] != rows:
            raise InputError(
                f"{source.name}, {space}: gave features of shape {list(shape)} for {rows} "
                f"pictures, not [{rows}, {dim}]; give an encoder with one vector for each picture"
            )
        if shape[1] != dim:
            raise InputError(
                f"{source.name}, {space}: gave features of length {shape[1]}, though it says "
                f"{dim}; give an encoder whose feature_dims are those of its output"
            )


def check_finite(
    source: Source, space: str, values: Tensor, records: Sequence[int], faces: FaceSet
) -> None:
    """Refuse features float [N, D] of these N records that are NaN or infinite.

    Raises:
        InputError: says which encoder and space, how many pictures, and the first one's key.
    """
    bad = non_finite_rows(values)
    if len(bad):
        raise InputError(
            f"{source.name}, {space}: features of {len(bad):,} of {len(values):,} pictures of "
            f"{faces.name} are NaN or infinite, the first of {faces.records[records[bad[0]]].key}; "
            "check the encoder's weights, or take --precision 32"
        )
