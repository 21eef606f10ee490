"""`linear-probe`: score frozen encoders, and print what was scored, from the command line."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from linear_probe.arguments import parser
from linear_probe.experiments.truth import command as truth
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
    """Run a command; 0 when all went well, 2 for bad input, which is told in one sentence, 128 and
    the signal's number where one stopped it."""
    if argv is None:
        protect()
    words = list(sys.argv[1:] if argv is None else argv)
    return exit_code("linear-probe", lambda: _main(words))


def _main(words: list[str]) -> int:
    try:
        check_files(words)
        if words and words[0] in VERBS:
            return _job(words[0], words[1:])
        if words and words[0] == "suite":
            from linear_probe.plans.suite import run as run_suite

            return run_suite(words[1:])
        code = run(words)
        sys.stdout.flush()
        return code
    except InputError as error:
        return _fail(str(error), _code(error))
    except OSError as error:
        from ssl_faces.common.files import path_failure

        told = path_failure(error)
        if told is None:
            raise
        return _fail(told)
    except (MemoryError, RuntimeError) as error:
        what = out_of_memory(error)
        if what is None:
            raise
        return _fail(
            f"{what}; lower --batch-size, or --max-train, or take fewer --features; what was "
            "computed is kept, and the same command goes on"
        )


def run(words: Sequence[str]) -> int:
    """Run a verb that has no settings file with its arguments.

    Raises:
        InputError: bad input.
    """
    arguments = parser().parse_args(words)
    arguments.given = list(words)
    return _COMMANDS[arguments.command](arguments)


def _fail(message: str, code: int = 2) -> int:
    print(f"linear-probe: error: {hidden(message)}", file=sys.stderr)
    return code


def _code(error: InputError) -> int:
    """2; for missing data the exit code that the plan which runs this command asks for."""
    from linear_probe.tasks import MissingData

    return int(os.environ.get("LINEAR_PROBE_NO_DATA", 2)) if isinstance(error, MissingData) else 2


def _run(arguments: argparse.Namespace) -> int:
    # Late, so that `--help` needs no torch.
    from linear_probe.experiments.probe import run_probes
    from linear_probe.records.recorder import RunFolder
    from linear_probe.reports.command import table
    from linear_probe.tasks.own_data import OwnData

    if arguments.epochs is not None and arguments.protocol is None:
        raise InputError("--epochs has no effect without --protocol; leave it out")
    own = OwnData(**{name: getattr(arguments, name) for name in OwnData.__dataclass_fields__})
    sets = own.face_sets(arguments.out)
    if sets and arguments.data is not None:
        raise InputError("--data and data of your own in one run; score them one after the other")
    records = run_probes(
        arguments.encoder,
        arguments.out,
        data=arguments.data,
        test_data=arguments.test_data,
        tasks=_list(arguments.task, "--task"),
        spaces=_list(arguments.features, "--features"),
        seed=arguments.seed,
        label_shares=arguments.label_shares or (),
        robustness=_list(arguments.robustness, "--robustness") or (),
        protocol=arguments.protocol,
        epochs=300 if arguments.epochs is None else arguments.epochs,
        batch_size=arguments.batch_size,
        device=arguments.device,
        precision=arguments.precision,
        baselines=_baselines(arguments.baselines),
        replicates=arguments.bootstrap,
        max_train=arguments.max_train,
        or_rendered=arguments.or_rendered,
        own=sets,
        brief=arguments.summary,
    )
    RunFolder(Path(arguments.out)).add_command(arguments.given)
    shown = _summary([arguments.out]) if arguments.summary else table(records)
    print(f"\n{shown}\n\nrecords: {arguments.out}/records.jsonl")
    if arguments.summary:
        print(f"all figures: linear-probe report {shlex.quote(arguments.out)}")
    return 0


def _baselines(text: str) -> bool | list[str]:
    if text in ("all", "none"):
        return text == "all"
    return _list(text, "--baselines") or []


def _summary(folders: Sequence[str]) -> str:
    from linear_probe.reports.command import find_records, replicates_of
    from linear_probe.reports.summary import summary

    found = find_records(folders)
    return summary([one.record for one in found], replicates_of(found))


def _job(verb: str, words: Sequence[str]) -> int:
    from linear_probe.experiments.job_files import run_job
    from linear_probe.reports.command import table

    records = run_job(verb, words)
    if verb == "audit":
        return 0  # it has told of each compression, and where the tables are
    print(f"\n{table(records)}")
    return 0


def _claims(arguments: argparse.Namespace) -> int:
    from linear_probe.plans.claims.run import run as run_plan

    arguments.only = _list(arguments.only, "--only")
    return run_plan(arguments)


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
            _summary(arguments.folders)
            if arguments.summary
            else table(records, markdown=arguments.markdown, validation=arguments.validation)
        )
    if target is not None:
        print(log_to_wandb(records, *target, arguments.folders[0]))
    return 0


def _list(text: str | None, argument: str) -> list[str] | None:
    if text is None:
        return None
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise InputError(f"{argument} '{text}': an empty name; give names with commas between")
    return items


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

    names = ("overwrite", "task", "space", "data", "max_train", "seed", "batch_size", "device")
    given = {name: getattr(arguments, name) for name in names}
    make_probe(arguments.encoder, arguments.out, **given)
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
    "truth": truth.run,
}


if __name__ == "__main__":
    sys.exit(main())
