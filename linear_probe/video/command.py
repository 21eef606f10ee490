"""`linear-probe video -c CONFIG --out DIR`: its settings, read by jsonargparse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from linear_probe.heads.command import OneSentenceParser
from linear_probe.record import Record
from linear_probe.video.run import VideoJob, run_video


def parser() -> ArgumentParser:
    """What reads the arguments of `linear-probe video`."""
    found = OneSentenceParser(prog="linear-probe video", description=__doc__)
    found.add_argument(
        "-c", "--config", action="config", help="such as configs/head/video_statistics.yaml"
    )
    found.add_argument("--out", type=Path, required=True, help="for records.jsonl and features")
    found.add_class_arguments(VideoJob, as_group=False)
    return found


def run(arguments: Sequence[str]) -> list[Record]:
    """Fit and score what the arguments say.

    Raises:
        InputError: as of `run_video`, or a setting that there isn't.
    """
    reader = parser()
    given = reader.parse_args(list(arguments))
    ready: Any = reader.instantiate_classes(given)
    names = VideoJob.__dataclass_fields__
    return run_video(VideoJob(**{name: ready[name] for name in names}), given.out)
