"""`module:PACKAGE.MODULE:FACTORY`: a network of the user's own code, which is imported and run.

Only this name imports code: cards, records and weights never do.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from linear_probe.features.frozen import EncoderSource
from linear_probe.features.source import Precision
from linear_probe.sources.opening import (
    Opened,
    numbers_in,
    opens,
    side_in,
    spaces_in,
    split_options,
)
from ssl_faces import FaceEncoder, InputError
from ssl_faces.common.errors import reason_of
from ssl_faces.encoders.encoder import IMAGENET_MEAN, IMAGENET_STD
from ssl_faces.encoders.state_files import load_state, read_state
from ssl_faces.encoders.wrapped import WrappedEncoder

PREFIX = "module:"
_IMAGES = ("size", "mean", "std", "features")
_SIZE = 224


@opens(lambda name: name.startswith(PREFIX))
def _open(name: str, precision: Precision) -> Opened:
    base, options = split_options(name, ("weights", "prefix", *_IMAGES))
    file = options.pop("weights", None)
    prefix = options.pop("prefix", "")
    if prefix and file is None:
        raise InputError(f"{name}: prefix is for ?weights=FILE; add it, or leave prefix out")

    def encoder(trained: bool, seed: int = 0) -> FaceEncoder:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _made(base)
        if trained and file is not None:
            state = read_state(Path(file), prefix)
            load_state(network, state, base, "give the weights of what the function returns")
        return _as_encoder(name, base, network, options)

    source = EncoderSource(name, encoder(trained=True), None, precision)
    # Without a file the function itself may have loaded weights.
    return Opened(source, None if file is None else lambda seed: encoder(False, seed))


def _made(base: str) -> nn.Module:
    """The network that the named function or class returns."""
    package, _, factory = base.removeprefix(PREFIX).rpartition(":")
    if not package or not factory:
        raise InputError(f"{base}: give {PREFIX}PACKAGE.MODULE:FUNCTION")
    if package.partition(".")[0] in sys.stdlib_module_names:
        raise InputError(f"{base}: {package} is of the standard library; give a module of yours")
    try:
        module = import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{package}.".startswith(f"{error.name}."):
            raise InputError(
                f"{base}: can't be imported ({error}); install that package"
            ) from error
        raise InputError(
            f"{base}: there is no module {error.name}; install it, or name its folder in "
            "PYTHONPATH (the current folder is not searched)"
        ) from error
    except Exception as error:  # the user's code may raise anything
        raise InputError(f"{base}: can't be imported ({reason_of(error)}); mend it") from error
    make: Any = getattr(module, factory, None)
    if not callable(make):
        functions = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        known = ", ".join(sorted(functions)[:8]) or "none"
        raise InputError(f"{base}: {package} has no function '{factory}'; it has {known}")
    try:
        network = make()
    except Exception as error:
        raise InputError(
            f"{base}: {factory}() fails ({reason_of(error)}); give a function that needs no "
            "arguments and returns the network"
        ) from error
    if not isinstance(network, nn.Module):
        raise InputError(
            f"{base}: {factory}() returns a {type(network).__name__}, not a torch module"
        )
    return network


def _as_encoder(name: str, base: str, network: nn.Module, options: dict[str, str]) -> FaceEncoder:
    if isinstance(network, FaceEncoder):
        if options:
            raise InputError(
                f"{name}: {', '.join(options)}: an encoder of ssl-faces has its own; leave it out"
            )
        return network.eval().requires_grad_(False)
    size = side_in(name, options) or _SIZE
    mean = numbers_in(name, options, "mean") or IMAGENET_MEAN
    std = numbers_in(name, options, "std") or IMAGENET_STD
    spaces = spaces_in(options)
    return WrappedEncoder(network, size, mean, std, spaces, base, {"code": base})
