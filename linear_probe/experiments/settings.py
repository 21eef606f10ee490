"""Settings of the experiments that are given by arguments; nothing here needs torch."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import PlainValidator

from linear_probe.arguments import Option
from linear_probe.records.runner import Experiment
from linear_probe.reports.command import tables_of_run
from linear_probe.sources.names import check_data, check_encoder
from ssl_faces.common.arguments import existing, number, whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import PositiveInt, Seed, check_fields
from ssl_faces.encoders.places import find_encoder

if TYPE_CHECKING:
    from linear_probe.records.record import Record

TrainCount = Annotated[int, PlainValidator(whole(100))]
Percent = Annotated[float, PlainValidator(number(0, 100, above=True))]
FaceCount = Annotated[int, PlainValidator(whole(2, 100_000))]
Device = Literal["cpu", "cuda", "auto"]


@dataclass(frozen=True)
class ProbeSettings(Experiment):
    """Score encoders and print the table.

    Attributes:
        encoders: folder of a saved encoder, or a released name; timm:NAME or torchvision:NAME,
            with ?random or ?weights=FILE, and &features=pooled,layer3; module:PACKAGE:FUNCTION of
            your own code, which is run; package:dlib; FILE.onnx; FILE.npz or FILE.parquet with keys
            and features; may be repeated, each with a name before it: NAME=ENCODER
        tasks: some of expression, pose, identity, identification, attributes, affect, landmarks,
            light, classes; default: those of expression, pose, identity, affect and classes that
            the data serve
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
        validation: score a part of the training parts instead of the tests, for choices between
            encoders that must not see a test image
        train: your own images, a folder with a folder for each class; with --test
        test: as --train, to test on
        train_csv: your own labels: a column image and some of expression, yaw, pitch, roll, age,
            gender, race, class, valence, arousal, person; with --test-csv
        test_csv: as --train-csv, to test on
        pairs: your own pairs: LFW's pairs.txt format, or CSV with first, second, same and perhaps
            fold; with --images
        images: folder of the images of --pairs
        own: face sets to score on instead of `data`, with every task that they serve
    """

    encoders: Annotated[list[str], Option("--encoder", repeated=True)]
    tasks: Annotated[list[str], Option("--task")] | None = None
    data: str | None = None
    test_data: str | None = None
    spaces: Annotated[list[str], Option("--features")] | None = None
    seeds: Annotated[list[Seed], Option("--seed", "--seeds")] = field(default_factory=lambda: [0])
    label_shares: list[Percent] = field(default_factory=list)
    robustness: list[str] = field(default_factory=list)
    protocol: Literal["facecycle"] | None = None
    epochs: PositiveInt | None = None
    batch_size: PositiveInt = 256
    device: Device = "auto"
    precision: Literal["32", "bf16", "auto"] = "32"
    baselines: list[str] = field(default_factory=lambda: ["all"])
    brief: Annotated[bool, Option("--summary")] = False
    replicates: Annotated[PositiveInt, Option("--bootstrap")] = 1000
    max_train: TrainCount | None = None
    or_rendered: bool = False
    validation: bool = False
    train: str | None = None
    test: str | None = None
    train_csv: str | None = None
    test_csv: str | None = None
    pairs: str | None = None
    images: str | None = None
    own: Annotated[Sequence[Any], Option()] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs is not None and self.protocol is None:
            raise InputError("--epochs has no effect without --protocol; leave it out")
        for pair in (
            (self.train, self.test),
            (self.train_csv, self.test_csv),
            (self.pairs, self.images),
        ):
            if None not in pair:  # else both must be given, which comes first
                for place in pair:
                    existing(str(place))
        for encoder in self.encoders:
            if isinstance(encoder, str):  # in Python also an encoder
                check_encoder(encoder)
        for data in (self.data, self.test_data):
            check_data(data)

    module = "linear_probe.experiments.probe"
    writes = "folder for records.jsonl, features, skipped.csv"

    @property
    def hardware_note(self) -> str:
        from linear_probe.features.source import precision_named

        precision = precision_named(self.precision)
        return "" if precision == "32" else f", features in {precision}"

    def summary(self, out: Path, records: list[Record]) -> str:
        if not self.brief:
            return f"{tables_of_run(out, records)}\n\nrecords: {out}/records.jsonl"
        more = f"all figures: linear-probe report {shlex.quote(str(out))}"
        return f"\n{summary_of([out])}\n\nrecords: {out}/records.jsonl\n{more}"


@dataclass(frozen=True, kw_only=True)
class EditSettings(Experiment):
    """Score what methods make of images.

    Attributes:
        run: folder of `ssl-faces fit`, a checkpoint, or a released name; may be repeated
        no_untrained: leave out the methods with fresh weights
        seed: of untrained weights
        bootstrap: replicates behind the intervals
        batch_size: images at once
        device: where methods run
    """

    run: Annotated[list[str], Option("--run", repeated=True)]
    no_untrained: bool = False
    seed: Seed = 0
    bootstrap: PositiveInt = 1000
    batch_size: PositiveInt = 64
    device: Device = "auto"

    panel: ClassVar[str]
    """The file of images to look at, in the output folder."""

    def summary(self, out: Path, records: list[Record]) -> str:
        table = tables_of_run(out, records)
        return f"{table}\n\nrecords: {out}/records.jsonl\nimages: {out}/{self.panel}"


@dataclass(frozen=True, kw_only=True)
class TruthSettings(EditSettings):
    """Neutral, frontal and swapped faces of a run beside the rendered truth.

    Attributes:
        count: faces to score on
        seed: of people and untrained weights
        nuisances: how much light, place, camera and occluders vary
    """

    count: FaceCount = 512
    nuisances: Literal["none", "mild", "all"] = "mild"

    module = "linear_probe.experiments.truth.run"
    panel = "truth.png"
    writes = "folder for records.jsonl, truth.png"


@dataclass(frozen=True, kw_only=True)
class FrontalSettings(EditSettings):
    """Frontal faces made of CFP's profile photographs, judged by a recogniser.

    Attributes:
        recogniser: who judges: package:dlib, timm:NAME, any --encoder of `linear-probe run`, or HOG
        data: folder with CFP, and perhaps with a set that has poses; default: $SSL_FACES_DATA, else
            ~/.cache/ssl-faces/data
        device: where methods and recogniser run
    """

    recogniser: str
    data: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_data(self.data)

    module = "linear_probe.experiments.frontal.run"
    panel = "frontal.png"
    writes = "folder for records.jsonl, frontal.png"


@dataclass(frozen=True)
class SavedProbeSettings:
    """Keep a probe beside its encoder: calibrated probabilities of classes.

    Attributes:
        encoder: its folder, or a released name
        out: for features, kept there; those of an earlier `linear-probe run` there are reused
        task: one of classes; default: expression, or the classes of --train
        train: your own classes: a folder with a folder for each class, or a CSV with the columns
            image and class (or expression), and perhaps person; with --test
        test: as --train, to test on
        save: folder for the probe and a copy of its encoder; default: the encoder's own folder, or
            OUT/probe for --train
        space: feature space; default: the best on validation images
        data: as in `linear-probe run`; FER-2013 if it is there, else the first set that serves
        max_train: train on N images, drawn by the seed; default: all
        seed: of the validation split
        batch_size: images at once
        device: where encoder and probe run
        overwrite: replace the probe that is there
        replicates: of the bootstrap
    """

    encoder: str
    out: str
    task: str | None = None
    train: str | None = None
    test: str | None = None
    save: str | None = None
    space: str | None = None
    data: str | None = None
    max_train: TrainCount | None = None
    seed: Seed = 0
    batch_size: PositiveInt = 256
    device: Device = "auto"
    overwrite: bool = False
    replicates: Annotated[PositiveInt, Option()] = 1000

    def __post_init__(self) -> None:
        check_fields(self, "")
        find_encoder(self.encoder)
        check_data(self.data)


def summary_of(folders: Sequence[str | Path]) -> str:
    """The small table of all records in these folders. Raises InputError: a folder without
    records."""
    from linear_probe.records.collect import find_records, replicates_of
    from linear_probe.reports.summary import summary

    records = find_records(folders)
    return summary([one.record for one in records], replicates_of(records))
