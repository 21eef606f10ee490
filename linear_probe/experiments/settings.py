"""Settings of the experiments that are given by arguments, and how arguments are made of them.

Nothing here needs torch, so that `--help` is fast.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from docstring_parser import parse as parse_docstring
from pydantic import PlainValidator

from linear_probe.experiments.runner import Experiment, Run
from ssl_faces.common.arguments import number, several, whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import PositiveInt, Seed, check_fields, may_be_none, range_of

if TYPE_CHECKING:
    from linear_probe.records.measured import Measured
    from linear_probe.records.record import Record

T = TypeVar("T")
TrainCount = Annotated[int, PlainValidator(whole(100))]
Percent = Annotated[float, PlainValidator(number(0, 100, above=True))]
FaceCount = Annotated[int, PlainValidator(whole(2, 100_000))]
Device = Literal["cpu", "cuda", "auto"]


def option(*flags: str, repeated: bool = False) -> dict[str, Any]:
    """Metadata of a field whose option has these names; none: it has no option.

    Args:
        repeated: the option takes one name each time.
    """
    return {"flags": flags, "repeated": repeated}


@dataclass(frozen=True)
class ProbeSettings(Experiment):
    """Score encoders and print the table.

    Attributes:
        encoders: folder of a saved encoder, or a released name; timm:NAME or torchvision:NAME,
            with ?random or ?weights=FILE.safetensors; package:dlib; FILE.onnx; FILE.npz or
            FILE.parquet with keys and features; may be repeated
        tasks: some of expression, pose, identity, attributes, affect, landmarks, light, classes;
            default: those of expression, pose, identity, affect and classes that the data serve
        data: folder with FER-2013, FERPlus, RAF-DB, AffectNet, SFEW, CK+, Oulu-CASIA, LFW, CPLFW,
            CFP, YouTube keypoints, 300W-LP, AFLW2000-3D, BIWI, UTKFace; or rendered, or
            rendered:COUNT; default: $SSL_FACES_DATA, else ~/.cache/ssl-faces/data if it exists,
            else rendered faces
        test_data: cross-dataset: train probes on --data, test on all images of the sets of this
            folder (or rendered), over the classes that both have (expression, classes)
        spaces: feature spaces; default: all
        seeds: one or several, such as 0,1,2, of splits, untrained weights and rendered faces; the
            table shows mean and spread over them
        label_shares: also evaluate with P % of the training labels, such as 1,10,100
        robustness: also evaluate on degraded test images: all, or some of resolution, blur, noise,
            occlusion, darkness, JPEG (expression and identity)
        protocol: follow a paper's protocol, which chooses nothing on a validation split
        epochs: of the training of --protocol; default: 300
        batch_size: images at once
        device: where encoders and probes run
        precision: of encoders' arithmetic; auto: bf16 where the hardware has it; probes are always
            fitted in float32
        baselines: all, none, or some of pixels, HOG, LBP, resnet18 (ImageNet's, if its weights are
            on the disk), untrained
        brief: print one small table: a row for each encoder, a column for each task
        replicates: of the bootstrap, behind the intervals
        max_train: train the probes of expression and of attributes on N images each, drawn by the
            seed; default: all
        or_rendered: score on rendered faces where --data has images but no labels
        own: face sets to score on instead of `data`, with every task that they serve
    """

    encoders: list[str] = field(metadata=option("--encoder", repeated=True))
    tasks: list[str] | None = field(default=None, metadata=option("--task"))
    data: str | None = None
    test_data: str | None = None
    spaces: list[str] | None = field(default=None, metadata=option("--features"))
    seeds: list[Seed] = field(default_factory=lambda: [0], metadata=option("--seed", "--seeds"))
    label_shares: list[Percent] = field(default_factory=list, metadata=option("--label-shares"))
    robustness: list[str] = field(default_factory=list, metadata=option("--robustness"))
    protocol: Literal["facecycle"] | None = None
    epochs: PositiveInt | None = None
    batch_size: PositiveInt = 256
    device: Device = "auto"
    precision: Literal["32", "bf16", "auto"] = "32"
    baselines: list[str] = field(default_factory=lambda: ["all"], metadata=option("--baselines"))
    brief: bool = field(default=False, metadata=option("--summary"))
    replicates: PositiveInt = field(default=1000, metadata=option("--bootstrap"))
    max_train: TrainCount | None = None
    or_rendered: bool = False
    own: Sequence[Any] = field(default=(), metadata=option())

    def __post_init__(self) -> None:
        check_fields(self, "")
        if self.epochs is not None and self.protocol is None:
            raise InputError("--epochs has no effect without --protocol; leave it out")

    @property
    def hardware_note(self) -> str:
        from linear_probe.experiments.probe import precision_named

        precision = precision_named(self.precision)
        return "" if precision == "32" else f", features in {precision}"

    def measurements(self, run: Run) -> Iterator[Measured]:
        from linear_probe.experiments.probe import measurements

        return measurements(self, run)

    def summary(self, out: Path, records: list[Record]) -> str:
        if not self.brief:
            return f"{super().summary(out, records)}\n\nrecords: {out}/records.jsonl"
        more = f"all figures: linear-probe report {shlex.quote(str(out))}"
        return f"\n{summary_of([out])}\n\nrecords: {out}/records.jsonl\n{more}"


@dataclass(frozen=True)
class TruthSettings(Experiment):
    """Neutral, frontal and swapped faces of a run beside the rendered truth.

    Attributes:
        run: folder of `ssl-faces fit`, or a checkpoint; may be repeated
        count: faces to score on
        seed: of people and untrained weights
        nuisances: how much light, place, camera and occluders vary
        no_untrained: leave out the methods with fresh weights
        bootstrap: replicates behind the intervals
        batch_size: faces at once
        device: where methods run
    """

    run: list[str] = field(metadata=option("--run", repeated=True))
    count: FaceCount = 512
    seed: Seed = 0
    nuisances: Literal["none", "mild", "all"] = "mild"
    no_untrained: bool = False
    bootstrap: PositiveInt = 1000
    batch_size: PositiveInt = 64
    device: Device = "auto"

    def __post_init__(self) -> None:
        check_fields(self, "")

    def measurements(self, run: Run) -> Iterator[Measured]:
        from linear_probe.experiments.truth.run import measurements

        return measurements(self, run)

    def summary(self, out: Path, records: list[Record]) -> str:
        table = super().summary(out, records)
        return f"{table}\n\nrecords: {out}/records.jsonl\npictures: {out}/truth.png"


@dataclass(frozen=True)
class SavedProbeSettings:
    """Keep a probe beside its encoder: calibrated probabilities of classes.

    Attributes:
        encoder: its folder, or a released name
        out: for features, kept there; those of an earlier `linear-probe run` there are reused
        task: one of classes
        space: feature space; default: the best on validation images
        data: as in `linear-probe run`; FER-2013 if it is there, else the first set that serves
        max_train: train on N images, drawn by the seed; default: all
        seed: of the validation split
        batch_size: images at once
        device: where encoder and probe run
        overwrite: replace the probe that the encoder has
        replicates: of the bootstrap
    """

    encoder: str
    out: str
    task: str = "expression"
    space: str | None = None
    data: str | None = None
    max_train: TrainCount | None = None
    seed: Seed = 0
    batch_size: PositiveInt = 256
    device: Device = "auto"
    overwrite: bool = False
    replicates: PositiveInt = field(default=1000, metadata=option())

    def __post_init__(self) -> None:
        check_fields(self, "")


def summary_of(folders: Sequence[str | Path]) -> str:
    """The small table of all records in these folders.

    Raises:
        InputError: a folder without records.
    """
    from linear_probe.reports.command import find_records, replicates_of
    from linear_probe.reports.summary import summary

    records = find_records(folders)
    return summary([one.record for one in records], replicates_of(records))


def add_settings(parser: argparse.ArgumentParser, kind: type[Any]) -> None:
    """Add an option for each field of a dataclass: its type is the check, its docs the help."""
    docs = {part.arg_name: part.description or "" for part in parse_docstring(kind.__doc__).params}
    hints = get_type_hints(kind, include_extras=True)
    for one in fields(kind):
        flags = _flags(one)
        if flags:
            usual = _default(one)
            text = " ".join(docs[one.name].split())
            if usual is not MISSING and usual is not None and usual is not False and usual != []:
                shown = ",".join(map(str, usual)) if isinstance(usual, list) else usual
                text += f"; default: {shown}"
            parser.add_argument(
                *flags, help=text.replace("%", "%%"), **_reading(one, hints[one.name], usual)
            )


def settings_of(kind: type[T], given: argparse.Namespace, **more: Any) -> T:
    """The settings that parsed arguments give.

    Args:
        more: fields by name, instead of their arguments.

    Raises:
        InputError: a value that can't be used.
    """
    hints = get_type_hints(kind, include_extras=True)
    values = {}
    for one in fields(kind):  # type: ignore[arg-type]
        flags = _flags(one)
        if flags:
            value = getattr(given, flags[0].lstrip("-").replace("-", "_"))
            if isinstance(value, str) and get_origin(_inner(hints[one.name])) is list:
                value = names_in(value, flags[0])
            values[one.name] = value
    return kind(**{**values, **more})


def names_in(text: str, argument: str) -> list[str]:
    """Names with commas between them.

    Raises:
        InputError: an empty name.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise InputError(f"{argument} '{text}': an empty name; give names with commas between")
    return names


def _flags(one: Field[Any]) -> tuple[str, ...]:
    return one.metadata.get("flags", (f"--{one.name.replace('_', '-')}",))


def _default(one: Field[Any]) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()


def _inner(hint: Any) -> Any:
    """A type without None."""
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    return kinds[0] if may_be_none(hint) and kinds else hint


def _reading(one: Field[Any], hint: Any, usual: Any) -> dict[str, Any]:
    """How argparse reads a field's option."""
    if hint is bool:
        return {"action": "store_true"}
    kind = _inner(hint)
    how: dict[str, Any] = {"required": True} if usual is MISSING else {"default": usual}
    if one.metadata.get("repeated"):
        return {"action": "append", "metavar": "NAME", **how}
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind), **how}
    if get_origin(kind) is list:
        allowed = range_of(get_args(kind)[0])
        return {"metavar": "A,B", **how, **({} if allowed is None else {"type": several(allowed)})}
    allowed = range_of(kind)
    return how if allowed is None else {"type": allowed, "metavar": "N", **how}
