"""Sampling of people and pictures: each factor depends only on (seed, person, picture)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import EXPRESSIONS
from ssl_faces.rendered.factors import ACTION_UNITS, EXPRESSION_UNITS, FACTORS, OCCLUDERS

Nuisances = Literal["none", "mild", "all", "wide"]
"""Variation other than person, expression and pose: `none` is a studio (even light, plain
background, perfect camera); `mild` varies light, place and background a little and adds some noise;
`all` adds profiles, hard light, clutter, near and far cameras, occluders, blur, low resolution and
JPEG; `wide` also changes people between their pictures: age, glasses, beard, moustache, fringe and
parting."""

# Sampling ranges that differ from the factor's range.
_POSE = {"yaw": (-60.0, 60.0), "pitch": (-25.0, 25.0), "roll": (-25.0, 25.0)}
_STUDIO = {
    "light_azimuth": (-15.0, 15.0),
    "light_elevation": (20.0, 30.0),
    **dict.fromkeys(("shift_x", "shift_y", "gradient_x", "gradient_y", "warmth"), (0.0, 0.0)),
    **dict.fromkeys(("background_hue", "background_value", "clothes_hue"), (0.5, 0.5)),
    "ambient": (0.65, 0.65),
    "zoom": (0.82, 0.82),
}
_MILD = {
    "light_azimuth": (-65.0, 65.0),
    "light_elevation": (-5.0, 60.0),
    "ambient": (0.50, 0.80),
    "exposure": (0.80, 1.12),
    "zoom": (0.74, 0.90),
    "shift_x": (-0.07, 0.07),
    "shift_y": (-0.07, 0.07),
    "background_value": (0.15, 0.9),
    "noise": (-0.008, 0.022),
}
# What changes pixels but not the impression (place, roll, light, exposure) varies a lot; what hides
# the expression (occluders, low resolution, blur, noise, JPEG, profiles) is rarer.
_ALL = {
    "yaw": (-90.0, 90.0),
    "pitch": (-30.0, 30.0),
    "roll": (-35.0, 35.0),
    "light_azimuth": (-120.0, 120.0),
    "light_elevation": (-30.0, 80.0),
    "ambient": (0.36, 0.80),
    "exposure": (0.60, 1.40),
    "camera_distance": (3.2, 10.0),
    "zoom": (0.64, 0.98),
    "shift_x": (-0.16, 0.16),
    "shift_y": (-0.16, 0.16),
    "background_value": (0.0, 1.0),
    "clutter": (-0.3, 1.0),
    "occluder": (0.0, 0.0),  # see `_OCCLUDED`
    "occluder_x": (-0.6, 0.6),
    "occluder_y": (-0.7, 0.5),
    "resolution": (0.5, 2.6),
    "blur": (-0.012, 0.009),
    "noise": (-0.010, 0.035),
    "jpeg_quality": (-60.0, 95.0),
}
_PROFILE = 1.6
"""With all nuisances, |yaw| is 90° times a triangular sample to this power: profiles are rarer."""
_LEAST_INTENSITY = 0.6
"""Of pictures that are not neutral: fainter expressions are confused with people's features."""
_OFF = ("exposure", "camera_distance", "occluder", "resolution", "blur", "noise", "jpeg_quality")
_RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "none": _POSE | {name: (FACTORS[name].default,) * 2 for name in (*_OFF, "clutter")} | _STUDIO,
    "mild": _POSE | {name: (FACTORS[name].default,) * 2 for name in (*_OFF, "clutter")} | _MILD,
    "all": _ALL,
    "wide": _ALL,
}
_CHANGING = {"glasses", "beard", "moustache", "fringe", "parting"}
"""What changes between the pictures of a person, with wide nuisances."""
_YEARS = 15.0
"""Largest difference of a picture's age from the person's, with wide nuisances."""
_OCCLUDED = 0.08
"""Share of pictures with an occluder of any kind, with all nuisances."""
_LEAST = {"noise": 0.006, "blur": 0.002, "jpeg_quality": 25.0, "clutter": 0.0}
"""A nuisance below this value is off."""


class Drawn(NamedTuple):
    """Sampled faces."""

    factors: dict[str, Tensor]  # every factor of FACTORS, float32 [N]
    intensity: Tensor  # of the expression, 0 to 1, float32 [N]; 0 where neutral


def check_nuisances(nuisances: str) -> None:
    """Raises InputError if there is no such level."""
    if nuisances not in get_args(Nuisances):
        levels = ", ".join(get_args(Nuisances))
        raise InputError(f"rendered: no nuisances {nuisances!r}; choose one of {levels}")


def sample_factors(
    seed: int,
    person: np.ndarray,
    picture: np.ndarray,
    expression: np.ndarray,
    nuisances: Nuisances = "mild",
) -> Drawn:
    """Sample the factors of faces, each from (seed, person, picture) only.

    Args:
        seed: another seed gives other people.
        person: int [N], each person's number; decides the factors of `of="person"`.
        picture: int [N], which picture of that person.
        expression: int [N], indices into `EXPRESSIONS`.
        nuisances: see `Nuisances`; the expressions are the same in all, the people in all but
            `wide`.

    Raises:
        InputError: no such nuisances.
    """
    check_nuisances(nuisances)
    ranges = _RANGES[nuisances]
    again = [f"{name} again" for name in ("yaw", "pitch", "roll", "hair_length", "age")]
    streams = [*FACTORS, *again, "intensity", "grey"]
    personal = {"hair_length again", "grey"}
    personal |= {name for name, factor in FACTORS.items() if factor.of == "person"}
    if nuisances == "wide":
        personal -= _CHANGING
    of_picture = np.array([name not in personal for name in streams])[:, None]
    hashes = np.array([zlib.crc32(name.encode()) for name in streams])[:, None]
    shares = dict(
        zip(streams, uniform(seed, hashes, person, (picture + 1) * of_picture), strict=True)
    )
    for name in ("yaw", "pitch", "roll"):  # triangular: frontal is the commonest
        shares[name] = (shares[name] + shares[f"{name} again"]) / 2
    if nuisances in ("all", "wide"):
        side = 2 * shares["yaw"] - 1
        shares["yaw"] = 0.5 + 0.5 * np.sign(side) * np.abs(side) ** _PROFILE
    factors = {}
    for name, factor in FACTORS.items():
        low, high = ranges.get(name, (factor.low, factor.high))
        factors[name] = low + (high - low) * shares[name]
    _people(factors, shares)
    if nuisances == "wide":  # the hair is that of the person's own age
        years = factors["age"] + _YEARS * (2 * shares["age again"] - 1)
        factors["age"] = np.clip(years, FACTORS["age"].low, FACTORS["age"].high)
    for name, least in _LEAST.items():
        factors[name] = np.where(factors[name] < least, 0.0, factors[name])
    factors["resolution"] = np.minimum(factors["resolution"], 1.0)
    if nuisances in ("all", "wide"):
        kinds = len(OCCLUDERS) - 1
        kind = np.floor(shares["occluder"] / _OCCLUDED * kinds) + 1
        factors["occluder"] = np.where(kind > kinds, 0, kind)

    neutral = expression == EXPRESSIONS.index("neutral")
    intensity = np.where(
        neutral, 0.0, _LEAST_INTENSITY + (1 - _LEAST_INTENSITY) * shares["intensity"]
    )
    for unit, value in expression_units(expression, intensity).items():
        jitter = factors[unit]
        value = value * (0.8 + 0.4 * jitter) + 0.06 * jitter * ~neutral
        factors[unit] = np.clip(value, 0, 1)
    drawn = {name: torch.from_numpy(value.astype(np.float32)) for name, value in factors.items()}
    return Drawn(drawn, torch.from_numpy(intensity.astype(np.float32)))


def expression_units(expression: np.ndarray, intensity: np.ndarray) -> dict[str, np.ndarray]:
    """The action units [N] of expressions [N] at intensities [N] from 0 to 1."""
    return {
        unit: np.array([EXPRESSION_UNITS[name].get(unit, 0.0) for name in EXPRESSIONS])[expression]
        * intensity
        for unit in ACTION_UNITS
    }


def _people(factors: dict[str, np.ndarray], shares: Mapping[str, np.ndarray]) -> None:
    """Features that people have or lack, their amounts, and the effects of age."""
    masculine = shares["masculinity"] > 0.5
    # Two groups rather than a continuum.
    factors["masculinity"] = 0.9 * shares["masculinity"] + 0.1 * masculine
    # More of the young.
    oldest, youngest = FACTORS["age"].high, FACTORS["age"].low
    factors["age"] = youngest + (oldest - youngest) * shares["age"] ** 1.5
    long_hair = shares["hair_length again"] > np.where(masculine, 0.88, 0.22)
    length = shares["hair_length"]
    factors["hair_length"] = np.where(long_hair, 0.55 + 0.45 * length, 0.25 * length)
    aged = np.clip((factors["age"] - 25) / 60, 0, 1)
    bald = shares["hair_cover"] < np.where(masculine & ~long_hair, 0.08 + 0.35 * aged, 0.0)
    factors["hair_cover"] = (~bald).astype(float)
    factors["hairline"] = factors["hairline"] + masculine * 0.10 * aged * shares["grey"]
    factors["hairline"] = np.minimum(factors["hairline"], FACTORS["hairline"].high)
    factors["fringe"] = np.maximum(0.0, (factors["fringe"] - 0.65) / 0.35)
    grey = np.clip((factors["age"] - 42 - 25 * shares["grey"]) / 14, 0, 1)
    fair = 0.8 * factors["hair_tone"] * (1 - 0.75 * factors["melanin"])
    factors["hair_tone"] = fair * (1 - grey) + grey
    for name, lack in (("beard", 0.55), ("moustache", 0.65)):
        share = (factors[name] - lack) / (1 - lack)
        factors[name] = np.where((share < 0) | ~masculine, 0.0, 0.5 + 0.5 * share)
    factors["glasses"] = (factors["glasses"] > 0.9 - 0.25 * aged).astype(float)


def uniform(
    seed: int, stream: int | np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Numbers in [0, 1), float64: hashes (SplitMix64) of (seed, stream, first, second), whole
    numbers from 0 that are broadcast."""
    with np.errstate(over="ignore"):
        state = np.zeros(1, np.uint64)
        for word in (seed, stream, first, second):
            state = (state ^ np.asarray(word).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
