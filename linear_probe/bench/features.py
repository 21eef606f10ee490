"""`python -m linear_probe.bench.features`: extraction's speed beside the bare forward pass.

Prints JSON, which `ssl-faces bench features` makes its table of. Extraction is `FeatureCache.fill`
with an empty folder: decoding, resizing, the encoder, and the files; the bare forward pass is the
encoder alone on a batch that is in memory already. Also how near bf16's features are to float32's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from linear_probe.experiments.runner import device_named
from linear_probe.features.frozen import EncoderSource, FeatureCache, Pictures, Precision
from ssl_faces import InputError, load_encoder
from ssl_faces.bench.apart import print_json
from ssl_faces.bench.features import add_arguments
from ssl_faces.bench.timing import ratio, side_by_side
from ssl_faces.common.arguments import Parser
from ssl_faces.common.hardware import hardware
from ssl_faces.data import FaceSet, default_data_root, find_face_sets
from ssl_faces.encoders.encoder import FaceEncoder
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder
from ssl_faces.rendered import RenderedFaces


def parser() -> Parser:
    reader = Parser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_arguments(reader)
    return reader


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Speeds by precision, and cosines by feature space.

    Raises:
        InputError: no such encoder, data or set, or fewer pictures than a batch.
    """
    faces = _faces(arguments.data, arguments.set)
    count = min(arguments.pictures, len(faces))
    if not 1 <= arguments.batch_size <= count:
        raise InputError(
            f"--batch-size {arguments.batch_size}: from 1 to the {count} pictures that there are"
        )
    count -= count % arguments.batch_size  # whole batches, as the bare forward pass has
    indices = np.linspace(0, len(faces) - 1, count).astype(np.int64)
    pictures = Pictures(faces, np.unique(indices))
    device = device_named(arguments.device)
    encoder = _encoder(arguments.encoder)
    return {
        "encoder": arguments.encoder or "untrained, paper",
        "set": faces.name,
        "pictures": len(pictures),
        "batch_size": arguments.batch_size,
        "input_size": encoder.input_size,
        "rounds": arguments.rounds,
        "hardware": hardware(device),
        **_compare(encoder, pictures, arguments.batch_size, device, arguments.rounds),
    }


def _faces(data: str | None, name: str | None) -> FaceSet:
    if data is None and not default_data_root().is_dir():
        return RenderedFaces(2048, size=100)
    root = data or str(default_data_root())
    sets = [faces for faces in find_face_sets(root, "all") if len(faces)]
    if name is None:
        return max(sets, key=len)
    for faces in sets:
        if faces.name == name:
            return faces
    raise InputError(f"--set {name}: not in {root}, which has {', '.join(s.name for s in sets)}")


def _encoder(name: str | None) -> FaceEncoder:
    if name is not None:
        return load_encoder(name)
    torch.manual_seed(0)
    encoder = FaceCycleEncoder(map_size=100, identity=True)
    return encoder.eval().requires_grad_(False)


def _compare(
    encoder: FaceEncoder, pictures: Pictures, batch_size: int, device: str, rounds: int
) -> dict[str, Any]:
    count = len(pictures)
    precisions: tuple[Precision, ...] = ("32", "bf16")
    sources = {p: EncoderSource(p, encoder, None, p) for p in precisions}
    size = encoder.input_size
    images = torch.rand(batch_size, 3, size, size, device=device)
    features: dict[str, dict[str, Tensor]] = {}

    def forward(source: EncoderSource) -> None:
        with torch.inference_mode():
            for _ in range(count // batch_size):
                source(images)

    def extraction(source: EncoderSource) -> None:
        with tempfile.TemporaryDirectory() as folder:
            cache = FeatureCache(Path(folder), batch_size, device)
            cache.fill([source], pictures)
            if source.name not in features:  # in the warm-up
                features[source.name] = {
                    space: cache.read(source, pictures, space).values.clone()
                    for space in source.dims
                }

    used: dict[str, list[float]] = defaultdict(list)

    def counted(name: str, call: Callable[[EncoderSource], None], source: EncoderSource) -> None:
        """`call`, which notes the CPU seconds of all threads together."""
        before = time.process_time()
        call(source)
        used[name].append(time.process_time() - before)

    calls: dict[str, Callable[[], object]] = {}
    for precision, source in sources.items():
        source.to(device)
        for what, call in (("forward", forward), ("extraction", extraction)):
            name = f"{precision} {what}"
            calls[name] = partial(counted, name, call, source)
    seconds = side_by_side(calls, rounds)
    used = {name: values[-rounds:] for name, values in used.items()}  # without the warm-up
    speeds = []
    for precision in sources:
        names = f"{precision} forward", f"{precision} extraction"
        speeds.append(
            {
                "precision": precision,
                "forward": count / float(np.median(seconds[names[0]])),
                "extraction": count / float(np.median(seconds[names[1]])),
                "share": ratio(seconds, *names),
                # Without other programs' time; a GPU's time isn't the processor's.
                "share_by_cpu_time": ratio(used, *names) if device == "cpu" else None,
            }
        )
    cosines = {}
    for space, exact in features["32"].items():
        near = F.cosine_similarity(exact.double(), features["bf16"][space].double())
        cosines[space] = {"least": float(near.min()), "mean": float(near.mean())}
    return {"speeds": speeds, "cosines": cosines, "seconds": seconds}


if __name__ == "__main__":
    sys.exit(print_json(parser(), measure))
