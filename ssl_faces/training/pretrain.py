"""Pretraining in one call from Python: `ssl-faces fit` with its callbacks, card and resume."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from ssl_faces.common.config_files import CONFIGS
from ssl_faces.common.errors import InputError, bad_input
from ssl_faces.common.ranks import is_first
from ssl_faces.data.faces import FaceSet
from ssl_faces.data.sets.dataset import face_set_of
from ssl_faces.encoders.encoder import FaceEncoder, load_encoder
from ssl_faces.methods import methods
from ssl_faces.methods.method import Method
from ssl_faces.training.fit import run

Settings = Mapping[str, Any]


def pretrain(
    method: str | type[Method],
    faces: str | os.PathLike[str] | FaceSet | Any | None = None,
    *,
    out: str | os.PathLike[str],
    steps: int | None = None,
    seed: int | None = None,
    resume: bool = False,
    model: Settings | None = None,
    data: Settings | None = None,
    trainer: Settings | None = None,
    **options: int,
) -> FaceEncoder:
    """Pretrain an encoder on unlabelled faces, as `ssl-faces fit` does; returns it, frozen.

    `out` then holds all that `fit` writes: checkpoints, panels, logs, and the encoder with its
    card, for `load_encoder(out)`.

    Args:
        method: name of a method or of its config (`"simclr"`, `"simclr_small"` for CPUs), the path
            of a config (`"my_method.yaml"`), or a method's class. A class without a config of its
            name has the defaults of `fit`.
        faces: folder of face crops or of face sets; a `FaceSet`, or a `datasets.Dataset` of
            Hugging Face with a column of images. None: the default folder, or rendered faces.
        out: folder of the run.
        steps: training steps of `data["batch_size"]` pairs each; None: as configured.
        seed: of weights, augmentation, order and pairs, 0 or more; None: as configured.
        resume: continue the run in `out` if there is one; the result equals an uninterrupted run.
        model: settings of the method, the arguments of its class; nested or with dots:
            `{"temperature": 0.1, "encoder.input_size": 48}`.
        data: settings of `FaceData`, such as `{"size": 48, "batch_size": 64}`.
        trainer: settings of Lightning's `Trainer`, such as `{"accelerator": "cpu"}`. With several
            devices, every process returns: write what follows for the first one only.
        options: `checkpoint_every`, `panels_every`, `probe_every`: steps.

    Raises:
        InputError: an unknown method or setting, a value out of range, or faces that can't be used.
        SystemExit: Ctrl-C or another signal stopped the run; its state is saved.
    """
    words = ["fit", *_method_words(method), "--out", os.fspath(out)]
    sets: list[FaceSet] = []
    if isinstance(faces, str | os.PathLike):
        words += ["--data.root", os.fspath(faces)]
    elif faces is not None:
        sets = [face_set_of(faces)]
    run_settings = {"max_steps": steps} if steps is not None else {}
    seeds = {} if seed is None else {"seed_everything": seed, "data.seed": seed}
    groups = {
        "model": model or {},
        "data": data or {},
        "trainer": {**run_settings, **(trainer or {})},
    }
    words += [*_words(groups), *_words(seeds), *_words(options)]
    words += ["--ckpt_path", "last"] if resume else []
    try:
        trained = run(words, sets)
    except InputError:
        raise
    except Exception as error:
        if (message := bad_input(error)) is None:
            raise
        raise InputError(message) from error
    if is_first():
        return load_encoder(out)
    return trained.encoder.eval().requires_grad_(False)


def _method_words(method: str | type[Method]) -> list[str]:
    """The arguments that choose a method."""
    if isinstance(method, str):
        return ["-c", method]
    config = CONFIGS / "method" / f"{method.name}.yaml"
    if methods().get(method.name) is method and config.is_file():
        return ["-c", str(config)]
    return ["--model", f"{method.__module__}.{method.__qualname__}"]


def _words(settings: Settings, before: str = "--") -> Iterator[str]:
    """Settings as arguments: `--data.size 48`."""
    for key, value in settings.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            yield from _words(value, f"{name}.")
        else:
            yield name
            yield os.fspath(value) if isinstance(value, str | os.PathLike) else json.dumps(value)
