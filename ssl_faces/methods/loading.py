"""A trained method back from its run, to be used on pictures, or the same method untrained."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ssl_faces.common.errors import InputError
from ssl_faces.methods.facecycle_contrast import FaceCycleContrast
from ssl_faces.methods.facecycle_identity import FaceCycleIdentity, build_motion
from ssl_faces.methods.facecycle_motion import FaceCycleMotion
from ssl_faces.methods.method import Method, load_weights, read_checkpoint
from ssl_faces.methods.optimizer import OptimizerSettings
from ssl_faces.methods.released import (
    find_released,
    load_released,
    read_state,
    settings_from,
)
from ssl_faces.networks.backbone import EncoderSettings
from ssl_faces.training.run_record import CHECKPOINT


def load_method(run: str | os.PathLike[str], *, untrained: bool = False, seed: int = 0) -> Method:
    """The method that a run trained, with all its networks, in eval mode and frozen.

    None of a checkpoint's code is run. What only training needs (weights of the loss terms,
    learning rates) has its default: go on training by `ssl-faces fit --ckpt_path`.

    Args:
        run: a run's folder, a checkpoint, or the name or folder of a released method.
        untrained: the same method with fresh random weights instead, but for a VGG trunk that the
            run began with: the baseline.
        seed: of those random weights.

    Raises:
        InputError: no checkpoint there, not a whole one, one of a method that can't be loaded, or
            a release without the networks that edit pictures.
    """
    path = Path(run)
    if path.is_dir():
        path = path / CHECKPOINT
    released = None if path.exists() else find_released(run)
    if released is not None:
        kind, settings = settings_from(released)
    else:
        checkpoint = read_checkpoint(path)
        kind = checkpoint.get("method", "another program")
    if kind not in _LOADERS:
        what = released or f"checkpoint {path}"
        raise InputError(f"{what}: is of {kind}; give a run of {', '.join(_LOADERS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if released is not None:
            method = _RELEASED[kind](released, settings, untrained)
        else:
            method = _LOADERS[kind](path, checkpoint, untrained)
    method.eval().requires_grad_(False)
    return method


def editable(checkpoint: Path) -> bool:
    """Whether a checkpoint is of a method that `load_method` loads.

    Raises:
        InputError: not a whole checkpoint.
    """
    return read_checkpoint(checkpoint).get("method") in _LOADERS


def rebuilt_from(method: Method) -> dict[str, Any]:
    """What builds a method again, as plain values: for the card of its release.

    Raises:
        InputError: a method that can't be built from that.
    """
    if isinstance(method, FaceCycleContrast):
        settings = dict(method.hparams)
    elif isinstance(method, FaceCycleMotion):
        settings = method.settings
    elif isinstance(method, FaceCycleIdentity):
        settings = method.motion.settings
    else:
        raise InputError(f"{method.name}: none of {', '.join(_LOADERS)}, which edit pictures")
    return {"method": method.name, "settings": settings}


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
        _begin_stage1_anew(path, method, state)
    else:
        load_weights(path, method, state)
    return method


def _begin_stage1_anew(path: Path, method: FaceCycleIdentity, state: dict[str, Any]) -> None:
    fresh = build_motion(path, method.motion.settings)
    _begin_with_trunk(path, fresh, state, "motion.trunk.")
    method.motion.load_state_dict(fresh.state_dict())


def _contrast(path: Path, checkpoint: dict[str, Any], untrained: bool) -> FaceCycleContrast:
    method = _build_contrast(path, checkpoint.get("hyper_parameters"))
    if not untrained:
        load_weights(path, method, checkpoint["state_dict"])
    return method


def _build_contrast(path: Path, given: Any) -> FaceCycleContrast:
    try:
        settings = dict(given)
        encoder = EncoderSettings(**settings.pop("encoder"))
        optimizer = dict(settings.pop("optimizer"))
        betas = tuple(optimizer.pop("betas"))
        return FaceCycleContrast(encoder, OptimizerSettings(**optimizer, betas=betas), **settings)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"checkpoint {path}: its settings are not those of {FaceCycleContrast.name} ({error}); "
            "it was made by another version, train again"
        ) from error


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


def _released_motion(folder: Path, settings: dict[str, Any], untrained: bool) -> FaceCycleMotion:
    motion = build_motion(folder, settings)
    if untrained:
        _begin_with_trunk(folder, motion, read_state(folder), "trunk.")
    else:
        load_released(folder, motion)
    return motion


def _released_identity(
    folder: Path, settings: dict[str, Any], untrained: bool
) -> FaceCycleIdentity:
    method = FaceCycleIdentity(folder)
    if untrained:
        _begin_stage1_anew(folder, method, read_state(folder))
    else:
        load_released(folder, method)
    return method


def _released_contrast(
    folder: Path, settings: dict[str, Any], untrained: bool
) -> FaceCycleContrast:
    method = _build_contrast(folder, settings)
    if not untrained:
        load_released(folder, method)
    return method


_RELEASED: dict[str, Any] = {
    FaceCycleMotion.name: _released_motion,
    FaceCycleIdentity.name: _released_identity,
    FaceCycleContrast.name: _released_contrast,
}
