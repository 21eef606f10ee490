"""Arguments of `linear-probe`."""

from __future__ import annotations

from linear_probe.experiments.settings import (
    ProbeSettings,
    SavedProbeSettings,
    TruthSettings,
    add_settings,
)
from linear_probe.experiments.verbs import VERBS
from ssl_faces.common.arguments import SEED, Parser, several, whole
from ssl_faces.common.outputs import add_overwrite

# Your own data: two arguments that go together, and their help.
_OWN = (
    (
        *("--train", "--test", "DIR"),
        "your own images, a folder for each class; with --test",
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
_RUN, _RUNS = "the --out of an earlier run", "the --out of earlier runs"


def parser() -> Parser:
    """The parser of all commands but those of `linear_probe.experiments.verbs` and `suite`, which
    have a settings file and parsers of their own."""
    whole_parser = Parser(
        prog="linear-probe",
        description="Score frozen features: linear probes of expression, head pose, identity and "
        "attributes, with 95 % intervals, beside raw pixels, HOG, LBP and the untrained encoder.",
    )
    commands = whole_parser.add_subparsers(dest="command", required=True, parser_class=Parser)

    def command(name: str, says: str) -> Parser:
        return commands.add_parser(name, help=says)

    run = command("run", "score encoders and print the table")
    add_settings(run, ProbeSettings)
    for one, other, metavar, says in _OWN:
        run.add_argument(one, metavar=metavar, help=says)
        run.add_argument(other, metavar="DIR" if other == "--images" else metavar)
    run.add_argument(
        "--no-baselines",
        dest="baselines",
        action="store_const",
        const="none",
        help="the same as --baselines none",
    )
    run.add_argument(
        "--out", required=True, metavar="DIR", help="for records.jsonl, features, skipped.csv"
    )
    for verb, experiment in VERBS.items():
        command(verb, experiment.says)
    command("suite", "every task, encoder, probe and head of a file, resumed, then the report")
    claims = command("claims", "run each paper's system with and without its idea")
    claims.add_argument("-c", "--config", metavar="FILE", default="configs/claims.yaml")
    claims.add_argument("--out", required=True, metavar="DIR", help="for runs, claims.md and .html")
    claims.add_argument(
        "--wandb", metavar="PROJECT[/RUN]", help="log the table to W&B (offline, see WANDB_MODE)"
    )
    claims.add_argument("--only", metavar="N,N", help="some of the claims; default: all")
    claims.add_argument(
        "--seeds",
        type=several(SEED),
        metavar="S,S",
        help="instead of the file's; seeds that are there count too",
    )
    claims.add_argument("--table", action="store_true", help="run nothing, show what is there")
    claims.add_argument(
        "--keep", metavar="DIR", help="copy there the records of both sides of the claims, no more"
    )
    report = command("report", "print the table of earlier runs, or write a page about them")
    report.add_argument("folders", nargs="+", metavar="DIR", help=_RUNS)
    report.add_argument(
        "--validation",
        action="store_true",
        help="validation figures: choose between encoders by them, not by test figures",
    )
    report.add_argument("--markdown", action="store_true", help="as Markdown tables")
    report.add_argument(
        "--summary", action="store_true", help="one small table, as of `linear-probe run --summary`"
    )
    report.add_argument(
        "--out",
        metavar="FILE",
        help="write it: .html (one page with plots, confusions, maps and mistakes), .md or .csv",
    )
    add_overwrite(report)
    report.add_argument(
        "--data",
        metavar="DIR|rendered[:COUNT]",
        help="pictures for the galleries of an .html report; default: keys only",
    )
    report.add_argument(
        "--maps",
        type=whole(0),
        metavar="N",
        help="2-D maps of features in an .html report, seconds each; default: 6",
    )
    report.add_argument(
        "--wandb", metavar="PROJECT[/RUN]", help="log it to W&B too (offline, see WANDB_MODE)"
    )
    breakdown = command("breakdown", "confusions, and figures by class and by group of people")
    breakdown.add_argument("folder", metavar="DIR", help=_RUN)
    breakdown.add_argument(
        "row", nargs="?", metavar="ENCODER[=SPACE]", help="a row of the table; default: all"
    )
    breakdown.add_argument("--markdown", action="store_true", help="as Markdown tables")
    leakage = command("leakage", "what each feature space predicts of expression, pose, identity")
    leakage.add_argument("folder", metavar="DIR", help=_RUN)
    leakage.add_argument("--markdown", action="store_true", help="as Markdown tables")
    compare = command("compare", "is one row of the table better than another? paired bootstrap")
    compare.add_argument("folder", metavar="DIR", help=_RUN)
    compare.add_argument("one", metavar="ENCODER[=SPACE]", help="a row of the table")
    compare.add_argument("other", metavar="ENCODER[=SPACE]", help="another")
    comparison = command("comparison", "the table of `ssl-faces compare`: comparison.md and .csv")
    comparison.add_argument("folder", metavar="DIR", help="the --out of `ssl-faces compare`")
    card = command("card", "put an encoder's figures into its card")
    card.add_argument("encoder", metavar="ENCODER", help="its folder, or a released name")
    card.add_argument("folders", nargs="+", metavar="DIR", help=_RUNS)
    keep = command("keep", "archive records of runs, or of a comparison, for the documentation")
    keep.add_argument("folders", nargs="+", metavar="DIR", help=_RUNS)
    keep.add_argument("--out", required=True, metavar="NAME.jsonl.gz")
    add_overwrite(keep)
    saved = command("save-probe", "save a probe with calibrated probabilities beside its encoder")
    add_settings(saved, SavedProbeSettings)
    threshold = command("threshold", "put a threshold for `ssl-faces verify` into a card")
    threshold.add_argument("encoder", metavar="ENCODER", help="its folder, or a released name")
    threshold.add_argument("--data", metavar="DIR", help="folder with LFW; default: as for run")
    readme = command("readme", "fill the tables of the project's pages from archived records")
    readme.add_argument("-c", "--config", metavar="FILE", default="checkpoints/tables.yaml")
    readme.add_argument(
        "--check", action="store_true", help="write nothing; fail where a page is stale"
    )
    cache = command("cache", "where the features of earlier runs are, and their size; remove them")
    cache.add_argument(
        "folders",
        nargs="*",
        metavar="DIR",
        help="the --out of runs, or folders of runs; default: runs",
    )
    cache.add_argument(
        "--clean", action="store_true", help="remove the features; records and tables stay"
    )
    truth = command("truth", "neutral, frontal and swapped faces of a run beside rendered truth")
    add_settings(truth, TruthSettings)
    truth.add_argument("--out", required=True, metavar="DIR", help="for records.jsonl, truth.png")
    return whole_parser
