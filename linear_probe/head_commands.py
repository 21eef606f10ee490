"""`linear-probe predict` and `linear-probe export`: what trained heads are used for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import PlainValidator

from linear_probe.sources.names import check_data
from ssl_faces.common.arguments import existing, number, whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.outputs import check_output

FaceCount = Annotated[int, PlainValidator(whole(32))]
FramesPerSecond = Annotated[float, PlainValidator(number(0.01, 1000))]
Seconds = Annotated[float, PlainValidator(number(0, 60))]
Opset = Annotated[int, PlainValidator(whole(13, 20))]


def predict(
    model: str,
    sources: list[str],
    *,
    out: str,
    overwrite: bool = False,
    smooth: Seconds = 0.0,
    plot: str | None = None,
    film: str | None = None,
    fps: FramesPerSecond = 1000.0,
    largest: bool = False,
    detect: Literal["auto", "always", "never"] = "auto",
    detector: str = "mtcnn",
) -> int:
    """Predict each face of images and films by a trained head or a saved probe, to a table.

    Args:
        model: the --out of `linear-probe head`, or one head of several there
            (OUT/heads/NAME/seedN); or folder of an encoder with a saved probe, or a released name
        sources: images, videos, or folders of them
        out: the table, .csv or .parquet
        overwrite: replace existing files
        smooth: moving mean along each track of a video, over so many seconds; 0 is none
        plot: FILE.html: curves over time
        film: FILE.mp4: the film with boxes and predictions
        fps: frames per second of videos to read; 1000 is every frame
        largest: only the largest face of each image
        detect: always, never (images are face crops), or auto (images of at most 128 pixels a side
            are face crops)
        detector: mtcnn, or yunet:FILE.onnx
    """
    images = [existing(source) for source in sources]
    from linear_probe.heads.predictor import predict_files
    from ssl_faces.apps.predictions import Targets

    plot_to, film_to = (None if path is None else Path(path) for path in (plot, film))
    targets = Targets(Path(out), plot_to, film_to, overwrite)
    print(
        predict_files(
            model,
            images,
            targets,
            smooth=smooth,
            fps=fps,
            largest=largest,
            detect=detect,
            detector=detector,
        )
    )
    return 0


def export(
    head: str,
    *,
    out: str,
    overwrite: bool = False,
    opset: Opset = 17,
    data: str | None = None,
    faces: FaceCount = 128,
) -> int:
    """Write a trained head as one ONNX file, checked against torch.

    Args:
        head: the --out of `linear-probe head`, or one head of several there
            (OUT/heads/NAME/seedN)
        out: FILE.onnx
        overwrite: replace an existing --out
        opset: of ONNX
        data: faces for the check: a folder, or rendered; default: $SSL_FACES_DATA, else
            ~/.cache/ssl-faces/data, else rendered ones
        faces: for the check
    """
    path = Path(out)
    if path.suffix != ".onnx":
        raise InputError(f"--out {out}: give a name that ends in .onnx")
    folder = Path(head).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"{head}: no such folder; give the --out of `linear-probe head`, or one head of "
            "several there (OUT/heads/NAME/seedN)"
        )
    check_output(path, overwrite, [head])
    check_data(data)
    from linear_probe.heads.export import export_head

    print(export_head(folder, path, opset, data, faces))
    return 0
