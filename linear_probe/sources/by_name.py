"""Encoders of any kind by the names that `--encoder` takes, each as a feature source.

| name | encoder |
| --- | --- |
| a folder, or a released name | one of ours (`ssl_faces.load_encoder`) |
| `module:PACKAGE.MODULE:FUNCTION` | a network of the user's own code (`module`) |
| `timm:NAME`, `torchvision:NAME` | a backbone of these libraries (`backbones`) |
| `FILE.onnx` | a network run by onnxruntime (`onnx_file`) |
| `package:NAME` | a recogniser whose weights come inside a package (`packages`) |
| `FILE.npz`, `FILE.parquet` | features made elsewhere, by the keys of pictures (`table`) |

Each may have a name for tables before it: `simclr=runs/a/seed0`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from torch import nn

from linear_probe.features.frozen import EncoderSource
from linear_probe.features.source import Encoder, Precision, Source
from linear_probe.sources.backbones import BackboneName, load_backbone, resnet18_weights
from linear_probe.sources.baselines import NAMES, UNTRAINED, baselines_named
from linear_probe.sources.baselines import RESNET18 as IMAGENET
from linear_probe.sources.names import title_and_name
from linear_probe.sources.opening import KINDS, Opened
from ssl_faces import FaceEncoder, InputError, load_encoder
from ssl_faces.common.registries import import_modules

RESNET18 = "ImageNet ResNet-18"


def split_name(text: str) -> tuple[str | None, str]:
    """The name that `NAME=ENCODER` gives an encoder for tables, if any, and the encoder; InputError
    if the name is that of a baseline."""
    title, name = title_and_name(text)
    if title in (*NAMES, RESNET18):
        raise InputError(f"--encoder {text}: '{title}' is a baseline; choose another name")
    return title, name


class EncoderObject(NamedTuple):
    """An encoder that was made in Python, and its name in tables."""

    name: str
    encoder: Encoder

    @classmethod
    def of(cls, encoder: Any, name: str | None = None) -> EncoderObject:
        """A frozen copy of an encoder; without a name it is called by its folder, or else its
        `encoder_name`. Raises InputError: it lacks a part of
        `linear_probe.features.source.Encoder`."""
        for part in ("encoder_name", "input_size", "config", "feature_dims", "state_dict"):
            if not hasattr(encoder, part):
                raise InputError(
                    f"encoder: a {type(encoder).__name__} without '{part}'; give a name, a folder, "
                    "a FaceEncoder, or an object with the attributes of "
                    "linear_probe.features.source.Encoder"
                )
        if isinstance(encoder, nn.Module):
            encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
        place = getattr(encoder, "place", None)
        return cls(name or str(place or encoder.encoder_name), cast(Encoder, encoder))

    def open(self, precision: Precision) -> Opened:
        source = EncoderSource(self.name, self.encoder, None, precision)
        encoder = self.encoder
        if isinstance(encoder, FaceEncoder) and hasattr(type(encoder), "encoder_name"):
            return Opened(source, encoder.untrained)
        return Opened(source)  # a wrapped network can't be made again


def encoder_sources(
    names: Sequence[str | EncoderObject],
    spaces: Sequence[str] | None = None,
    precision: Precision = "32",
    baselines: bool | Sequence[str] = True,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> list[Source]:
    """Each encoder, and before it the same untrained, where that makes sense.

    Args:
        names: as `--encoder` takes them, also `NAME=ENCODER`, or encoders; none for the baselines
            alone.
        spaces: which feature spaces; None is all.
        precision: of the encoders' arithmetic.
        baselines: some of `linear_probe.sources.baselines.NAMES`; `untrained` and `resnet18` count
            here (the latter if its weights are there); True is all.
        seed: of the untrained weights.

    Raises:
        InputError: an encoder can't be had, or no encoder has one of `spaces`.
    """
    compared = baselines_named(baselines)
    if not names and not compared:
        raise InputError("no encoder given; name one with --encoder")
    opened = [_open(name, precision) for name in dict.fromkeys(names)]
    titles = [source.name for source, _ in opened]
    for title in titles:
        if titles.count(title) > 1:
            raise InputError(f"--encoder: two are named '{title}'; give each a name")
    known = {space: None for source, _ in opened for space in source.dims}
    for space in spaces or []:
        if space not in known:
            raise InputError(f"unknown feature space '{space}'; there are {', '.join(known)}")
    sources: list[Source] = _resnet18(names, precision, say) if IMAGENET in compared else []
    untrained_as: dict[str, str] = {}
    for source, untrained_of in opened:
        source.dims = {s: d for s, d in source.dims.items() if spaces is None or s in spaces}
        if not source.dims:
            say(f"{source.name}: has none of the feature spaces asked for, so it is left out")
            continue
        if UNTRAINED in compared and untrained_of is not None:
            name = f"{source.name}, untrained"
            untrained = EncoderSource(name, untrained_of(seed), spaces, precision)
            alike = untrained_as.setdefault(untrained.fingerprint, name)
            if alike == name:
                sources.append(untrained)
            else:
                say(f"{name}: the same as {alike}, which is scored once")
        sources.append(source)
    return sources


def _open(text: str | EncoderObject, precision: Precision) -> Opened:
    if isinstance(text, EncoderObject):
        return text.open(precision)
    title, name = split_name(text)
    opened = _open_unnamed(name, precision)
    if title is not None:
        opened.source.name = title
    return opened


def _open_unnamed(name: str, precision: Precision) -> Opened:
    import_modules("linear_probe.sources")
    for recognises, opener in KINDS.items():
        if recognises(name):
            return opener(name, precision)
    return Opened(
        EncoderSource(name, load_encoder(name), None, precision),
        lambda seed: load_encoder(name, untrained=True, seed=seed),
    )


def _resnet18(
    names: Sequence[object], precision: Precision, say: Callable[[str], None]
) -> list[Source]:
    """The baseline that every table has where its weights are on the disk; it downloads nothing."""
    if "torchvision:resnet18" in names:
        return []
    place, url = resnet18_weights()
    if not place.exists():
        say(f"{RESNET18} is left out: its weights are not there; put {url} at {place} to have it")
        return []
    try:
        encoder = load_backbone(BackboneName("torchvision", "resnet18"))
    except InputError as error:
        say(f"{RESNET18} is left out: {error}")
        return []
    return [EncoderSource(RESNET18, encoder, None, precision)]
