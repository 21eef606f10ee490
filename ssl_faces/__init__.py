"""Self-supervised face representation learning: pretraining, from images to an encoder.

Pretrain with `pretrain`, or with a plain Lightning `Trainer`, a method and `FaceData`. Use the
encoder with `load_encoder`, `embed`, `similarity` and `load_probe`; score it with `linear_probe`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssl_faces.common import __version__ as __version__
from ssl_faces.common.errors import InputError

if TYPE_CHECKING:
    from ssl_faces.apps.embed_sources import Embeddings, embed
    from ssl_faces.apps.embedding import similarity
    from ssl_faces.callbacks.export import EncoderExport
    from ssl_faces.data.faces import FaceSet
    from ssl_faces.data.sets.dataset import DatasetFaces
    from ssl_faces.encoders.encoder import FaceEncoder, load_encoder, save_encoder
    from ssl_faces.encoders.hub import from_pretrained, push_to_hub
    from ssl_faces.encoders.saved_probe import SavedProbe, load_probe
    from ssl_faces.encoders.wrapped import wrap_encoder
    from ssl_faces.methods import methods
    from ssl_faces.methods.loading import load_method
    from ssl_faces.methods.method import Method
    from ssl_faces.pairs.module import FaceData
    from ssl_faces.prepare.alignment import align
    from ssl_faces.training.curves import plot_training
    from ssl_faces.training.pretrain import pretrain

# Imported when they are used, since they import torch: `--help` is quick.
_HOMES = {
    "pretrain": "training.pretrain",
    "FaceData": "pairs.module",
    "FaceSet": "data.faces",
    "DatasetFaces": "data.sets.dataset",
    "EncoderExport": "callbacks.export",
    "plot_training": "training.curves",
    "load_encoder": "encoders.encoder",
    "save_encoder": "encoders.encoder",
    "FaceEncoder": "encoders.encoder",
    "embed": "apps.embed_sources",
    "Embeddings": "apps.embed_sources",
    "similarity": "apps.embedding",
    "load_probe": "encoders.saved_probe",
    "SavedProbe": "encoders.saved_probe",
    "push_to_hub": "encoders.hub",
    "from_pretrained": "encoders.hub",
    "wrap_encoder": "encoders.wrapped",
    "load_method": "methods.loading",
    "Method": "methods.method",
    "align": "prepare.alignment",
}

__all__ = [
    "DatasetFaces",
    "Embeddings",
    "EncoderExport",
    "FaceData",
    "FaceEncoder",
    "FaceSet",
    "InputError",
    "Method",
    "SavedProbe",
    "align",
    "embed",
    "from_pretrained",
    "load_encoder",
    "load_method",
    "load_probe",
    "methods",
    "plot_training",
    "pretrain",
    "push_to_hub",
    "save_encoder",
    "similarity",
    "wrap_encoder",
]


def __getattr__(name: str) -> Any:
    if name == "methods":  # a package, which can be called
        return import_module("ssl_faces.methods")
    if name in _HOMES:
        return getattr(import_module(f"ssl_faces.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ssl_faces' has no attribute '{name}'")
