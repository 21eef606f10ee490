"""Arguments of `linear-probe`."""

from __future__ import annotations

from linear_probe.experiments.truth import command as truth
from linear_probe.experiments.verbs import VERBS
from ssl_faces.common.arguments import SEED, Parser, number, several, whole
from ssl_faces.common.outputs import add_overwrite
from ssl_faces.plan.command import add_jobs

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


def parser() -> Parser:
    """Of all verbs but those of `linear_probe.experiments.verbs`, which have a settings file."""
    of = Parser(
        prog="linear-probe",
        description="Score frozen features: linear probes of expression, head pose, identity and "
        "attributes, with 95 % intervals, beside raw pixels, HOG, LBP and the untrained encoder.",
    )
    commands = of.add_subparsers(dest="command", required=True, parser_class=Parser)
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
        "CFP, YouTube keypoints, 300W-LP, AFLW2000-3D, BIWI, UTKFace; default: $SSL_FACES_DATA, "
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
        type=several(SEED),
        default="0",
        metavar="S,S",
        help="one or several, such as 0,1,2: the table shows mean and spread over them; default: 0",
    )
    run.add_argument(
        "--label-shares",
        type=several(number(0, 100, above=True)),
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
    run.add_argument("--epochs", type=whole(1), help="of the training of --protocol; default: 300")
    run.add_argument(
        "--batch-size", type=whole(1), default=256, help="pictures at once; default: 256"
    )
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
        default="all",
        metavar="B,B",
        help="all, none, or some of pixels, HOG, LBP, resnet18, untrained; default: all",
    )
    run.add_argument(
        "--summary",
        action="store_true",
        help="print one small table: a row an encoder, the main figure of each task a column",
    )
    run.add_argument(
        "--bootstrap",
        type=whole(1),
        default=1000,
        metavar="N",
        help="replicates behind the intervals; default: 1000",
    )
    run.add_argument(
        "--max-train",
        type=whole(100),
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
        )  # with a parser of its own: `linear_probe.experiments.job_files`
    commands.add_parser(
        "suite", help="every task, encoder, probe and head of a file, resumed, then the report"
    )  # likewise: `linear_probe.plans.suite`
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
        "--seeds",
        type=several(SEED),
        metavar="S,S",
        help="instead of the file's; seeds that are there count too",
    )
    claims.add_argument("--table", action="store_true", help="run nothing, use the records there")
    add_jobs(claims)
    claims.add_argument(
        "--keep", metavar="DIR", help="copy there the records of both sides of the claims, no more"
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
    add_overwrite(keep)
    saved = commands.add_parser(
        "save-probe", help="keep a probe beside its encoder: calibrated probabilities of classes"
    )
    saved.add_argument(
        "--encoder", required=True, metavar="NAME", help="its folder, or a released name"
    )
    saved.add_argument("--out", required=True, metavar="DIR", help="for features, kept there")
    saved.add_argument(
        "--overwrite", action="store_true", help="replace the probe that the encoder has"
    )
    saved.add_argument("--task", default="expression", help="default: expression")
    saved.add_argument("--space", help="feature space; default: the best on validation pictures")
    saved.add_argument("--data", metavar="DIR|rendered[:COUNT]", help="as in `linear-probe run`")
    saved.add_argument(
        "--max-train", type=whole(100), metavar="N", help="train on N pictures; default: all"
    )
    saved.add_argument("--seed", type=SEED, default=0, help="of the validation split; default: 0")
    saved.add_argument("--batch-size", type=whole(1), default=256, help="default: 256")
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
    cache = commands.add_parser(
        "cache", help="where the features of earlier runs are, and how large; remove them"
    )
    cache.add_argument(
        "folders",
        nargs="*",
        metavar="DIR",
        help="the --out of runs, or folders of runs; default: runs",
    )
    cache.add_argument(
        "--clean", action="store_true", help="remove the features; records and tables stay"
    )
    truth.add_arguments(
        commands.add_parser(
            "truth", help="neutral, frontal and swapped faces of a run beside the rendered truth"
        )
    )
    return of
