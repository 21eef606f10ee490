"""`linear-probe claims`: trains and scores what claims compare, and writes their table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from linear_probe.plans.claims.figures import meant, seeds_there
from linear_probe.plans.claims.settings import Arm, Call, Claim, Claims
from linear_probe.plans.claims.table import CLAIMS_FILE, CLAIMS_PAGE, ClaimTable
from linear_probe.records.record import RECORDS_FILE, Record
from linear_probe.records.recorder import RunFolder
from linear_probe.reports.text_tables import Table, as_text
from linear_probe.reports.wandb_tables import log_tables
from ssl_faces import InputError
from ssl_faces.plan.command import run_plan
from ssl_faces.plan.engine import Engine
from ssl_faces.plan.steps import Step

NO_DATA = 3
"""Exit code of a step whose data aren't there."""

NO_DATA_VARIABLE = "LINEAR_PROBE_NO_DATA"
"""Variable of the environment that makes a command use that exit code."""


def run(
    claims: Claims,
    out: Path,
    command: Sequence[str],
    *,
    only_table: bool = False,
    keep_in: Path | None = None,
    target: tuple[str, str | None] | None = None,
    **plan: Any,
) -> int:
    """Run claims, print their table and the files; returns the exit code.

    Args:
        out: folder for the runs, the table and the page.
        command: as it was typed.
        only_table: run nothing.
        keep_in: folder for copies of the records.
        target: W&B project and run name to log the table to.
        plan: `jobs`, `executor` and `address`, as of `run_plan`.

    Raises:
        InputError: as `run_claims`.
    """

    def work(engine: Engine | None) -> int:
        if engine is not None:
            engine.begin(seeds=claims.seeds)
        table = run_claims(claims, out, engine)
        print(f"\n{as_text(table)}\n\ntable: {out}/{CLAIMS_FILE}")
        print(f"all, with plots: {out}/{CLAIMS_PAGE}")
        if keep_in is not None:
            print(f"{keep(claims, out, keep_in)} records kept: {keep_in}")
        if target is not None:
            print(log_tables([table], *target, str(out)))
        return 0

    if only_table:
        return work(None)
    return run_plan(command, out, work, resources=claims.resources, **plan)


def run_claims(claims: Claims, out: Path, engine: Engine | None = None) -> Table:
    """Train and score both arms of every claim, and write `claims.md` to `out`; its table. A page
    of all records, with plots, is `claims.html`.

    Arms that have records are not run again, and records of further seeds count. A claim without
    its data, or with an arm that fails, has a row that says so; the other claims are run.

    Args:
        engine: runs the arms; None: run nothing, and take the records that are there.

    Raises:
        InputError: at the end, if an arm failed for another reason than missing data.
    """
    table = ClaimTable(out, claims)
    steps: dict[tuple[str, ...], Step] = {}
    needed: dict[str, list[str]] = {}
    for name, claim in claims.claims.items():
        needed[name] = _add_steps(name, claim, claims, out, steps) if engine is not None else []
    waiting = dict(claims.claims)
    failed: dict[str, str] = {}

    def write(over: set[str]) -> None:
        """Rows of the next claims, in the file's order, whose steps are over."""
        failures = engine.failures if engine else {}
        for name, claim in list(waiting.items()):
            if not over.issuperset(needed[name]):
                return
            del waiting[name]
            errors = [failures[step] for step in needed[name] if step in failures]
            if errors and errors[0].code == NO_DATA:
                table.add_missing(name, claim, str(errors[0]), "no data")
                continue
            try:
                if errors:
                    raise InputError(str(errors[0]))
                arms = (arm.calls_there(claims.arguments, out) for arm in claim.arms)
                table.add(name, claim, *arms)
            except InputError as error:
                table.add_missing(name, claim, str(error), "not run")
                failed[name] = str(error)
        table.write()

    if engine is not None:
        engine.run(steps.values(), then=write)
    write({name for names in needed.values() for name in names})
    table.write_page()
    if failed and engine is not None:
        name, first = next(iter(failed.items()))
        others = f", and {len(failed) - 1} more could not be run" if len(failed) > 1 else ""
        raise InputError(f"{name}: {first}{others}: see {out / CLAIMS_FILE}")
    return table.table


def _add_steps(
    name: str, claim: Claim, claims: Claims, out: Path, steps: dict[tuple[str, ...], Step]
) -> list[str]:
    """Add the steps that a claim lacks, if another claim has not; the names of all it needs."""
    needed: list[str] = []

    def add(step: Step) -> str:
        step = steps.setdefault(tuple(step.argv), step)
        needed.append(step.name)
        return step.name

    for kind, arm in zip(("idea", "without"), claim.arms, strict=True):
        seeds = _missing(claims, claim, arm, out)
        calls = arm.calls(claims.arguments, seeds, out) if seeds else []
        for number, call in enumerate(calls, start=1):
            before = [add(fit) for fit in call.fits][-1:]
            title = f"{name}: {kind}" + (f", {number} of {len(calls)}" if len(calls) > 1 else "")
            if call.trained is not None:
                before = [add(_call_step(f"{title}, its head", "head", call.trained, before))]
            add(_call_step(title, arm.command, call, before))
    return needed


def _call_step(title: str, command: str, call: Call, after: list[str]) -> Step:
    return Step(
        title,
        ["linear-probe", command, *call.words],
        call.folder.with_name(f"{call.folder.name}.log"),
        call.folder,
        after=after,
        is_whole=(call.folder / RECORDS_FILE).exists,
        always=True,  # records of other seeds may be there
        environment={NO_DATA_VARIABLE: str(NO_DATA)},
    )


def _missing(claims: Claims, claim: Claim, arm: Arm, out: Path) -> list[int]:
    """Seeds without the records of an arm that the claim needs. Records are enough: the encoder
    that was trained for them may be gone, as it isn't archived with them."""

    def there(seed: int) -> bool:
        try:
            return seed in seeds_there(arm.calls(claims.arguments, [seed], out), claim)
        except InputError:
            return False  # or ambiguous; its row will say so

    return [seed for seed in claims.seeds if not there(seed)]


def keep(claims: Claims, out: Path, to: Path) -> int:
    """Copy the records that claims are about, with their replicates, from `out` to `to`, such that
    `run_claims(claims, to)` gives the same table; also seeds that only one arm has. Encoders that
    were trained are named relative to `out`. Returns the number of records.

    Records that are in `to` stay, except for those of the same key.

    Raises:
        InputError: a file can't be read or written.
    """
    kept: dict[Path, dict[str, tuple[Record, np.ndarray, None]]] = {}
    for claim in claims.claims.values():
        for arm in claim.arms:
            for call in arm.calls_there(claims.arguments, out):
                folder = to / call.folder.relative_to(out)
                replicates = RunFolder(call.folder).replicates()
                for metric in claim.metrics:
                    try:
                        records = meant(call, claim, metric)
                    except InputError:
                        continue  # of a run that was stopped
                    for record in records:
                        named = _named_from(call, record)
                        row = named, replicates[record.name], None
                        kept.setdefault(folder, {})[named.name] = row
    return sum(len(RunFolder(folder).add(rows.values())) for folder, rows in kept.items())


def _named_from(call: Call, record: Record) -> Record:
    """The record, with an encoder that was trained for it named by its folder within `out`."""
    for fit in call.fits:
        if record.encoder.endswith(f"/{fit.name}"):
            return dataclasses.replace(record, encoder=fit.name)
    return record
