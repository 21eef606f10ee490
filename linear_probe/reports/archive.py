"""Archived records for the documentation, and tables of comparisons made from them.

Records of `linear-probe run` and the like are one file, `NAME.jsonl.gz`. Those of `ssl-faces
compare` are two: the records, and `NAME.csv` with the results of the paired tests. The bootstrap's
replicates, which these need, are too large to archive.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from linear_probe.records.collect import read_folders
from linear_probe.records.record import RECORDS_FILE, Record, read_records, write_records
from linear_probe.reports.compared import COMPARISON_FILE
from linear_probe.reports.comparison import CSV_COLUMNS, TWO_IMAGES, Line, comparison
from linear_probe.reports.comparison_table import cell_of, comparison_csv, pivot
from ssl_faces import InputError
from ssl_faces.common.csv_files import unescaped
from ssl_faces.common.files import regular, replace_file

ENDING = ".jsonl.gz"


def keep(folders: Sequence[str | Path], file: Path) -> list[Record]:
    """Archive the records of runs, or those of one comparison with its table as CSV; the records.

    Encoders of a comparison are called `METHOD/seedN`, whatever the folders of their runs.

    Args:
        folders: the `--out` of `linear-probe run` and the like, or one of `ssl-faces compare`.
        file: a path that ends in `.jsonl.gz`.

    Raises:
        InputError: another ending, no records, or `file` can't be written.
    """
    if not file.name.endswith(ENDING):
        raise InputError(f"{file}: give a file that ends in {ENDING}, such as NAME{ENDING}")
    comparisons = [folder for folder in map(Path, folders) if (folder / COMPARISON_FILE).exists()]
    if not comparisons:
        records = read_folders(folders)
        write_records(file, records)
        return records
    if len(folders) > 1:
        raise InputError(f"{comparisons[0]}: a comparison; keep it alone, in a separate file")
    compared = comparison(comparisons[0])
    names = {
        f"{run.encoder}{suffix}": f"{method.name}/seed{run.seed}{suffix}"
        for method in compared.compared.methods
        for run in method.runs
        for suffix in ("", ", untrained")
    }
    records = [
        replace(record, encoder=names.get(record.encoder, record.encoder))
        for record in read_records(comparisons[0] / compared.compared.scores / RECORDS_FILE)
    ]
    write_records(file, records)
    replace_file(table_beside(file), comparison_csv(compared).encode())
    return records


def table_beside(file: Path) -> Path:
    """The CSV that belongs to the archived records of a comparison."""
    return file.with_name(file.name.removesuffix(ENDING) + ".csv")


class KeptComparison:
    """An archived comparison: each of its figures is one of its records, or their mean.

    Args:
        file: of its records; its CSV lies beside it.

    Raises:
        InputError: one of them can't be read, or they disagree.
    """

    def __init__(self, file: Path) -> None:
        path = table_beside(file)
        try:
            table = pd.read_csv(regular(path), dtype=str, keep_default_na=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path}: can't be read ({error}); `linear-probe keep` writes it"
            ) from error
        if {*table, TWO_IMAGES} != set(CSV_COLUMNS):
            raise InputError(f"{path}: has other columns; write it anew by `linear-probe keep`")
        table = table.map(unescaped).reindex(columns=list(CSV_COLUMNS), fill_value="")
        self.lines: list[Line] = table.to_dict("records")  # type: ignore[assignment]
        by_key: dict[tuple[str, ...], list[Record]] = {}
        for record in read_records(file):
            if not record.condition:
                by_key.setdefault(_key_of_record(record), []).append(record)
        for line in self.lines:
            if line["task"] and not _agree(line, by_key.get(_key_of_line(line), [])):
                raise InputError(
                    f"{path}: {line['method']}, {line['task']} {line['metric']}: differs from the "
                    f"records in {file}; keep both again by `linear-probe keep`"
                )

    def cell(
        self, method: str, metric: str, task: str | None = None, probe: str | None = None
    ) -> str | None:
        """A figure with its interval, as text, and whether it is tied with the best.

        None if there is none, or several fit.
        """
        fitting = [
            line
            for line in self.lines
            if (line["method"], line["metric"]) == (method, metric)
            and task in (None, line["task"])
            and probe in (None, line["probe"])
        ]
        return str(cell_of(fitting[0], with_edge=False)) if len(fitting) == 1 else None

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the whole table, as in `comparison.md`."""
        return pivot(self.lines)


def _agree(line: Line, records: Sequence[Record]) -> bool:
    """Whether a figure is the mean of these records, and the interval that of a single one."""
    if not records:
        return False
    pairs = [(line["value"], sum(r.value for r in records) / len(records))]
    if len(records) == 1:
        pairs += [(line["low"], records[0].low), (line["high"], records[0].high)]
    # Intervals are of replicates in double precision, records' in single.
    return all(math.isclose(float(text), value, rel_tol=1e-5) for text, value in pairs)


def _key_of_line(line: Line) -> tuple[str, ...]:
    keys = ("method", "task", "data_set", "split", "metric", "feature_space")
    # Predicting the mean has a separate probe.
    return (*(line[key] for key in keys), line["probe"] if line["feature_space"] else "")


def _key_of_record(record: Record) -> tuple[str, ...]:
    method = re.sub(r"/seed\d+(?=$|, untrained$)", "", record.encoder)
    where = (method, record.task, record.data_set, record.split, record.metric)
    return (*where, record.feature_space, record.probe if record.feature_space else "")
