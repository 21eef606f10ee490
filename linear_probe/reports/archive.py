"""Archived records for the documentation, and tables of comparisons made from them.

Records of `linear-probe run` and the like are one file, `NAME.jsonl.gz`. Those of `ssl-faces
compare` are two: the records, and `NAME.csv` with the results of the paired tests. The bootstrap's
replicates, which these need, are too large to archive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from linear_probe.records.collect import read_folders
from linear_probe.records.record import RECORDS_FILE, Record, read_records, write_records
from linear_probe.reports.compared import COMPARISON_FILE
from linear_probe.reports.comparison import CSV_COLUMNS, TWO_IMAGES, Line, comparison
from linear_probe.reports.comparison_table import comparison_csv
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


def kept_lines(file: Path) -> list[Line]:
    """The figures of an archived comparison.

    Args:
        file: of its records; its CSV lies beside it.

    Raises:
        InputError: the CSV can't be read, or is no comparison's.
    """
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
    lines: list[Line] = table.to_dict("records")
    return lines
