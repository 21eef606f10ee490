"""The commands of `linear-probe` without a settings file; they import what they need when run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import PlainValidator

from linear_probe.arguments import Option
from linear_probe.experiments.settings import (
    FrontalSettings,
    ProbeSettings,
    SavedProbeSettings,
    TruthSettings,
    summary_of,
)
from linear_probe.head_commands import export, predict
from linear_probe.sources.names import check_data
from ssl_faces.common.arguments import whole
from ssl_faces.common.config_files import find_config
from ssl_faces.common.errors import InputError
from ssl_faces.common.outputs import check_output
from ssl_faces.common.ranges import NonNegativeInt, Seed
from ssl_faces.encoders.places import find_encoder

JobCount = Annotated[int, PlainValidator(whole(1, 1024))]
Config = Annotated[str, Option("-c", "--config")]


def claims(
    *,
    config: Config = "configs/claims.yaml",
    out: str,
    wandb: str | None = None,
    only: list[str] | None = None,
    seeds: list[Seed] | None = None,
    table: bool = False,
    jobs: JobCount | None = None,
    executor: Literal["local", "slurm", "ray"] = "local",
    address: str | None = None,
    keep: str | None = None,
    words: Annotated[Sequence[str], Option()] = (),
) -> int:
    """Run each paper's system with and without its idea.

    Args:
        config: the claims' file, or its name in configs
        out: folder for runs, claims.md and claims.html
        wandb: PROJECT or PROJECT/RUN: log the table to W&B (offline, see WANDB_MODE)
        only: some of the claims; default: all
        seeds: instead of the file's; seeds that are there count too
        table: run nothing, show what is there
        jobs: arms at once, as far as memory allows; default: 1, on a cluster 100
        executor: where arms run: on this machine, or as jobs of a cluster
        address: of the Ray cluster: auto (the default) or HOST:PORT; `local` tries slurm here
        keep: copy the records of both sides of the claims to this folder, and no others
    """
    from linear_probe.plans.claims.run import run
    from linear_probe.plans.claims.settings import read_claims
    from linear_probe.reports.wandb_tables import parse_target

    target = None if wandb is None else parse_target(wandb)
    read = read_claims(find_config(config, ("",)))
    if seeds is not None:
        read = read.model_copy(update={"seeds": seeds})
    if only is not None:
        read = read.only(only)
    kept = None if keep is None else Path(keep)
    return run(
        read,
        Path(out),
        ["linear-probe", *words],
        only_table=table,
        jobs=jobs,
        executor=executor,
        address=address,
        keep_in=kept,
        target=target,
    )


def report(
    folders: list[str],
    *,
    validation: bool = False,
    markdown: bool = False,
    latex: bool = False,
    summary: bool = False,
    out: str | None = None,
    overwrite: bool = False,
    data: str | None = None,
    maps: NonNegativeInt | None = None,
    figures: str | None = None,
    pdf: bool = False,
    wandb: str | None = None,
) -> int:
    """Print the table of earlier runs, or write a page about them, or tables and figures for a
    paper.

    Args:
        folders: the --out of earlier runs
        validation: validation figures: choose between encoders by them, not by test figures
        markdown: as Markdown tables
        latex: as LaTeX tables (booktabs)
        summary: one small table, as of `linear-probe run --summary`
        out: write it: .html (one page with plots, confusions, maps and mistakes), .md, .tex or
            .csv
        overwrite: replace what --out names, if it exists
        data: folder, rendered or rendered:COUNT: images for the galleries of an .html report;
            default: keys only
        maps: 2-D maps of features in an .html report or figures, seconds each; default: 6
        figures: folder to write each plot to, as SVG
        pdf: the plots as PDF instead
        wandb: PROJECT or PROJECT/RUN: log it to W&B too (offline, see WANDB_MODE)
    """
    from linear_probe.records.collect import find_records, replicates_of
    from linear_probe.reports.command import Form
    from linear_probe.reports.command import table as table_of
    from linear_probe.reports.wandb_tables import log_to_wandb, parse_target
    from linear_probe.reports.write import check_ending, write_report

    if data is not None and not out:
        raise InputError("--data is for an .html report: add --out report.html")
    if maps is not None and not (out or figures):
        raise InputError("--maps is for an .html report or figures: add --out report.html")
    if pdf and not figures:
        raise InputError("--pdf is for figures: add --figures FOLDER")
    if markdown and latex:
        raise InputError("--markdown and --latex exclude each other; give one")
    if out and (validation or markdown or latex or summary):
        raise InputError(
            "--validation, --markdown, --latex and --summary are for the screen: no --out"
        )
    if summary and (validation or markdown or latex):
        raise InputError("--summary goes with none of --validation, --markdown and --latex")
    if out:
        check_ending(out)
        check_output(Path(out), overwrite, folders)
    check_data(data)
    target = None if wandb is None else parse_target(wandb)
    found = find_records(folders)
    records = [one.record for one in found]
    if out:
        write_report(folders, out, data, maps)
        print(f"report: {out}")
    if figures:
        from linear_probe.reports.figures import write_figures

        print(f"{len(write_figures(folders, figures, pdf, maps)):,} figures: {figures}")
    if summary:
        print(summary_of(folders))
    elif not (out or figures):
        replicates = replicates_of(found)
        form: Form = "markdown" if markdown else "latex" if latex else "text"
        print(table_of(records, form=form, validation=validation, replicates=replicates))
    if target is not None:
        print(log_to_wandb(records, *target, folders[0], replicates_of(found)))
    return 0


def breakdown(folder: str, row: str | None = None, *, markdown: bool = False) -> int:
    """Confusions, and figures by class and by group of people.

    Args:
        folder: the --out of an earlier run
        row: a row of the table, ENCODER or ENCODER=SPACE; default: all
        markdown: as Markdown tables
    """
    from linear_probe.reports.part_tables import breakdown

    print(breakdown(folder, row, markdown))
    return 0


def leakage(folder: str, *, markdown: bool = False) -> int:
    """What each feature space predicts of expression, pose, identity and attributes.

    Args:
        folder: the --out of an earlier run
        markdown: as Markdown tables
    """
    from linear_probe.reports.leakage import leakage

    print(leakage(folder, markdown))
    return 0


def compare(folder: str, one: str, other: str) -> int:
    """Is one row of the table better than another? Paired bootstrap.

    Args:
        folder: the --out of an earlier run
        one: a row of the table, ENCODER or ENCODER=SPACE
        other: another
    """
    from linear_probe.stats.paired import compare

    for line in compare(folder, one, other):
        print(line)
    return 0


def comparison(folder: str) -> int:
    """The table of `ssl-faces compare`: comparison.md and .csv.

    Args:
        folder: the --out of `ssl-faces compare`
    """
    from linear_probe.reports.comparison_table import write_comparison
    from linear_probe.reports.text_tables import as_text

    print(as_text(write_comparison(folder)))
    return 0


def tuning(folder: str) -> int:
    """Validation scores of the short runs of `ssl-faces compare`: tuning.json.

    Args:
        folder: `tuning` in the --out of `ssl-faces compare`
    """
    from linear_probe.reports.comparison import write_validation_scores

    print(f"validation scores: {write_validation_scores(Path(folder))}")
    return 0


def card(encoder: str, folders: list[str]) -> int:
    """Put an encoder's figures into its card.

    Args:
        encoder: its folder, or a released name
        folders: the --out of earlier runs
    """
    find_encoder(encoder)
    from linear_probe.records.card import add_records

    print(f"{encoder}: {len(add_records(encoder, folders)):,} records in its card")
    return 0


def keep(folders: list[str], *, out: str, overwrite: bool = False) -> int:
    """Archive records of runs, or of a comparison, for the documentation.

    Args:
        folders: the --out of earlier runs
        out: the archive, NAME.jsonl.gz
        overwrite: replace what --out names, if it exists
    """
    from linear_probe.reports import archive

    for path in (Path(out), archive.table_beside(Path(out))):
        check_output(path, overwrite, folders)
    print(f"{len(archive.keep(folders, Path(out))):,} records kept: {out}")
    return 0


def threshold(encoder: str, *, data: str | None = None) -> int:
    """Put the thresholds of `ssl-faces verify`, `search` and `cluster` into an encoder's card.

    Args:
        encoder: its folder, or a released name
        data: folder with LFW; default: as for run
    """
    find_encoder(encoder)
    check_data(data)
    from linear_probe.experiments.threshold import keep_threshold
    from ssl_faces.data import default_data_root

    kept = keep_threshold(encoder, data or default_data_root())
    print(f"{encoder}: {kept.space} codes from {kept.threshold:.4f} on ({kept.description})")
    return 0


def readme(*, config: Config = "checkpoints/tables.yaml", check: bool = False) -> int:
    """Fill the tables of the project's pages from archived records.

    Args:
        config: the tables' file
        check: write nothing; fail if a page is stale
    """
    from linear_probe.reports.readme import fill

    stale = fill(Path(config), check=check)
    for path in stale:
        print(f"{'stale' if check else 'written'}: {path}")
    if not stale:
        print("all pages are as their records say")
    return 1 if stale and check else 0


def cache(folders: list[str] | None = None, *, clean: bool = False) -> int:
    """Where the features of earlier runs are, and their size; remove them.

    Args:
        folders: the --out of runs, or folders of runs; default: runs
        clean: remove the features; records and tables stay
    """
    from linear_probe.features.cache import report_caches

    for line in report_caches([Path(folder) for folder in folders or []], clean):
        print(line)
    return 0


COMMANDS: dict[str, Callable[..., Any]] = {
    "run": ProbeSettings,
    "truth": TruthSettings,
    "frontal": FrontalSettings,
    "save-probe": SavedProbeSettings,
    **{
        function.__name__: function
        for function in (
            *(claims, report, breakdown, leakage, compare, comparison, tuning),
            *(card, keep, threshold, readme, cache, predict, export),
        )
    },
}
"""By name: a function, or settings that run (see `linear_probe.cli.run`)."""
