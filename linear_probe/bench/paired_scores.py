"""`python -m linear_probe.bench.paired_scores`: an encoder and a changed copy, scored side by side.

Prints JSON, which `ssl-faces export --int8` makes its table of: expression by a linear probe and by
kNN, pairs by cosine similarity, and the difference of each figure by paired bootstrap.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from linear_probe.experiments.probe import run_probes
from linear_probe.records.record import Record
from linear_probe.records.replicates import REPLICATES_FILE, read_replicates
from linear_probe.stats.paired import difference
from linear_probe.tasks import TASKS
from linear_probe.tasks.face_sets import face_sets_by_seed
from ssl_faces.bench.apart import print_json
from ssl_faces.common.arguments import Parser, whole

SCORED = ("expression", "identity")
_FIELDS = (
    *("task", "data_set", "split", "feature_space", "probe"),
    *("metric", "unit", "higher_is_better", "n", "note"),
)


def parser() -> Parser:
    parser = Parser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("before", help="as `linear-probe run --encoder` takes it")
    parser.add_argument("after", help="the changed copy, with the same feature spaces")
    parser.add_argument("--data", help="as of `linear-probe run`")
    parser.add_argument("--max-train", type=whole(100), help="training pictures of the probe")
    parser.add_argument("--bootstrap", type=whole(1), default=1000)
    return parser


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A figure a dict: what it is of, before, after, and their difference; none where the data
    have neither expressions nor pairs.

    Raises:
        InputError: an encoder or the data can't be used.
    """
    # Reported below.
    sets = face_sets_by_seed(arguments.data, False, [0], lambda line: None)[0]
    tasks = [name for name in SCORED if TASKS[name].serving(sets)]
    if not tasks:
        return []
    with tempfile.TemporaryDirectory() as out:
        records = run_probes(
            [arguments.before, arguments.after],
            out,
            data=arguments.data,
            tasks=tasks,
            device="cpu",
            baselines=False,
            replicates=arguments.bootstrap,
            max_train=arguments.max_train,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
        replicates = read_replicates(Path(out) / REPLICATES_FILE)
    originals = {_what(r): r for r in records if r.encoder == arguments.before}
    figures = []
    for after in records:
        before = originals.get(_what(after))
        if after.encoder != arguments.after or before is None:
            continue
        change = difference(after, before, replicates[after.name], replicates[before.name])
        values = {"before": before, "after": after, "difference": change}
        figures.append(
            {name: getattr(after, name) for name in _FIELDS}
            | {
                name: {bound: getattr(each, bound) for bound in ("value", "low", "high")}
                for name, each in values.items()
            }
        )
    return figures


def _what(record: Record) -> tuple[str, ...]:
    return (record.task, record.data_set, record.feature_space, record.probe, record.metric)


if __name__ == "__main__":
    sys.exit(print_json(parser(), measure))
