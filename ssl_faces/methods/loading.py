"""Load a trained method from its run or release, to use it on images, or the method untrained."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ssl_faces.common.checkpoints import read_checkpoint
from ssl_faces.common.errors import InputError
from ssl_faces.common.registries import import_modules
from ssl_faces.common.run_record import CHECKPOINT
from ssl_faces.methods.facecycle_contrast import FaceCycleContrast
from ssl_faces.methods.facecycle_identity import FaceCycleIdentity, build_motion
from ssl_faces.methods.facecycle_motion import FaceCycleMotion
from ssl_faces.methods.method import Method, load_weights
from ssl_faces.methods.optimizer import OptimizerSettings
from ssl_faces.methods.released import find_released, load_released, read_state, settings_from
from ssl_faces.networks.backbone import EncoderSettings


@dataclass
class _Source:
    """A checkpoint, or the folder of a released method."""

    path: Path
    settings: Any  # hyper-parameters of the method; of stage 2's release, those of stage 1
    checkpoint: dict[str, Any] | None  # its contents; None for a release

    def state(self) -> dict[str, Any]:
        """The weights; of a release, those of the networks beside the encoder."""
        return read_state(self.path) if self.checkpoint is None else self.checkpoint["state_dict"]

    def load(self, method: Method) -> None:
        """Load the weights into a method of the same architecture."""
        if self.checkpoint is None:
            load_released(self.path, method)
        else:
            load_weights(self.path, method, self.state())


_Build = Callable[[_Source, bool], Any]
_LOADERS: dict[str, tuple[_Build, Callable[[Any], Any]]] = {}
"""By the method's name: what builds it, untrained or with its weights, and its settings."""


def loads(method: type[Method], settings: Callable[[Any], Any]) -> Callable[[_Build], _Build]:
    """Register the decorated function as the loader of a method that edits images.

    It takes the source of the settings and weights, and whether to leave weights untrained.

    Args:
        settings: the settings from which a released method is built again.
    """

    def register(build: _Build) -> _Build:
        _LOADERS[method.name] = build, settings
        return build

    return register


def _loaders() -> dict[str, tuple[_Build, Callable[[Any], Any]]]:
    import_modules("ssl_faces.methods")
    return _LOADERS


def load_method(run: str | os.PathLike[str], *, untrained: bool = False, seed: int = 0) -> Method:
    """The method that a run trained, with all its networks, in eval mode and frozen.

    No code in the checkpoint is run. Settings for training only (loss weights, learning rates)
    have their defaults; to continue training use `ssl-faces fit --ckpt_path`.

    Args:
        run: a run's folder, a checkpoint, or the name or folder of a released method.
        untrained: initialise the method randomly instead, as a baseline. Only a VGG trunk keeps the
            weights that the run started from.
        seed: of the random weights.

    Raises:
        InputError: no or a broken checkpoint, a method that can't be loaded, or a release without
            the networks that edit images.
    """
    path = Path(run)
    if path.is_dir():
        path = path / CHECKPOINT
    released = None if path.exists() else find_released(run)
    if released is not None:
        name, settings = settings_from(released)
        source = _Source(released, settings, None)
    else:
        checkpoint = read_checkpoint(path)
        name = checkpoint.get("method", "another program")
        source = _Source(path, checkpoint.get("hyper_parameters"), checkpoint)
    if name not in _loaders():
        what = released or f"checkpoint {path}"
        raise InputError(f"{what}: is of {name}; give a run of {', '.join(_LOADERS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method: Method = _LOADERS[name][0](source, untrained)
    method.eval().requires_grad_(False)
    return method


def editable(checkpoint: Path) -> bool:
    """Whether `load_method` can load a checkpoint's method. Raises InputError: not a whole
    checkpoint."""
    return read_checkpoint(checkpoint).get("method") in _loaders()


def rebuild_settings(method: Method) -> dict[str, Any]:
    """The name and settings from which a released method is built again, for its card. Raises
    InputError: a method that can't be built again."""
    if method.name not in _loaders():
        raise InputError(f"{method.name}: none of {', '.join(_LOADERS)}, which edit pictures")
    return {"method": method.name, "settings": _LOADERS[method.name][1](method)}


@loads(FaceCycleMotion, lambda method: method.settings)
def _motion(source: _Source, untrained: bool) -> FaceCycleMotion:
    motion = build_motion(source.path, source.settings)
    if untrained:
        _load_trunk(source, motion, "trunk.")
    else:
        source.load(motion)
    return motion


@loads(FaceCycleIdentity, lambda method: method.motion.settings)
def _identity(source: _Source, untrained: bool) -> FaceCycleIdentity:
    method = FaceCycleIdentity(source.path)
    if untrained:
        motion = build_motion(source.path, method.motion.settings)
        _load_trunk(source, motion, "motion.trunk.")
        method.motion.load_state_dict(motion.state_dict())
    else:
        source.load(method)
    return method


@loads(FaceCycleContrast, lambda method: dict(method.hparams))
def _contrast(source: _Source, untrained: bool) -> FaceCycleContrast:
    try:
        settings = dict(source.settings)
        encoder = EncoderSettings(**{**settings.pop("encoder"), "weights": None})
        optimizer = dict(settings.pop("optimizer"))
        betas = tuple(optimizer.pop("betas"))
        method = FaceCycleContrast(encoder, OptimizerSettings(**optimizer, betas=betas), **settings)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"checkpoint {source.path}: its settings are not those of {FaceCycleContrast.name} "
            f"({error}); it was made by another version, train again"
        ) from error
    if not untrained:
        source.load(method)
    return method


def _load_trunk(source: _Source, motion: FaceCycleMotion, prefix: str) -> None:
    """Load the frozen trunk of the perceptual loss, from which the generator's trunk started."""
    trunk = {k.removeprefix(prefix): v for k, v in source.state().items() if k.startswith(prefix)}
    for network in {id(n): n for n in (motion.trunk, motion.generator_trunk)}.values():
        load_weights(source.path, motion, trunk, network)
