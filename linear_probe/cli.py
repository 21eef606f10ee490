"""`linear-probe`: score frozen encoders, and print what was scored, from the command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from linear_probe.truth import command as truth
from linear_probe.verbs import VERBS
from ssl_faces import InputError
from ssl_faces.errors import out_of_memory


class _Parser(argparse.ArgumentParser):
    """Tells wrong arguments as any other bad input is told: in one sentence."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see `{self.prog} --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 when all went well, 2 for bad input, which is told in one sentence."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words and words[0] in VERBS:
            return _job(words[0], words[1:])
        if words and words[0] == "suite":
            from linear_probe.suite.command import run as run_suite

            return run_suite(words[1:])
        code = run(words)
        sys.stdout.flush()
        return code
    except InputError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # Who read the output has had enough of it, as `head` has: nothing went wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        from ssl_faces.files import DISK_FULL, write_failure

        if error.errno not in DISK_FULL:
            raise
        return _fail(f"{error.filename or 'the output'}: {write_failure(error)}")
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
    arguments = _parser().parse_args(words)
    arguments.given = list(words)
    return _COMMANDS[arguments.command](arguments)


def _fail(message: str) -> int:
    print(f"linear-probe: error: {message}", file=sys.stderr)
    return 2


# Your own data: two arguments that go together, and what they are.
_OWN = (
    (
        *("--train", "--test", "DIR"),
        "your own pictures, a folder for each class; with --test",
    ),
    (
        *("--train-csv", "--test-csv", "FILE"),
        "your own labels: a column image and some of expression, yaw, pitch, roll, age, gender, "
        "race, valence, arousal, person; with --test-csv",
    ),
    (
        *("--pairs", "--images", "FILE"),
        "your own pairs: LFW's pairs.txt format, or CSV with first, second, same and perhaps "
        "fold; with --images",
    ),
)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="linear-probe",
        description="Score frozen features: linear probes of expression, head pose, identity and "
        "attributes, with 95 %% intervals, beside raw pixels, HOG, LBP and the untrained encoder.",
    )
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    run = commands.add_parser("run", help="score encoders and print the table")
    run.add_argument(
        "--encoder",
        action="append",
        required=True,
        metavar="NAME",
        help="folder of a saved encoder, or a released name; timm:NAME or torchvision:NAME, with "
        "?random or ?weights=FILE.safetensors; package:dlib; FILE.onnx; FILE.npz or FILE.parquet "
        "with keys and features; may be given several times",
    )
    run.add_argument(
        "--task",
        metavar="T,T",
        help="some of expression, pose, identity, attributes, affect, landmarks, light, "
        "classes; default: all that the data serve, but attributes, landmarks and light",
    )
    run.add_argument(
        "--data",
        metavar="DIR|rendered[:COUNT]",
        help="folder with FER-2013, FERPlus, RAF-DB, AffectNet, SFEW, CK+, Oulu-CASIA, LFW, CPLFW, "
        "YouTube keypoints, 300W-LP, AFLW2000-3D, BIWI, UTKFace; default: $SSL_FACES_DATA, "
        "else ~/.cache/ssl-faces/data if there, else rendered faces",
    )
    run.add_argument(
        "--test-data",
        metavar="DIR|rendered",
        help="score on the sets of this folder what is learnt on those of --data, each on all of "
        "its pictures, over the classes that both have (expression, classes)",
    )
    for one, other, metavar, what in _OWN:
        run.add_argument(one, metavar=metavar, help=what)
        run.add_argument(other, metavar="DIR" if other == "--images" else metavar)
    run.add_argument(
        "--out", required=True, metavar="DIR", help="for records.jsonl, features, skipped.csv"
    )
    run.add_argument("--features", metavar="F,F", help="feature spaces; default: all")
    run.add_argument(
        "--seed",
        "--seeds",
        default="0",
        metavar="S,S",
        help="one or several, such as 0,1,2: the table shows mean and spread over them; default: 0",
    )
    run.add_argument(
        "--label-shares",
        metavar="P,P",
        help="score with so many percent of the training labels too, such as 1,10,100",
    )
    run.add_argument(
        "--robustness",
        metavar="F,F",
        help="score on degraded test pictures too: all, or some of resolution, blur, noise, "
        "occlusion, darkness, JPEG (expression and identity)",
    )
    run.add_argument(
        "--protocol",
        choices=("facecycle",),
        help="score by a paper's protocol, with nothing chosen on a validation split",
    )
    run.add_argument(
        "--epochs", type=int, default=300, help="of the protocol's training; default: 300"
    )
    run.add_argument("--batch-size", type=int, default=256, help="pictures at once; default: 256")
    run.add_argument("--device", choices=("cpu", "cuda", "auto"), default="auto")
    run.add_argument(
        "--precision",
        choices=("32", "bf16", "auto"),
        default="32",
        help="of encoders' arithmetic; auto: bf16 where the hardware has it; default: 32",
    )
    run.add_argument(
        "--no-baselines",
        dest="baselines",
        action="store_const",
        const="none",
        default="all",
        help="leave out pixels, HOG, LBP, ImageNet's ResNet-18 and untrained encoders",
    )
    run.add_argument(
        "--baselines",
        choices=("all", "untrained", "none"),
        default="all",
        help="untrained: of these only the untrained encoders; default: all",
    )
    run.add_argument(
        "--bootstrap",
        type=int,
        default=1000,
        metavar="N",
        help="replicates behind the intervals; default: 1000",
    )
    run.add_argument(
        "--max-train",
        type=int,
        metavar="N",
        help="train the probes of expression and of attributes on N pictures each, drawn by the "
        "seed; default: all",
    )
    run.add_argument(
        "--or-rendered",
        action="store_true",
        help="score on rendered faces where --data has pictures but no labels",
    )
    for verb, asked in VERBS.items():
        commands.add_parser(
            verb, help=asked.says
        )  # with a parser of its own: `linear_probe.job_files`
    commands.add_parser(
        "suite", help="every task, encoder, probe and head of a file, resumed, then the report"
    )  # likewise: `linear_probe.suite.command`
    claims = commands.add_parser(
        "claims", help="run each paper's system with and without its idea: do the claims hold?"
    )
    claims.add_argument("-c", "--config", metavar="FILE", default="configs/claims.yaml")
    claims.add_argument("--out", required=True, metavar="DIR", help="for runs, claims.md and .html")
    claims.add_argument(
        "--wandb", metavar="PROJECT[/RUN]", help="log the table to W&B (offline, see WANDB_MODE)"
    )
    claims.add_argument("--only", metavar="N,N", help="some of the claims; default: all")
    claims.add_argument(
        "--seeds", metavar="S,S", help="instead of the file's; seeds that are there count too"
    )
    claims.add_argument("--table", action="store_true", help="run nothing, tell what is there")
    claims.add_argument(
        "--keep", metavar="DIR", help="copy there the records that the table rests on, no more"
    )
    report = commands.add_parser(
        "report", help="print the table of earlier runs, or write a page about them"
    )
    report.add_argument("folders", nargs="+", metavar="DIR", help="the --out of earlier runs")
    report.add_argument(
        "--validation",
        action="store_true",
        help="what was reached on validation splits: choose between encoders by it, not by tests",
    )
    report.add_argument("--markdown", action="store_true", help="as Markdown tables")
    report.add_argument(
        "--out",
        metavar="FILE",
        help="write it: .html (one page with plots, confusions, maps and mistakes), .md or .csv",
    )
    report.add_argument(
        "--data",
        metavar="DIR|rendered[:COUNT]",
        help="pictures for the galleries of an .html report; default: keys only",
    )
    report.add_argument(
        "--maps",
        type=int,
        metavar="N",
        help="2-D maps of features in an .html report, seconds each; default: 6",
    )
    report.add_argument(
        "--wandb", metavar="PROJECT[/RUN]", help="log it to W&B too (offline, see WANDB_MODE)"
    )
    breakdown = commands.add_parser(
        "breakdown", help="confusions, and the figures of each class and each group of people"
    )
    breakdown.add_argument("folder", metavar="DIR", help="the --out of an earlier run")
    breakdown.add_argument(
        "row", nargs="?", metavar="ENCODER[=SPACE]", help="a row of the table; default: all"
    )
    breakdown.add_argument("--markdown", action="store_true", help="as Markdown tables")
    leakage = commands.add_parser(
        "leakage", help="how well each feature space tells expression, pose, identity, attributes"
    )
    leakage.add_argument("folder", metavar="DIR", help="the --out of an earlier run")
    leakage.add_argument("--markdown", action="store_true", help="as Markdown tables")
    compare = commands.add_parser(
        "compare", help="whether one row of the table is better than another: paired bootstrap"
    )
    compare.add_argument("folder", metavar="DIR", help="the --out of an earlier run")
    compare.add_argument("one", metavar="ENCODER[=SPACE]", help="a row of the table")
    compare.add_argument("other", metavar="ENCODER[=SPACE]", help="another")
    comparison = commands.add_parser(
        "comparison", help="the table of what `ssl-faces compare` trained: comparison.md and .csv"
    )
    comparison.add_argument("folder", metavar="DIR", help="the --out of `ssl-faces compare`")
    card = commands.add_parser("card", help="put an encoder's figures into its card")
    card.add_argument("encoder", metavar="ENCODER", help="its folder, or a released name")
    card.add_argument("folders", nargs="+", metavar="DIR", help="the --out of earlier runs")
    keep = commands.add_parser(
        "keep", help="keep the records of runs, or of a comparison, in a file for the pages' tables"
    )
    keep.add_argument("folders", nargs="+", metavar="DIR", help="the --out of earlier runs")
    keep.add_argument("--out", required=True, metavar="NAME.jsonl.gz")
    saved = commands.add_parser(
        "save-probe", help="keep a probe beside its encoder: calibrated probabilities of classes"
    )
    saved.add_argument(
        "--encoder", required=True, metavar="NAME", help="its folder, or a released name"
    )
    saved.add_argument("--out", required=True, metavar="DIR", help="for features, kept there")
    saved.add_argument("--task", default="expression", help="default: expression")
    saved.add_argument("--space", help="feature space; default: the best on validation pictures")
    saved.add_argument("--data", metavar="DIR|rendered[:COUNT]", help="as in `linear-probe run`")
    saved.add_argument(
        "--max-train", type=int, metavar="N", help="train on N pictures; default: all"
    )
    saved.add_argument("--seed", type=int, default=0, help="of the validation split; default: 0")
    saved.add_argument("--batch-size", type=int, default=256, help="default: 256")
    saved.add_argument("--device", choices=("cpu", "cuda", "auto"), default="auto")
    threshold = commands.add_parser(
        "threshold", help="put into an encoder's card from which similarity on two faces are one"
    )
    threshold.add_argument("encoder", metavar="ENCODER", help="its folder, or a released name")
    threshold.add_argument("--data", metavar="DIR", help="folder with LFW; default: as for run")
    readme = commands.add_parser(
        "readme", help="fill the tables and pictures of the project's pages from kept records"
    )
    readme.add_argument("-c", "--config", metavar="FILE", default="checkpoints/tables.yaml")
    readme.add_argument(
        "--check", action="store_true", help="write nothing; fail where a page is stale"
    )
    truth.add_arguments(
        commands.add_parser(
            "truth", help="neutral, frontal and swapped faces of a run beside the rendered truth"
        )
    )
    return parser


def _run(arguments: argparse.Namespace) -> int:
    # Late, so that `--help` needs no torch.
    from linear_probe.commands import add_command
    from linear_probe.own_data import OwnData
    from linear_probe.report import table
    from linear_probe.run import run_probes

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
        seed=[int(seed) for seed in _numbers(arguments.seed, "--seed", int)],
        label_shares=_numbers(arguments.label_shares, "--label-shares", float),
        robustness=_list(arguments.robustness, "--robustness") or (),
        protocol=arguments.protocol,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        device=arguments.device,
        precision=arguments.precision,
        baselines="untrained"
        if arguments.baselines == "untrained"
        else arguments.baselines == "all",
        replicates=arguments.bootstrap,
        max_train=arguments.max_train,
        or_rendered=arguments.or_rendered,
        own=sets,
    )
    add_command(arguments.out, arguments.given)
    print(f"\n{table(records)}\n\nrecords: {arguments.out}/records.jsonl")
    return 0


def _job(verb: str, words: Sequence[str]) -> int:
    from linear_probe.job_files import run_job
    from linear_probe.report import table

    records = run_job(verb, words)
    if verb == "audit":
        return 0  # it has told of each compression, and where the tables are
    print(f"\n{table(records)}")
    return 0


def _claims(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from linear_probe.claims.run import CLAIMS_FILE, CLAIMS_PAGE, keep, run_claims
    from linear_probe.claims.settings import read_claims
    from linear_probe.reports.wandb_tables import log_table, parse_target
    from linear_probe.text_tables import as_text

    target = parse_target(arguments.wandb) if arguments.wandb is not None else None
    claims = read_claims(Path(arguments.config))
    if arguments.seeds is not None:
        seeds = [int(seed) for seed in _numbers(arguments.seeds, "--seeds", int)]
        claims = claims.model_copy(update={"seeds": seeds})
    only = _list(arguments.only, "--only") or ()
    table = run_claims(claims, Path(arguments.out), only=only, only_table=arguments.table)
    print(f"\n{as_text(table)}\n\ntable: {arguments.out}/{CLAIMS_FILE}")
    print(f"all, with plots: {arguments.out}/{CLAIMS_PAGE}")
    if arguments.keep is not None:
        kept = keep(claims, Path(arguments.out), Path(arguments.keep))
        print(f"{kept} records kept: {arguments.keep}")
    if target is not None:
        print(log_table(table, *target, arguments.out))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from linear_probe.report import read_folders, table
    from linear_probe.reports.wandb_tables import log_to_wandb, parse_target
    from linear_probe.reports.write import check_ending, write_report

    for name in ("data", "maps"):
        if getattr(arguments, name) is not None and not arguments.out:
            raise InputError(f"--{name} is for an .html report: add --out report.html")
    if arguments.maps is not None and arguments.maps < 0:
        raise InputError(f"--maps must be a whole number from 0, not {arguments.maps}")
    if arguments.out and (arguments.validation or arguments.markdown):
        raise InputError("--validation and --markdown are for the screen: leave out --out")
    if arguments.out:
        check_ending(arguments.out)
    target = parse_target(arguments.wandb) if arguments.wandb is not None else None
    records = read_folders(arguments.folders)
    if arguments.out:
        write_report(arguments.folders, arguments.out, arguments.data, arguments.maps)
        print(f"report: {arguments.out}")
    else:
        print(table(records, markdown=arguments.markdown, validation=arguments.validation))
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


def _numbers(text: str | None, argument: str, kind: type[int] | type[float]) -> list[float]:
    try:
        return [kind(item) for item in _list(text, argument) or []]
    except ValueError as error:
        raise InputError(f"{argument} '{text}': not numbers with commas between") from error


def _compare(arguments: argparse.Namespace) -> int:
    from linear_probe.compare import compare

    for found in compare(arguments.folder, arguments.one, arguments.other):
        print(found)
    return 0


def _breakdown(arguments: argparse.Namespace) -> int:
    from linear_probe.breakdown import breakdown

    print(breakdown(arguments.folder, arguments.row, arguments.markdown))
    return 0


def _threshold(arguments: argparse.Namespace) -> int:
    from linear_probe.threshold import keep_threshold
    from ssl_faces.data import default_data_root

    kept = keep_threshold(arguments.encoder, arguments.data or default_data_root())
    print(f"{arguments.encoder}: {kept.space} codes from {kept.threshold:.4f} on ({kept.told})")
    return 0


def _card(arguments: argparse.Namespace) -> int:
    from linear_probe.card import add_records

    records = add_records(arguments.encoder, arguments.folders)
    print(f"{arguments.encoder}: {len(records):,} records in its card")
    return 0


def _keep(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from linear_probe.kept import keep

    records = keep(arguments.folders, Path(arguments.out))
    print(f"{len(records):,} records kept: {arguments.out}")
    return 0


def _readme(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from linear_probe.readme import fill

    stale = fill(Path(arguments.config), check=arguments.check)
    for path in stale:
        print(f"{'stale' if arguments.check else 'written'}: {path}")
    if not stale:
        print("all pages are as their records say")
    return 1 if stale and arguments.check else 0


def _save_probe(arguments: argparse.Namespace) -> int:
    from linear_probe.saved_probes import make_probe

    if arguments.seed < 0:
        raise InputError(f"--seed must be a whole number from 0, not {arguments.seed}")
    names = ("task", "space", "data", "max_train", "seed", "batch_size", "device")
    given = {name: getattr(arguments, name) for name in names}
    make_probe(arguments.encoder, arguments.out, **given)
    return 0


def _leakage(arguments: argparse.Namespace) -> int:
    from linear_probe.leakage import leakage

    print(leakage(arguments.folder, arguments.markdown))
    return 0


def _comparison(arguments: argparse.Namespace) -> int:
    from linear_probe.comparison_table import write_comparison
    from linear_probe.text_tables import as_text

    print(as_text(write_comparison(arguments.folder)))
    return 0


_COMMANDS = {
    "run": _run,
    "report": _report,
    "breakdown": _breakdown,
    "leakage": _leakage,
    "compare": _compare,
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
