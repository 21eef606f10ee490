"""Trains and scores what claims compare, and writes their table."""

from __future__ import annotations

import dataclasses
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from linear_probe.experiments.verbs import VERBS
from linear_probe.plans.claims.figures import (
    Verdict,
    figure,
    meant,
    seeds_there,
    times_smaller,
    verdict,
)
from linear_probe.plans.claims.settings import Arm, Call, Claim, Claims, Fit
from linear_probe.records.record import Record
from linear_probe.records.recorder import RunFolder
from linear_probe.reports.text_tables import Table, as_text
from linear_probe.reports.write import write_report
from linear_probe.stats.over_seeds import OverSeeds, gap
from linear_probe.tasks import MissingData
from ssl_faces import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.common.safe_path import python
from ssl_faces.encoders.encoder import read_card

CLAIMS_FILE = "claims.md"
CLAIMS_PAGE = "claims.html"
Run = Callable[[str, Sequence[str]], object]
Train = Callable[[Fit], None]
_VERDICTS: list[tuple[Verdict, ...]] = [
    ("holds",),
    ("not seen here",),
    ("the contrary is seen",),
    ("no data", "not run"),
]
_HEADER = ["name", "claim", "published", "with", "without", "gain", "seeds", "verdict"]
_NOTE = (
    "with and without: mean over seeds, 95 % interval over test rows and seeds, in the metric's "
    "unit; gain: of the one with it, more where more is better, else less; holds: the gain's "
    "interval is above 0 (or above what the idea may cost)"
)


def run_verb(verb: str, words: Sequence[str]) -> None:
    """Run a verb of `linear-probe`.

    Raises:
        InputError: as the verb raises it.
    """
    # Late: it knows this module.
    from linear_probe import cli
    from linear_probe.experiments import job_files

    if verb in VERBS:
        job_files.run_job(verb, words)
    else:
        cli.run([verb, *words])


def train(fit: Fit) -> None:
    """Run `ssl-faces fit`, unless that was done.

    Raises:
        InputError: it failed; it has said why.
    """
    try:
        if read_card(fit.folder / "encoder").get("steps") == fit.steps:
            return
    except InputError:
        pass  # not yet
    done = subprocess.run(python("-m", "ssl_faces.cli", "fit", *fit.words), check=False)
    if done.returncode:
        raise InputError(f"{fit.folder}: `ssl-faces fit` ended with {done.returncode}; see above")


def run_claims(
    claims: Claims,
    out: Path,
    run: Run = run_verb,
    say: Callable[[str], None] = print,
    train: Train = train,
    only_table: bool = False,
) -> Table:
    """Train and score both arms of every claim, and write `claims.md` to `out`; its table. What
    all reached, with plots, is in `claims.html`.

    What there are records of is not run again, and seeds that are there already count. A claim
    whose data aren't there, or whose arm can't be run, is a row that says so; the others are run.

    Args:
        run: runs a verb with arguments.
        train: runs what is to be trained first.
        only_table: run nothing, take what is there.

    Raises:
        InputError: when all have been gone through, an arm that can't be run for another reason
            than its data.
    """
    table = _Table(out)
    done: set[tuple[str, ...]] = set()
    failed: dict[str, InputError] = {}
    for name, claim in claims.claims.items():
        arms = []
        try:
            for kind, arm in (("idea", claim.idea), ("without", claim.without)):
                seeds = [] if only_table else _missing(claims, claim, arm, out)
                for call in arm.calls(claims.arguments, seeds, out) if seeds else []:
                    words = (arm.command, *call.words)
                    if words in done:
                        continue
                    for fit in call.fits:
                        say(f"{name}: {kind}: ssl-faces fit {shlex.join(fit.words)}")
                        train(fit)
                    say(f"{name}: {kind}: linear-probe {shlex.join(words)}")
                    run(arm.command, call.words)
                    done.add(words)
                arms.append(arm.calls_there(claims.arguments, out))
            table.add(name, claim, *arms)
        except MissingData as error:
            table.add_missing(name, claim, error, "no data")
        except InputError as error:
            # Where nothing is run, such as a run that was stopped half way.
            table.add_missing(name, claim, error, "not run")
            if not only_table:
                say(f"{name}: {error}")
                failed[name] = error
        # After each: a run that is stopped keeps what it has.
        table.write()
    table.write_page()
    if failed:
        name, first = next(iter(failed.items()))
        others = f", and {len(failed) - 1} more could not be run" if len(failed) > 1 else ""
        raise InputError(f"{name}: {first}{others}: see {out / CLAIMS_FILE}") from first
    return table.table


def _missing(claims: Claims, claim: Claim, arm: Arm, out: Path) -> list[int]:
    """The seeds by which no records of the arm are there that the claim can be told by. Records
    are enough: what was trained for them need not be there, as it isn't beside kept ones."""

    def there(seed: int) -> bool:
        [call] = arm.calls(claims.arguments, [seed], out)
        try:
            of_metrics = [meant(call, claim, metric) for metric in claim.metrics]
        except InputError:
            return False  # or not to be told; its row will say so
        # Encoders of several seeds have a folder each.
        return bool(arm.fit) or all(
            seed in [record.seed for record in records] for records in of_metrics
        )

    return [seed for seed in claims.seeds if not there(seed)]


def keep(claims: Claims, out: Path, to: Path) -> int:
    """Copy from `out` to `to` the records, with their replicates, that claims are about, and no
    more, for `run_claims(…, to, only_table=True)` to tell the same; of seeds too that only one
    side has as yet. Encoders that were trained are named from `out`. Their number.

    Records that are kept already stay, but for those of the same key.

    Raises:
        InputError: a file can't be read or written.
    """
    kept: dict[Path, dict[str, tuple[Record, np.ndarray, None]]] = {}
    for claim in claims.claims.values():
        for arm in (claim.idea, claim.without):
            for call in arm.calls_there(claims.arguments, out):
                folder = to / call.folder.relative_to(out)
                of_all = RunFolder(call.folder).replicates()
                for metric in claim.metrics:
                    try:
                        found = meant(call, claim, metric)
                    except InputError:
                        continue  # a run that was stopped half way
                    for one in found:
                        named = _named_from(out, call, one)
                        kept.setdefault(folder, {})[named.name] = named, of_all[one.name], None
    return sum(len(RunFolder(folder).add(found.values())) for folder, found in kept.items())


def _named_from(out: Path, call: Call, record: Record) -> Record:
    """The record, with an encoder that was trained for it called by its folder from `out`."""
    for fit in call.fits:
        named = str(fit.folder.relative_to(out))
        if record.encoder.endswith(f"/{named}"):
            return dataclasses.replace(record, encoder=named)
    return record


class _Table:
    """Rows of claims, and what readers must know of them."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.body: list[list[str]] = []
        self.papers: dict[str, list[tuple[str, Verdict]]] = {}
        self.notes: dict[str, None] = {_NOTE: None}
        self.tried: dict[str, list[str]] = {}
        self.folders: dict[Path, None] = {}

    def add(self, name: str, claim: Claim, idea: list[Call], without: list[Call]) -> None:
        if not idea or not without:
            raise InputError("no records of it")
        # A seed that only one of them has would be held against others of the other.
        seeds = seeds_there(idea, claim) & seeds_there(without, claim)
        if not seeds:
            raise InputError("both arms have records, but of no seed that is the same")
        one, records = figure(idea, claim, seeds)
        other, of_other = figure(without, claim, seeds)
        if len({record.sample for record in (*records, *of_other)}) > 1:
            folders = " and ".join(dict.fromkeys(str(c.folder) for c in (*idea, *without)))
            raise InputError(
                f"{folders}: records of several test samples or draws of them; delete what is old, "
                "and run it anew"
            )
        better, worse = (one, other) if records[0].higher_is_better else (other, one)
        found = gap(better, worse)
        smaller = None
        if claim.at_least_smaller is not None:
            smaller = times_smaller(records, of_other)
        # What has no unit, such as CCC, is at most 1.
        digits = 2 if records[0].unit else 3
        gain = (f"{x:+.{digits}f}" for x in (found.value, found.low, found.high))
        cells = [told(one, digits), told(other, digits), "{} [{}, {}]".format(*gain)]
        if smaller is not None:
            cells[-1] += f"; {smaller:.1f} times smaller"
        self._row(name, claim, cells, str(len(records)), verdict(found, claim, smaller))
        # Seeds may have been run on several machines.
        machines = " and ".join(dict.fromkeys(one.hardware for one in (*records, *of_other)))
        self.notes[f"{records[0].data_set}, n {records[0].n:,}; {machines}"] = None
        self.folders |= dict.fromkeys(call.folder for call in (*idea, *without))

    def add_missing(self, name: str, claim: Claim, error: InputError, said: Verdict) -> None:
        self._row(name, claim, ["-", "-", "-"], "-", said)
        self.notes[f"{name}: {error}"] = None

    def _row(self, name: str, claim: Claim, cells: list[str], seeds: str, said: Verdict) -> None:
        self.body.append([name, claim.says, claim.published, *cells, seeds, said])
        self.papers.setdefault(claim.paper, []).append((seeds, said))
        if claim.tried and said != "holds":
            self.tried.setdefault(claim.tried, []).append(name)

    @property
    def table(self) -> Table:
        # What was tried for several claims is told once.
        tried = (f"{', '.join(names)}: {text}" for text, names in self.tried.items())
        return Table("Claims of the papers", _HEADER, self.body, [*self.notes, *tried])

    @property
    def by_paper(self) -> Table:
        body = []
        for paper, rows in self.papers.items():
            counts = [sum(said in kinds for _, said in rows) for kinds in _VERDICTS]
            seeds = sorted({int(count) for count, _ in rows if count.isdigit()})
            ends = dict.fromkeys(str(count) for count in (seeds[:1] + seeds[-1:]))
            body.append([paper, *(str(count or "-") for count in counts), " to ".join(ends) or "-"])
        header = ["paper", *(" or ".join(kinds) for kinds in _VERDICTS), "seeds"]
        return Table("Claims by paper", header, body, [])

    def write(self) -> None:
        found = (as_text(table, markdown=True) for table in (self.by_paper, self.table))
        replace_file(self.out / CLAIMS_FILE, ("\n\n".join(found) + "\n").encode())

    def write_page(self) -> None:
        if self.folders:
            write_report([str(one) for one in self.folders], self.out / CLAIMS_PAGE, None, 0)


def told(one: OverSeeds, digits: int) -> str:
    low, high = one.interval
    return f"{one.value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
