"""Drawing people and pictures: every factor from (seed, person, picture) alone."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor

from ssl_faces.data.faces import EXPRESSIONS
from ssl_faces.data.rendered.factors import ACTION_UNITS, EXPRESSION_UNITS, FACTORS


def sample_factors(
    seed: int, person: np.ndarray, picture: np.ndarray, expression: np.ndarray
) -> dict[str, Tensor]:
    """Draw the factors of some faces, each from (seed, person, picture) alone.

    Args:
        seed: another seed gives other people.
        person: int [N], each person's number; decides the factors of `of="person"`.
        picture: int [N], which picture of that person.
        expression: int [N], indices into `EXPRESSIONS`.

    Returns:
        Every factor of `FACTORS`, float32 [N].
    """
    streams = [*FACTORS, "yaw again", "pitch again", "roll again", "intensity"]
    ofs = [FACTORS[name].of if name in FACTORS else "picture" for name in streams]
    of_picture = np.array([of == "picture" for of in ofs])[:, None]
    hashes = np.array([zlib.crc32(name.encode()) for name in streams])[:, None]
    shares = dict(
        zip(streams, uniform(seed, hashes, person, (picture + 1) * of_picture), strict=True)
    )
    for name in ("yaw", "pitch", "roll"):  # triangular: frontal is the commonest
        shares[name] = (shares[name] + shares[f"{name} again"]) / 2
    factors = {
        name: factor.low + (factor.high - factor.low) * shares[name]
        for name, factor in FACTORS.items()
    }
    # What people have or lack, and how much of it where they have it.
    long_hair = factors["hair_length"] > 0.5
    factors["hair_length"] = np.where(long_hair, 0.4 + 0.6 * factors["hair_length"], 0.15)
    factors["hair_cover"] = (factors["hair_cover"] > np.where(long_hair, 0, 0.16)).astype(float)
    for name, lack, least in (("beard", 0.5, 0.5), ("moustache", 0.6, 0.5), ("glasses", 0.8, 1.0)):
        share = (factors[name] - lack) / (1 - lack)
        absent = (share < 0) | ((name != "glasses") & long_hair)
        factors[name] = np.where(absent, 0.0, least + (1 - least) * share)
    factors["noise"] = np.where(factors["noise"] < 0.006, 0.0, factors["noise"])

    intensity = 0.5 + 0.5 * shares["intensity"]
    for unit in ACTION_UNITS:
        full = np.array([EXPRESSION_UNITS[name].get(unit, 0.0) for name in EXPRESSIONS])
        jitter = factors[unit]
        factors[unit] = np.clip(full[expression] * intensity * (0.8 + 0.4 * jitter), 0, 1)
        factors[unit] += 0.06 * jitter
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in factors.items()}


def uniform(
    seed: int, stream: int | np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Numbers in [0, 1), float64, each a hash of (seed, stream, first, second) (SplitMix64).

    Broadcasts its arguments, whole numbers from 0.
    """
    with np.errstate(over="ignore"):
        state = np.zeros(1, np.uint64)
        for word in (seed, stream, first, second):
            state = (state ^ np.asarray(word).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
