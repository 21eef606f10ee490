"""`linear-probe`: score frozen encoders, and print what was scored, from the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from linear_probe.arguments import parser
from linear_probe.experiments.runner import Experiment, run_experiment
from linear_probe.experiments.settings import (
    ProbeSettings,
    SavedProbeSettings,
    TruthSettings,
    names_in,
    settings_of,
    summary_of,
)
from linear_probe.experiments.verbs import VERBS
from ssl_faces import InputError
from ssl_faces.common.arguments import check_files
from ssl_faces.common.children import exit_code
from ssl_faces.common.errors import out_of_memory
from ssl_faces.common.outputs import check_output
from ssl_faces.common.passwords import hidden
from ssl_faces.common.pipes import until_the_reader_leaves
from ssl_faces.common.safe_path import protect


@until_the_reader_leaves
def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0 for success, 2 for bad input, which is reported in one
    sentence, 128 and the signal's number if one stopped it."""
    if argv is None:
        protect()
    words = list(sys.argv[1:] if argv is None else argv)
    return exit_code("linear-probe", lambda: _main(words))


def _main(words: list[str]) -> int:
    try:
        check_files(words)
        if words and words[0] in VERBS:
            from linear_probe.experiments.job_files import run_job

            run_job(words[0], words[1:], show=True)
            return 0
        if words and words[0] == "suite":
            from linear_probe.plans.suite.command import run as run_suite

            return run_suite(words[1:])
        code = run(words)
        sys.stdout.flush()
        return code
    except InputError as error:
        return _fail(str(error))
    except OSError as error:
        from ssl_faces.common.files import path_failure

        message = path_failure(error)
        if message is None:
            raise
        return _fail(message)
    except (MemoryError, RuntimeError) as error:
        what = out_of_memory(error)
        if what is None:
            raise
        return _fail(
            f"{what}; lower --batch-size, or --max-train, or take fewer --features; what was "
            "computed is kept, and the same command resumes"
        )


def run(words: Sequence[str]) -> int:
    """Run a verb that has no settings file with its arguments.

    Raises:
        InputError: bad input.
    """
    arguments = parser().parse_args(words)
    arguments.given = list(words)
    return _COMMANDS[arguments.command](arguments)


def _fail(message: str) -> int:
    print(f"linear-probe: error: {hidden(message)}", file=sys.stderr)
    return 2


def _run(arguments: argparse.Namespace) -> int:
    # Late, so that `--help` needs no torch.
    from linear_probe.tasks.own_data import OwnData

    own = OwnData(**{name: getattr(arguments, name) for name in OwnData.__dataclass_fields__})
    settings = settings_of(ProbeSettings, arguments, own=own.face_sets(arguments.out))
    return _experiment(settings, arguments, brief=settings.brief)


def _truth(arguments: argparse.Namespace) -> int:
    return _experiment(settings_of(TruthSettings, arguments), arguments)


def _experiment(experiment: Experiment, arguments: argparse.Namespace, brief: bool = False) -> int:
    from linear_probe.records.recorder import RunFolder

    out = Path(arguments.out)
    records = run_experiment(experiment, out, brief=brief)
    RunFolder(out).add_command(arguments.given)
    print(experiment.summary(arguments.out, records))
    return 0


def _claims(arguments: argparse.Namespace) -> int:
    from linear_probe.plans.claims.run import CLAIMS_FILE, CLAIMS_PAGE, keep, run_claims
    from linear_probe.plans.claims.settings import read_claims
    from linear_probe.reports.text_tables import as_text
    from linear_probe.reports.wandb_tables import log_table, parse_target

    target = parse_target(arguments.wandb) if arguments.wandb is not None else None
    claims = read_claims(Path(arguments.config))
    if arguments.seeds is not None:
        claims = claims.model_copy(update={"seeds": arguments.seeds})
    if arguments.only is not None:
        claims = claims.only(names_in(arguments.only, "--only"))
    table = run_claims(claims, Path(arguments.out), only_table=arguments.table)
    print(f"\n{as_text(table)}\n\ntable: {arguments.out}/{CLAIMS_FILE}")
    print(f"all, with plots: {arguments.out}/{CLAIMS_PAGE}")
    if arguments.keep is not None:
        kept = keep(claims, Path(arguments.out), Path(arguments.keep))
        print(f"{kept} records kept: {arguments.keep}")
    if target is not None:
        print(log_table(table, *target, arguments.out))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from linear_probe.reports.command import read_folders, table
    from linear_probe.reports.wandb_tables import log_to_wandb, parse_target
    from linear_probe.reports.write import check_ending, write_report

    for name in ("data", "maps"):
        if getattr(arguments, name) is not None and not arguments.out:
            raise InputError(f"--{name} is for an .html report: add --out report.html")
    if arguments.out and (arguments.validation or arguments.markdown or arguments.summary):
        raise InputError("--validation, --markdown and --summary are for the screen: no --out")
    if arguments.summary and (arguments.validation or arguments.markdown):
        raise InputError("--summary goes with neither --validation nor --markdown")
    if arguments.out:
        check_ending(arguments.out)
        check_output(Path(arguments.out), arguments.overwrite, arguments.folders)
    target = parse_target(arguments.wandb) if arguments.wandb is not None else None
    records = read_folders(arguments.folders)
    if arguments.out:
        write_report(arguments.folders, arguments.out, arguments.data, arguments.maps)
        print(f"report: {arguments.out}")
    else:
        print(
            summary_of(arguments.folders)
            if arguments.summary
            else table(records, markdown=arguments.markdown, validation=arguments.validation)
        )
    if target is not None:
        print(log_to_wandb(records, *target, arguments.folders[0]))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from linear_probe.stats.paired import compare

    for found in compare(arguments.folder, arguments.one, arguments.other):
        print(found)
    return 0


def _breakdown(arguments: argparse.Namespace) -> int:
    from linear_probe.stats.breakdown import breakdown

    print(breakdown(arguments.folder, arguments.row, arguments.markdown))
    return 0


def _threshold(arguments: argparse.Namespace) -> int:
    from linear_probe.probes.threshold import keep_threshold
    from ssl_faces.data import default_data_root

    kept = keep_threshold(arguments.encoder, arguments.data or default_data_root())
    print(f"{arguments.encoder}: {kept.space} codes from {kept.threshold:.4f} on ({kept.told})")
    return 0


def _card(arguments: argparse.Namespace) -> int:
    from linear_probe.records.card import add_records

    records = add_records(arguments.encoder, arguments.folders)
    print(f"{arguments.encoder}: {len(records):,} records in its card")
    return 0


def _keep(arguments: argparse.Namespace) -> int:
    from linear_probe.records.archive import keep, table_beside

    out = Path(arguments.out)
    for path in (out, table_beside(out)):
        check_output(path, arguments.overwrite, arguments.folders)
    records = keep(arguments.folders, out)
    print(f"{len(records):,} records kept: {arguments.out}")
    return 0


def _readme(arguments: argparse.Namespace) -> int:
    from linear_probe.reports.readme import fill

    stale = fill(Path(arguments.config), check=arguments.check)
    for path in stale:
        print(f"{'stale' if arguments.check else 'written'}: {path}")
    if not stale:
        print("all pages are as their records say")
    return 1 if stale and arguments.check else 0


def _save_probe(arguments: argparse.Namespace) -> int:
    from linear_probe.probes.saved_probes import make_probe

    make_probe(settings_of(SavedProbeSettings, arguments))
    return 0


def _leakage(arguments: argparse.Namespace) -> int:
    from linear_probe.stats.leakage import leakage

    print(leakage(arguments.folder, arguments.markdown))
    return 0


def _comparison(arguments: argparse.Namespace) -> int:
    from linear_probe.reports.comparison_table import write_comparison
    from linear_probe.reports.text_tables import as_text

    print(as_text(write_comparison(arguments.folder)))
    return 0


def _cache(arguments: argparse.Namespace) -> int:
    from linear_probe.features import cache as cache_folders

    return cache_folders.run(arguments)


_COMMANDS = {
    "run": _run,
    "report": _report,
    "breakdown": _breakdown,
    "leakage": _leakage,
    "compare": _compare,
    "cache": _cache,
    "card": _card,
    "keep": _keep,
    "threshold": _threshold,
    "readme": _readme,
    "save-probe": _save_probe,
    "claims": _claims,
    "comparison": _comparison,
    "truth": _truth,
}


if __name__ == "__main__":
    sys.exit(main())
