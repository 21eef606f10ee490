"""`ssl-faces expressions`: class probabilities of each face, of images and of films over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_faces.apps.arguments import add_detection, add_out, add_places, parser, percent
from ssl_faces.common.arguments import number
from ssl_faces.common.errors import InputError
from ssl_faces.common.shards import add_shards
from ssl_faces.encoders.places import saved_encoder

if TYPE_CHECKING:
    import numpy as np

    from ssl_faces.apps.predictions import Output
    from ssl_faces.encoders.saved_probe import SavedProbe

PROBE = "hybrid"

ABOUT = """\
The probabilities of expressions (or of the classes of your own probe) of each face, to FILE.csv or
FILE.parquet: a row for each face of each picture and of each frame of a video, with its key, track,
time and box. Faces of one track show one person. Skipped files are listed in FILE.skipped.csv, with
the reason.
"""


class ProbeOnEncoder:
    """A saved probe on its encoder: `predictor(crops)` gives float32 [N, K] of crops [S, S, 3].

    Args:
        name: a released encoder with a probe, or the folder of an encoder with one.

    Attributes:
        size: side of the crops.
        outputs: the probe's classes.

    Raises:
        InputError: no such encoder, no probe, or a broken one.
    """

    def __init__(self, name: str) -> None:
        from ssl_faces.apps.predictions import Output
        from ssl_faces.encoders.encoder import load_encoder
        from ssl_faces.encoders.saved_probe import find_probe

        probe = find_probe(name)
        if probe is None:
            raise InputError(
                f"{name}: has no saved probe; make one by linear-probe save-probe --encoder {name}"
            )
        self.probe: SavedProbe = probe
        self.encoder = load_encoder(name)
        self.size = self.encoder.input_size
        task = {"classes": "class"}.get(self.probe.task, self.probe.task)
        self.outputs: list[Output] = [Output(task, self.probe.classes)]

    def __call__(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        from ssl_faces.apps.embedding import codes_of

        space = self.probe.space
        (codes,) = codes_of(self.encoder, crops, [space], len(crops))
        probabilities: np.ndarray = self.probe(codes[space]).numpy()
        return probabilities

    @property
    def reliability(self) -> str:
        """How often the most probable class is right, in words; empty if it is not known."""
        about = self.probe.about
        try:
            figure = about["accuracy"]
            return (
                f"right for {percent(figure)} of {int(figure['n']):,} test faces of "
                f"{about['data_set']}; less often for other kinds of pictures"
            )
        except (KeyError, TypeError, ValueError):
            return ""


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces expressions`; bad input and no detected face raise InputError."""
    of = parser("expressions", ABOUT)
    add_places(of)
    add_out(of, ".csv", ".parquet")
    of.add_argument(
        "--smooth",
        type=number(0, 60),
        default=0.0,
        metavar="SECONDS",
        help="centred moving mean of the probabilities along each track of a video, over so many "
        "seconds; 0 is none (default: 0)",
    )
    of.add_argument("--plot", type=Path, metavar="FILE.html", help="curves over time")
    of.add_argument(
        "--film", type=Path, metavar="FILE.mp4", help="the film with boxes and probabilities"
    )
    of.add_argument(
        "--probe",
        type=saved_encoder,
        default=PROBE,
        metavar="NAME",
        help="a released encoder with a probe, or the folder of `linear-probe save-probe` "
        f"(default: {PROBE})",
    )
    of.add_argument(
        "--fps",
        type=number(0.01, 1000),
        default=1000.0,
        help="frames per second of videos to read (default: every frame)",
    )
    of.add_argument("--largest", action="store_true", help="only the largest face of each picture")
    add_detection(of)
    add_shards(of)
    options = of.parse_args(arguments)
    from ssl_faces.apps.face_finder import FaceFinder
    from ssl_faces.apps.faces import FaceReader
    from ssl_faces.apps.parts import run_parts
    from ssl_faces.apps.predictions import Targets, join_predictions, write_predictions

    if (options.shards or options.shard) and (options.plot or options.film):
        raise InputError("--shards: no --plot and no --film of several shards; leave them out")
    targets = Targets(options.out, options.plot, options.film, options.overwrite)
    targets.check(options.sources)
    predict = ProbeOnEncoder(options.probe)
    finder = FaceFinder(predict.size, options.detect, options.detector)
    reader = FaceReader(
        options.sources,
        finder,
        largest=options.largest,
        fps=options.fps,
        out=options.out,
        tracked=True,
        shard=options.shard,
    )
    run_parts(options, ["ssl-faces", "expressions", *arguments], reader, options.out)
    if options.shards:
        print(join_predictions(reader, predict.outputs, targets, options.shards))
    else:
        smooth, shard = options.smooth, options.shard
        print(write_predictions(reader, predict, predict.outputs, targets, smooth, shard))
    if predict.reliability:
        print(predict.reliability)
