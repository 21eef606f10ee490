"""Self-supervised face representation learning: pretraining, from pictures to an encoder."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssl_faces.common.errors import InputError

if TYPE_CHECKING:
    from ssl_faces.apps.embedding import embed, similarity
    from ssl_faces.encoders.encoder import FaceEncoder, load_encoder, save_encoder
    from ssl_faces.encoders.saved_probe import load_probe
    from ssl_faces.methods.loading import load_method
    from ssl_faces.prepare.alignment import align

__all__ = [
    "FaceEncoder",
    "InputError",
    "align",
    "embed",
    "load_encoder",
    "load_method",
    "load_probe",
    "save_encoder",
    "similarity",
]
__version__ = "0.1.0"

# Imported when they are used, since they import torch: `--help` is quick.
_MODULES = {
    **dict.fromkeys(("embed", "similarity"), "ssl_faces.apps.embedding"),
    **dict.fromkeys(("FaceEncoder", "load_encoder", "save_encoder"), "ssl_faces.encoders.encoder"),
    "load_method": "ssl_faces.methods.loading",
    "load_probe": "ssl_faces.encoders.saved_probe",
    "align": "ssl_faces.prepare.alignment",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'ssl_faces' has no attribute '{name}'")
