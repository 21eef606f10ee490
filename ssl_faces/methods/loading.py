"""A trained method back from its run, to be used on pictures, or the same method untrained."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ssl_faces.errors import InputError
from ssl_faces.methods.facecycle_contrast import FaceCycleContrast
from ssl_faces.methods.facecycle_identity import FaceCycleIdentity, build_motion
from ssl_faces.methods.facecycle_motion import FaceCycleMotion
from ssl_faces.methods.method import Method, load_weights, read_checkpoint
from ssl_faces.methods.optimizer import OptimizerSettings
from ssl_faces.networks.backbone import EncoderSettings

_CHECKPOINT = Path("checkpoints/last.ckpt")


def load_method(run: str | os.PathLike[str], *, untrained: bool = False, seed: int = 0) -> Method:
    """The method that a run trained, with all its networks, in eval mode and frozen.

    None of a checkpoint's code is run. What only training needs (weights of the loss terms,
    learning rates) has its default: go on training by `ssl-faces fit --ckpt_path`.

    Args:
        run: a run's folder, or a checkpoint.
        untrained: the same method with fresh random weights instead, but for a VGG trunk that the
            run began with: the baseline.
        seed: of those random weights.

    Raises:
        InputError: no checkpoint there, not a whole one, or one of a method that can't be loaded.
    """
    path = Path(run)
    if path.is_dir():
        path = path / _CHECKPOINT
    checkpoint = read_checkpoint(path)
    kind = checkpoint.get("method", "another program")
    if kind not in _LOADERS:
        raise InputError(f"checkpoint {path}: is of {kind}; give a run of {', '.join(_LOADERS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method = _LOADERS[kind](path, checkpoint, untrained)
    method.eval().requires_grad_(False)
    return method


def _motion(path: Path, checkpoint: dict[str, Any], untrained: bool) -> FaceCycleMotion:
    motion = build_motion(path, checkpoint.get("hyper_parameters"))
    state = checkpoint["state_dict"]
    if untrained:
        _begin_with_trunk(path, motion, state, "trunk.")
    else:
        load_weights(path, motion, state)
    return motion


def _identity(path: Path, checkpoint: dict[str, Any], untrained: bool) -> FaceCycleIdentity:
    state = checkpoint["state_dict"]
    if "motion_settings" in checkpoint:
        stage1 = path
    else:
        # Made before stage 2's checkpoints held stage 1's settings.
        settings = checkpoint.get("hyper_parameters")
        stage1 = Path(
            str((settings if isinstance(settings, dict) else {}).get("motion_checkpoint"))
        )
    method = FaceCycleIdentity(stage1)
    if untrained:
        fresh = build_motion(stage1, method.motion.settings)
        _begin_with_trunk(path, fresh, state, "motion.trunk.")
        method.motion.load_state_dict(fresh.state_dict())
        return method
    load_weights(path, method, state)
    return method


def _contrast(path: Path, checkpoint: dict[str, Any], untrained: bool) -> FaceCycleContrast:
    try:
        settings = dict(checkpoint["hyper_parameters"])
        encoder = EncoderSettings(**settings.pop("encoder"))
        optimizer = settings.pop("optimizer")
        betas = tuple(optimizer.pop("betas"))
        method = FaceCycleContrast(encoder, OptimizerSettings(**optimizer, betas=betas), **settings)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"checkpoint {path}: its settings are not those of {FaceCycleContrast.name} ({error}); "
            "it was made by another version, train again"
        ) from error
    if not untrained:
        load_weights(path, method, checkpoint["state_dict"])
    return method


def _begin_with_trunk(
    path: Path, motion: FaceCycleMotion, state: dict[str, Any], prefix: str
) -> None:
    """Give a new stage 1 the perceptual loss's trunk of a run: it is frozen, and so still what the
    generator's began as."""
    trunk = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    for network in {id(n): n for n in (motion.trunk, motion.generator_trunk)}.values():
        try:
            network.load_state_dict(trunk)
        except RuntimeError as error:
            raise InputError(
                f"checkpoint {path}: its weights are not those of a {motion.name} of its settings; "
                "it was made by another version, train again"
            ) from error


_LOADERS: dict[str, Any] = {
    FaceCycleMotion.name: _motion,
    FaceCycleIdentity.name: _identity,
    FaceCycleContrast.name: _contrast,
}
