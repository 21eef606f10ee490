"""`python -m linear_probe.bench.embeddings`: embedders on the same images, one core each.

Prints JSON, which `ssl-faces bench embed` makes its table of: expression by a linear probe and by
kNN on frozen features, pairs by cosine similarity, and faces a second of one core, the embedders in
turns. Encoders of this workbench are timed as ONNX files, too, whose features are the same.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from linear_probe.experiments.probe import run_probes
from linear_probe.features.source import ImageSource
from linear_probe.records.record import Record
from linear_probe.sources.baselines import BASELINES
from linear_probe.sources.by_name import encoder_sources
from linear_probe.sources.onnx_file import OnnxSource
from linear_probe.sources.packages import PACKAGES, PREFIX
from linear_probe.tasks.task import in_test_part
from ssl_faces import InputError
from ssl_faces.apps.export.formats import as_onnx
from ssl_faces.bench.apart import print_json
from ssl_faces.bench.embed import add_arguments
from ssl_faces.bench.timing import processor_side_by_side
from ssl_faces.common.arguments import Parser, whole
from ssl_faces.common.hardware import hardware
from ssl_faces.data import FaceSet, default_data_root, find_face_sets
from ssl_faces.data.pictures import square
from ssl_faces.encoders.encoder import FaceEncoder, read_card
from ssl_faces.encoders.onnx_files import OPSET

TASKS = ("expression", "identity")
SPACES = "expression,identity"


def parser() -> Parser:
    reader = Parser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_arguments(reader)
    reader.add_argument("--bootstrap", type=whole(1), default=1000)
    return reader


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Records by embedder and space, and rates by embedder.

    Raises:
        InputError: an encoder, a package or the data can't be used.
    """
    sets = thinned(find_face_sets(arguments.data or default_data_root(), "all"), arguments.every)
    encoders = list(arguments.encoder or ["hybrid", "facecycle"])
    spaces = (arguments.spaces or SPACES).split(",")
    packages, absent = _packages(arguments.package)
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(arguments.folder or temporary)
        records = [
            record
            for names, baselines in (([], True), (encoders, False), (packages, False))
            if names or baselines
            for record in run_probes(
                names,
                out,
                own=sets,
                tasks=TASKS,
                spaces=spaces if names is encoders else None,
                device="cpu",
                baselines=baselines,
                replicates=arguments.bootstrap,
                max_train=arguments.max_train,
                say=lambda line: print(line, file=sys.stderr, flush=True),
            )
        ]
        sources = _sources(encoders, spaces, packages, Path(temporary))
        rates = _rates(sources, sets[0], arguments.batch_size, arguments.rounds)
    return {
        "hardware": hardware("cpu"),
        "max_train": arguments.max_train,
        "every": arguments.every,
        "batch_size": arguments.batch_size,
        "rounds": arguments.rounds,
        "records": [_kept(record) for record in records],
        "rates": rates,
        "about": _about(encoders),
        "absent": absent,
    }


def _about(encoders: Sequence[str]) -> dict[str, str]:
    """The training data of each, by its name."""
    about = {PREFIX + name: kind.about for name, kind in PACKAGES.items()}
    for name in encoders:
        try:
            card = read_card(name)
        except InputError:
            continue  # not one of this workbench
        pictures = sum(part.get("pictures", 0) for part in card.get("data", []))
        labels = "identity labels" if card.get("uses_identity_labels") else "no label"
        about[name] = f"{pictures:,} faces, {labels}" if pictures else ""
    return about


def thinned(sets: Sequence[FaceSet], every: int) -> list[FaceSet]:
    """FER-2013 with every `every`th image of its test part, and LFW with every such pair.

    Pairs are thinned fold by fold, those of one person and of two alike.

    Raises:
        InputError: one of them isn't there.
    """
    by_name = {faces.name: faces for faces in reversed(sets)}
    for name, title in (("fer2013", "FER-2013"), ("lfw", "LFW")):
        if name not in by_name:
            raise InputError(f"--data holds no {title}, which embedders are compared on; add it")
    expressions, people = copy.copy(by_name["fer2013"]), copy.copy(by_name["lfw"])
    tested = in_test_part(expressions)
    keep = ~tested | ((np.cumsum(tested) - 1) % every == 0)
    expressions.records = list(compress(expressions.records, keep))
    pairs = people.pairs  # type: ignore[attr-defined]
    folds = pd.DataFrame([(pair.fold, pair.same) for pair in pairs])
    keep = folds.groupby([0, 1]).cumcount() % every == 0
    people.pairs = list(compress(pairs, keep))  # type: ignore[attr-defined]
    return [expressions, people]


def _packages(names: Sequence[str] | None) -> tuple[list[str], dict[str, str]]:
    """Encoder names of the packages that are installed, and why the others can't be used."""
    if list(names or []) == ["none"]:
        return [], {PREFIX + name: "left out of this run" for name in PACKAGES}
    usable, absent = [], {}
    for name in names or PACKAGES:
        full = PREFIX + name.removeprefix(PREFIX)
        try:
            encoder_sources([full], baselines=False)
        except InputError as error:
            if full.removeprefix(PREFIX) not in PACKAGES:
                raise
            absent[full] = str(error)
        else:
            usable.append(full)
    return usable, absent


def _kept(record: Record) -> dict[str, Any]:
    names = ("task", "data_set", "split", "encoder", "feature_space", "probe", "metric", "value")
    return {name: getattr(record, name) for name in (*names, "low", "high", "unit", "n")}


def _sources(
    encoders: Sequence[str], spaces: Sequence[str], packages: Sequence[str], folder: Path
) -> dict[str, ImageSource]:
    """All that are timed, by the name of their row."""
    found: dict[str, ImageSource] = {}
    for source in encoder_sources(encoders, spaces, baselines=False):
        found[source.name] = source  # type: ignore[assignment]
        encoder = getattr(source, "encoder", None)
        if isinstance(encoder, FaceEncoder) and encoder.place is not None:  # one of ours
            path = folder / f"{len(found)}.onnx"
            path.write_bytes(as_onnx(encoder, source.name, list(source.dims), OPSET))
            found[f"{source.name}, ONNX"] = OnnxSource(str(path))
    # As large as they are scored at, see the records.
    found |= {kind.name: kind(48) for kind in BASELINES}
    for name in packages:
        (source,) = encoder_sources([name], baselines=False)
        found[name] = source  # type: ignore[assignment]
    return found


@torch.inference_mode()
def _rates(
    sources: dict[str, ImageSource], faces: FaceSet, batch_size: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Of each: faces a second of one core by the processor's time, median, least and most of the
    rounds. Pictures are in memory, of the size that each takes."""
    read = faces.read_many(list(range(batch_size)))
    pictures = [picture for picture in read if isinstance(picture, np.ndarray)]

    def call_of(source: ImageSource) -> Callable[[], object]:
        resized = np.stack([square(picture, source.input_size) for picture in pictures])
        images: Tensor = torch.from_numpy(resized).float() / 255
        return lambda: source(images)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        calls = {name: call_of(source) for name, source in sources.items()}
        seconds = processor_side_by_side(calls, rounds)
    finally:
        torch.set_num_threads(threads)
    count = len(pictures)
    return {
        name: {
            "median": count / float(np.median(rounds_of)),
            "least": count / max(rounds_of),
            "most": count / min(rounds_of),
        }
        for name, rounds_of in seconds.items()
    }


if __name__ == "__main__":
    torch.set_num_threads(1)  # before the ONNX sessions, which take as many
    sys.exit(print_json(parser(), measure))
