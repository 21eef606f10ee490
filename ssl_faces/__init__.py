"""Self-supervised face representation learning: pretraining, from pictures to an encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssl_faces.common.errors import InputError

if TYPE_CHECKING:
    from ssl_faces.apps.embedding import embed, similarity
    from ssl_faces.encoders.encoder import FaceEncoder, load_encoder, save_encoder
    from ssl_faces.encoders.saved_probe import load_probe
    from ssl_faces.methods.loading import load_method

__all__ = [
    "FaceEncoder",
    "InputError",
    "embed",
    "load_encoder",
    "load_method",
    "load_probe",
    "save_encoder",
    "similarity",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # torch is imported only when an encoder is asked for, so that `--help` is quick.
    if name == "load_method":
        from ssl_faces.methods import loading

        return loading.load_method
    if name == "load_probe":
        from ssl_faces.encoders import saved_probe

        return saved_probe.load_probe
    if name in ("embed", "similarity"):
        from ssl_faces.apps import embedding

        return getattr(embedding, name)
    if name in __all__:
        from ssl_faces.encoders import encoder

        return getattr(encoder, name)
    raise AttributeError(f"module 'ssl_faces' has no attribute '{name}'")
