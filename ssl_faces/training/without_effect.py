"""Settings of `ssl-faces fit` that have no effect because of other settings."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from pkgutil import resolve_name
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """A rule about settings without effect."""

    settings: tuple[str, ...]  # the settings without effect
    causes: tuple[str, ...]  # the settings that the rule depends on
    holds: Callable[..., bool]  # whether the rule holds for the values of these
    method: str = ""  # class of the method that the rule is for; empty for all


def _zero(*values: float) -> bool:
    return not any(values)


def _given(value: object) -> bool:
    return value is not None


def _missing(value: object) -> bool:
    return value is None


RULES = (
    Rule(("data.flip_share",), ("data.positives",), lambda kind: kind != "frames"),
    Rule(("data.flip_share",), ("data.different_share",), _given),
    Rule(("data.rendered",), ("data.root",), _given),
    Rule(("data.rendered",), ("data.packs",), _given),
    Rule(("data.cache_gb",), ("data.packs",), _missing),
    Rule(("data.online_root",), ("probe_every",), _zero),
    Rule(
        ("data.augmentation.jitter_share",),
        ("data.augmentation.jitter", "data.augmentation.hue"),
        _zero,
    ),
    Rule(("model.optimizer.momentum",), ("model.optimizer.name",), lambda name: name == "adamw"),
    Rule(("model.optimizer.betas",), ("model.optimizer.name",), lambda name: name != "adamw"),
    Rule(("model.learning_rates",), ("model.peak_learning_rate",), _given),
    Rule(("model.warmup_steps",), ("model.peak_learning_rate",), _missing),
    *(
        Rule(("model.local_size", "model.local_scale"), ("model.local_crops",), _zero, method)
        for method in ("DINO", "DINOv2", "LeJEPA", "SwAV")
    ),
    *(
        Rule(("model.warmup_temperature",), ("model.warmup_share",), _zero, method)
        for method in ("DINO", "DINOv2")
    ),
    Rule(("model.queue_share",), ("model.queue_length",), _zero, "SwAV"),
    Rule(("model.ssim_scale",), ("model.ssim_weight",), _zero, "FaceCycleMotion"),
    Rule(("model.margin",), ("model.margin_weight",), _zero, "FaceCycleIdentity"),
    Rule(
        ("model.cycle_share", "model.symmetry_weight", "model.fold_weight"),
        ("model.cycle_weight",),
        _zero,
        "FaceCycleContrast",
    ),
    Rule(
        ("model.temperature", "model.projection_dim"),
        ("model.identity_weight", "model.expression_weight"),
        _zero,
        "FaceCycleContrast",
    ),
)


def without_effect(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings without effect, with the reason, such as `data.positives is picture`."""
    reasons: dict[str, str] = {}
    for rule in RULES:
        values = [settings.get(name) for name in rule.causes]
        if not set(rule.causes) <= set(settings) or rule.method not in ("", settings.get("model")):
            continue
        if rule.holds(*values):
            causes = zip(rule.causes, values, strict=True)
            why = " and ".join(f"{n} is {'not set' if v is None else v}" for n, v in causes)
            for name in rule.settings:
                if name in settings:
                    reasons.setdefault(name, why)
    return reasons


def changed_without_effect(settings: Mapping[str, Any]) -> dict[str, str]:
    """`without_effect` for settings that differ from their defaults."""
    defaults = _defaults(settings)
    now = flat(settings)
    return {
        name: why
        for name, why in without_effect(now).items()
        if name in defaults and _plain(now[name]) != _plain(defaults[name])
    }


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by their names on the command line, such as `model.optimizer.name`; the value
    of `model` is the class name of the method."""
    return dict(_flat("", settings))


def plain_name(name: str) -> str:
    """A setting's name as in `flat`."""
    return ".".join(part for part in name.split(".") if part != "init_args")


def _flat(prefix: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if key == "class_path":
            yield prefix.removesuffix("."), str(value).rpartition(".")[2]
        elif key == "init_args":
            yield from _flat(prefix, value or {})
        elif isinstance(value, Mapping):
            # The mapping itself may be a setting's value.
            yield name, value
            yield from _flat(f"{name}.", {str(k): v for k, v in value.items()})
        else:
            yield name, value


def _defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    from ssl_faces.pairs.module import FaceData

    method = resolve_name(settings["model"]["class_path"])
    return flat({"data": _of_signature(FaceData), "model": _of_signature(method)})


def _of_signature(kind: type) -> dict[str, Any]:
    defaults = {p.name: p.default for p in inspect.signature(kind).parameters.values()}
    nested: dict[str, Any] = {k: v for k, v in defaults.items() if dataclasses.is_dataclass(v)}
    return defaults | {name: dataclasses.asdict(value) for name, value in nested.items()}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
