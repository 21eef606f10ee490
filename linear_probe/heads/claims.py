"""`linear-probe claims`: each paper's claim as an experiment, all of them in one table.

A claim pits a head with its key idea against the same head without it: both are trained by every
seed, and the gap between their means has a 95 % interval over test rows and seeds.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from linear_probe.over_seeds import Gap, OverSeeds, gap
from linear_probe.record import RECORDS_FILE, Record, read_records
from linear_probe.replicates import REPLICATES_FILE, read_replicates
from linear_probe.reports.write import write_report
from linear_probe.tasks import MissingData
from linear_probe.text_tables import Table, as_text
from ssl_faces import InputError
from ssl_faces.files import replace_file

CLAIMS_FILE = "claims.md"
CLAIMS_PAGE = "claims.html"
Run = Callable[[str, Sequence[str]], list[Record]]
Verdict = Literal["holds", "not seen here", "the contrary is seen", "no data"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Arm(_Strict):
    """One of the two: `linear-probe head` (or another verb) with these configs and arguments."""

    command: Literal["head", "video", "landmarks"] = "head"
    configs: list[str] = Field(min_length=1)
    arguments: dict[str, Any] = {}

    def words(self, common: dict[str, Any], seeds: Sequence[int], out: Path) -> list[str]:
        """The command's arguments, the folder last: arms that are alike have the same, so that
        what several claims need is trained once.

        Args:
            common: arguments of all heads; other verbs have none of them.
            seeds: of the training.
            out: the claims' folder.
        """
        found = [word for config in self.configs for word in ("-c", config)]
        if self.command == "video":
            common = {"features": str(out / "features")}  # all see the same frames
        elif self.command == "landmarks":
            common = {"label": self._label()}
        else:
            common = {"label": self._label(), **common}
        for key, value in {**common, **self.arguments}.items():
            found.append(f"--{key}={value if isinstance(value, str) else json.dumps(value)}")
        found.append(f"--seeds={list(seeds)}")
        digest = hashlib.sha256("\n".join([self.command, *found]).encode()).hexdigest()[:8]
        name = "-".join(Path(config).stem for config in self.configs)
        return [*found, f"--out={out / 'arms' / f'{name}-{digest}'}"]

    def _label(self) -> str:
        """What tells the head from others in tables: its config, and what is changed about it."""
        changed = [
            f"{key.rpartition('.')[2]} {value if isinstance(value, str) else json.dumps(value)}"
            for key, value in self.arguments.items()
            if key.startswith(("head.", "before", "nodes", "frames"))
        ]
        return ", ".join(["+".join(Path(config).stem for config in self.configs), *changed])


class Claim(_Strict):
    """What a paper claims, and how it is put to the test.

    Attributes:
        says: in words.
        published: what was measured there, with its protocol.
        idea, without: the head, and the same head without its idea.
        metric: of the records; of several, on one scale, their mean.
        probe, task: of the records, where several have such a metric.
        level: of the degradation that it is about; None is pictures as they are.
        at_most_worse: the claim is that the idea costs no more than so much; None: that it is
            better.
        tried: what else was tried where it does not hold.
    """

    says: str
    published: str
    idea: Arm
    without: Arm
    metric: str | Annotated[list[str], Field(min_length=1)] = "accuracy"
    probe: str | None = None
    task: str | None = None
    level: float | None = None
    at_most_worse: float | None = Field(default=None, ge=0)
    tried: str = ""


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class Claims(_Strict):
    """The file: seeds and arguments of all heads, then the claims by name."""

    seeds: list[int] = Field(min_length=1)
    arguments: dict[str, Any] = {}
    claims: dict[Name, Claim] = Field(min_length=1)


def read_claims(path: Path) -> Claims:
    """The file, checked.

    Raises:
        InputError: it can't be read, or says what there isn't.
    """
    try:
        return Claims.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: no YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"{path}: {where}: {first['msg']}") from error


def run_claims(
    claims: Claims,
    out: Path,
    run: Run,
    only: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> Table:
    """Train and score both heads of every claim, and write `claims.md` to `out`; its table. What
    all heads reached, with plots, is in `claims.html`.

    What is trained already is not trained again. A claim whose data aren't there is a row that
    says so.

    Args:
        run: runs a verb with arguments: `linear_probe.job_files.run_job`.
        only: names of some claims; none is all.

    Raises:
        InputError: no such claim, or a head can't be trained for another reason than its data.
    """
    unknown = sorted({*only} - {*claims.claims})
    if unknown:
        raise InputError(f"--only {unknown[0]}: there are {', '.join(claims.claims)}")
    header = ["claim", "published", "with", "without", "gain", "seeds", "verdict"]
    body = []
    folders: dict[str, None] = {}
    notes: dict[str, None] = {}
    for name in only or claims.claims:
        claim = claims.claims[name]
        try:
            arms = []
            for kind, arm in (("idea", claim.idea), ("without", claim.without)):
                words = arm.words(claims.arguments, claims.seeds, out)
                say(f"{name}: {kind}: linear-probe {shlex.join([arm.command, *words])}")
                run(arm.command, words)
                folder = words[-1].removeprefix("--out=")
                arms.append(figure(Path(folder), claim))
                folders[folder] = None
            records = arms[0][1]
            better, worse = arms if records[0].higher_is_better else reversed(arms)
            found = gap(better[0], worse[0])
            said: Verdict = verdict(found, claim)
            # What has no unit, such as CCC, is at most 1.
            digits = 2 if records[0].unit else 3
            cells = [told(arm, digits) for arm, _ in arms]
            gap_said = (f"{x:+.{digits}f}" for x in (found.value, found.low, found.high))
            cells += ["{} [{}, {}]".format(*gap_said)]
            seeds = str(len(records))
            notes[f"{records[0].data_set}, n {records[0].n:,}; {records[0].hardware}"] = None
        except MissingData as error:
            said, cells, seeds = "no data", ["-", "-", "-"], "-"
            notes[f"{name}: {error}"] = None
        body.append([claim.says, claim.published, *cells, seeds, said])
        if claim.tried and said != "holds":
            notes[f"{name}: {claim.tried}"] = None
        notes_of_all = [
            "with and without: mean over seeds, 95 % interval over test rows and seeds, in the "
            "metric's unit; gain: of the one with it, more where more is better, else less; holds: "
            "the gain's interval is above 0 (or above what the idea may cost)",
            *notes,
        ]
        table = Table("Claims of the papers", header, body, notes_of_all)
        # After each: a run that is stopped keeps what it has.
        replace_file(out / CLAIMS_FILE, (as_text(table, markdown=True) + "\n").encode())
    if folders:
        write_report([*folders], out / CLAIMS_PAGE, None, 0)
    return table


def figure(folder: Path, claim: Claim) -> tuple[OverSeeds, list[Record]]:
    """The claim's metric in a folder of records, over all seeds there, and records of one metric.

    Raises:
        InputError: there is no such figure.
    """
    metrics = [claim.metric] if isinstance(claim.metric, str) else claim.metric
    replicates = read_replicates(folder / REPLICATES_FILE)
    values, draws = [], []
    for metric in metrics:
        records = [
            record
            for record in read_records(folder / RECORDS_FILE)
            if record.metric == metric
            and record.condition.get("level") == claim.level
            and claim.probe in (None, record.probe)
            and claim.task in (None, record.task)
        ]
        for several, mend in (
            ({record.data_set for record in records}, "data set: name it in the arguments"),
            ({record.probe for record in records}, "probe: name it as the claim's `probe`"),
            ({record.task for record in records}, "task: name it as the claim's `task`"),
        ):
            if len(several) != 1:
                there = ", ".join(sorted(several)) or "nothing"
                raise InputError(f"{folder}: {metric} of {there}; a claim needs one {mend}")
        records.sort(key=lambda record: record.seed)
        values.append([record.value for record in records])
        # Draws of test rows are the same for all metrics.
        draws.append([replicates[record.name] for record in records])
    return OverSeeds(np.mean(values, axis=0), np.mean(draws, axis=0)), records


def verdict(found: Gap, claim: Claim) -> Verdict:
    """By the 95 % interval of the gap by which `idea` is better than `without`."""
    least = 0.0 if claim.at_most_worse is None else -claim.at_most_worse
    if found.low > least:
        return "holds"
    return "the contrary is seen" if found.high < least else "not seen here"


def told(one: OverSeeds, digits: int) -> str:
    low, high = one.interval
    return f"{one.value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
