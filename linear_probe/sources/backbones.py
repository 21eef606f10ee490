"""Backbones of timm and torchvision, as they are pretrained there, without their classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from linear_probe.features.frozen import EncoderSource
from linear_probe.features.source import Precision
from linear_probe.sources.opening import Opened, opens, spaces_in, split_options
from ssl_faces import InputError
from ssl_faces.common.errors import reason_of
from ssl_faces.encoders.state_files import ENDINGS, load_state, read_state
from ssl_faces.encoders.wrapped import WrappedEncoder

LIBRARIES = ("timm:", "torchvision:")


@dataclass(frozen=True)
class BackboneName:
    """`LIBRARY:NAME`, perhaps with `?random` or `?weights=FILE`, and `&features=A,B`.

    Attributes:
        library: `timm` or `torchvision`.
        name: as the library calls the architecture (with timm maybe `.tag`, for the weights).
        random: untrained.
        weights: a file of weights, or with torchvision a name such as `IMAGENET1K_V1`; None is the
            library's usual weights.
        spaces: feature spaces (see `WrappedEncoder`); none: `pooled`.
    """

    library: str
    name: str
    random: bool = False
    weights: str | None = None
    spaces: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.library}:{self.name}"

    @classmethod
    def parse(cls, text: str) -> BackboneName:
        """The backbone that a name stands for; InputError for an unknown option, or options that
        contradict each other."""
        base, options = split_options(text, ("random", "weights", "features"))
        library, _, name = base.partition(":")
        weights = options.get("weights")
        if weights == "" or (weights is not None and "random" in options):
            raise InputError(f"{text}: give ?random, or ?weights=FILE, or neither")
        return cls(library, name, "random" in options, weights, spaces_in(options))


_Made = tuple[nn.Module, int, tuple[float, ...], tuple[float, ...]]
"""A network whose output is its features, the side of its images, and the mean and standard
deviation that normalise them."""


def load_backbone(name: BackboneName, *, untrained: bool = False, seed: int = 0) -> WrappedEncoder:
    """The backbone with its weights, which the library downloads if it doesn't have them.

    `pooled` features are what the library's classifier would see: of most architectures the mean of
    the last map. Images come at the library's size; cropped faces are not cropped again.

    Args:
        untrained: the same architecture with random weights instead, of this seed.

    Raises:
        InputError: the library is not installed or knows no such backbone, the weights can't be had
            or are not this backbone's, or it has no such feature space.
    """
    make = {"timm": _from_timm, "torchvision": _from_torchvision}[name.library]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = make(name, untrained or name.random)
    # Without the tag: weights are known by themselves.
    config = {"name": name.name.partition(".")[0], "version": version(name.library)}
    return WrappedEncoder(*made, name.spaces, name.library, config)


@opens(lambda name: name.startswith(LIBRARIES))
def _open(name: str, precision: Precision) -> Opened:
    backbone = BackboneName.parse(name)
    source = EncoderSource(name, load_backbone(backbone), None, precision)
    if backbone.random:
        return Opened(source)
    return Opened(source, lambda seed: load_backbone(backbone, untrained=True, seed=seed))


def resnet18_weights() -> tuple[Path, str]:
    """Where torchvision keeps ResNet-18's ImageNet weights, and where it has them from."""
    from torchvision.models import ResNet18_Weights

    return _place(ResNet18_Weights.DEFAULT), ResNet18_Weights.DEFAULT.url


def _from_timm(name: BackboneName, random: bool) -> _Made:
    import timm
    from timm.data import resolve_model_data_config

    if not timm.is_model(name.name):
        raise _unknown(name, timm.list_models())
    state = None if name.weights is None or random else read_state(Path(name.weights))
    given: Any = timm.get_pretrained_cfg(name.name)
    try:
        network: Any = timm.create_model(name.name, pretrained=not random and state is None)
    # What fails depends on how the library fetches: by urllib, requests, httpx, from a cache.
    except Exception as error:
        raise InputError(
            f"{name}: its weights can't be had ({reason_of(error)}); fetch {_timm_url(given)} and "
            f"give it as {name}?weights=FILE"
        ) from error
    network.reset_classifier(0)
    if state is not None:
        classifier = given.classifier or ()
        _load(network, state, name, (classifier,) if isinstance(classifier, str) else classifier)
    config = resolve_model_data_config(network)
    sides = config["input_size"]
    if sides[0] != 3 or sides[1] != sides[2]:
        raise InputError(f"{name}: takes no square RGB pictures; choose another backbone")
    return network, sides[1], config["mean"], config["std"]


def _timm_url(config: Any) -> str:
    if config.hf_hub_id:
        file = config.hf_hub_filename or "model.safetensors"
        return f"https://huggingface.co/{config.hf_hub_id}/resolve/main/{file}"
    return config.url or "its weights"


def _from_torchvision(name: BackboneName, random: bool) -> _Made:
    from torchvision import models

    known = models.list_models(module=models)
    if name.name not in known:
        raise _unknown(name, known)
    there = models.get_model_weights(name.name)
    weights, state = there["DEFAULT"], None
    if name.weights is not None:
        if name.weights in there.__members__:
            weights = there[name.weights]
        elif name.weights.endswith(ENDINGS):
            state = read_state(Path(name.weights)) if not random else None
        else:
            raise InputError(
                f"{name}?weights={name.weights}: neither a file of weights nor one of "
                f"{', '.join(there.__members__)}; give one of these"
            )
    network = models.get_model(name.name, weights=None)
    preset = weights.transforms()
    classifier = _last_linear(network)
    if classifier is None:
        raise InputError(f"{name}: has no linear classifier to take off; choose another backbone")
    if state is None and not random:
        _load(network, _fetched(name, weights), name)
    parent, _, own = classifier.rpartition(".")
    setattr(network.get_submodule(parent), own, nn.Identity())
    if state is not None:
        _load(network, state, name, (classifier,))
    (size,) = preset.crop_size
    return network, size, tuple(preset.mean), tuple(preset.std)


def _last_linear(network: nn.Module) -> str | None:
    """The classifier's name; None if the last layer with weights is not linear."""
    *_, last = (n for n, m in network.named_modules() if [*m.parameters(recurse=False)])
    return last if isinstance(network.get_submodule(last), nn.Linear) else None


def _fetched(name: BackboneName, weights: Any) -> Mapping[str, Tensor]:
    """The weights from torchvision's folder, or from its owner's site into that folder."""
    place, there = _place(weights), _place(weights).exists()
    try:
        # Nothing is unpickled but tensors.
        state: Mapping[str, Tensor] = weights.get_state_dict(
            progress=True, check_hash=True, weights_only=True, map_location="cpu"
        )
    # Unpickling a broken file and fetching over a broken net let out whatever they trip over.
    except Exception as error:
        if there:
            raise InputError(
                f"{place}: not a whole weights file ({reason_of(error)}); delete it and fetch "
                f"{weights.url} again"
            ) from error
        raise InputError(
            f"{name}: its weights can't be had ({reason_of(error)}); put {weights.url} at {place}, "
            f"or give a file of your own as {name}?weights=FILE"
        ) from error
    return state


def _place(weights: Any) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name


def _load(
    network: nn.Module,
    state: Mapping[str, Tensor],
    name: BackboneName,
    without: Sequence[str] = (),
) -> None:
    """Load weights, but those of the modules `without`."""
    kept = {k: v for k, v in state.items() if not k.startswith(tuple(f"{n}." for n in without))}
    load_state(network, kept, name, f"give those of {name}, with the library's own names")


def _unknown(name: BackboneName, known: list[str]) -> InputError:
    near = get_close_matches(name.name, known, n=5, cutoff=0.4)
    return InputError(
        f"{name}: {name.library} has no such backbone; "
        + (f"near it are {', '.join(near)}" if near else f"see {name.library}'s list_models()")
    )
