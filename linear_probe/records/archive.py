"""Records that are kept beside the project's pages, and tables of comparisons made from them.

Of `linear-probe run` and the like they are one file, `NAME.jsonl.gz`. Of `ssl-faces compare` they
are two: the records, and `NAME.csv`, which has what the paired tests said besides. The bootstrap's
replicates, which these need, are too large to be kept.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from linear_probe.records.record import RECORDS_FILE, Record, read_records, write_records
from linear_probe.reports.command import read_folders
from linear_probe.reports.comparison import COMPARISON_FILE, Column, read_compared
from linear_probe.reports.comparison_table import CSV_COLUMNS, as_csv, headings, spaces_told
from ssl_faces import InputError
from ssl_faces.common.csv_files import unescaped
from ssl_faces.common.files import regular, replace_file

ENDING = ".jsonl.gz"

Line = dict[str, str]


def keep(folders: Sequence[str | Path], file: Path) -> list[Record]:
    """Keep the records of runs, or those of one comparison with its table as CSV; the records.

    Encoders of a comparison are called `METHOD/seedN`, wherever their runs lay.

    Args:
        folders: the `--out` of `linear-probe run` and the like, or one of `ssl-faces compare`.
        file: a path that ends in `.jsonl.gz`.

    Raises:
        InputError: another ending, no records, or `file` can't be written.
    """
    if not file.name.endswith(ENDING):
        raise InputError(f"{file}: give a file that ends in {ENDING}, such as NAME{ENDING}")
    compared = [folder for folder in map(Path, folders) if (folder / COMPARISON_FILE).exists()]
    if not compared:
        records = read_folders(folders)
        write_records(file, records)
        return records
    if len(folders) > 1:
        raise InputError(f"{compared[0]}: a comparison; keep it by itself, in a file of its own")
    from linear_probe.reports.comparison import comparison

    found = comparison(compared[0])
    names = {
        run.encoder: f"{method.name}/seed{run.seed}"
        for method in read_compared(compared[0]).methods
        for run in method.runs
    }
    names |= {f"{old}, untrained": f"{new}, untrained" for old, new in names.items()}
    records = [
        replace(record, encoder=names.get(record.encoder, record.encoder))
        for record in read_records(compared[0] / found.compared.scores / RECORDS_FILE)
    ]
    write_records(file, records)
    replace_file(table_beside(file), as_csv(found).encode())
    return records


def table_beside(file: Path) -> Path:
    """The CSV that belongs to the kept records of a comparison."""
    return file.with_name(file.name.removesuffix(ENDING) + ".csv")


class KeptComparison:
    """A comparison that was kept: each of its figures is one of its records, or their mean.

    Args:
        file: of its records; its CSV lies beside it.

    Raises:
        InputError: one of them can't be read, or they don't say the same.
    """

    def __init__(self, file: Path) -> None:
        self.path = table_beside(file)
        try:
            reader = csv.DictReader(io.StringIO(regular(self.path).read_text()))
            self.lines: list[Line] = [
                {str(name): unescaped(str(cell or "")) for name, cell in row.items()}
                for row in reader
            ]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(
                f"{self.path}: can't be read ({error}); `linear-probe keep` writes it"
            ) from error
        if tuple(reader.fieldnames or ()) != CSV_COLUMNS:
            raise InputError(f"{self.path}: has other columns; `linear-probe keep` writes it anew")
        of: dict[tuple[str, ...], list[Record]] = {}
        for record in read_records(file):
            if not record.condition:
                of.setdefault(_key_of_record(record), []).append(record)
        for line in self.lines:
            if line["task"]:
                self._check(line, of.get(_key_of_line(line), []), file)

    def _check(self, line: Line, records: list[Record], file: Path) -> None:
        value = sum(r.value for r in records) / len(records) if records else math.nan
        ends = [(float(line["value"]), value)]
        if len(records) == 1:
            ends += [(float(line["low"]), records[0].low), (float(line["high"]), records[0].high)]
        # Intervals are of replicates in double precision, records' in single.
        if not all(math.isclose(one, other, rel_tol=1e-5) for one, other in ends):
            raise InputError(
                f"{self.path}: {line['method']}, {line['task']} {line['metric']}: is not what the "
                f"records in {file} say; keep both anew by `linear-probe keep`"
            )

    @cached_property
    def columns(self) -> list[Column]:
        """In their order."""
        return list(dict.fromkeys(_column(line) for line in self.lines if line["task"]))

    def cell(
        self, method: str, metric: str, task: str | None = None, probe: str | None = None
    ) -> str | None:
        """A figure with its interval, as text, and whether it is told apart from the best.

        None where there is none, or several fit.
        """
        found = [
            line
            for line in self.lines
            if (line["method"], line["metric"]) == (method, metric)
            and task in (None, line["task"])
            and probe in (None, line["probe"])
        ]
        return _text(found[0], edge=False) if len(found) == 1 else None

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the whole table, as `comparison.md` has them."""
        by_method: dict[str, list[Line]] = {}
        for line in self.lines:
            by_method.setdefault(line["method"], []).append(line)
        body = []
        for method, lines in by_method.items():
            figures = {_column(line): line for line in lines if line["task"]}
            about = lines[0]
            features = spaces_told((c.task, line["feature_space"]) for c, line in figures.items())
            if not figures and about["error"]:
                features = f"failed: {about['error']}"
            body.append(
                [
                    *(method, about["uses_identity_labels"], features),
                    *(_whole(figures[c]) if c in figures else "-" for c in self.columns),
                    about["seeds"].replace(" ", ", "),
                    *(_with_commas(about[key]) for key in ("steps", "pairs")),
                    *(about["pflop"], about["minutes"]),
                ]
            )
        return headings(self.columns), body


def _column(line: Line) -> Column:
    where = (line["task"], line["data_set"], line["split"], line["metric"], line["probe"])
    # Which way is good is no matter for its heading.
    return Column(*where, line["unit"], True)


def _key_of_line(line: Line) -> tuple[str, ...]:
    keys = ("method", "task", "data_set", "split", "metric", "feature_space")
    # Predicting the mean has a probe of its own.
    return (*(line[key] for key in keys), line["probe"] if line["feature_space"] else "")


def _key_of_record(record: Record) -> tuple[str, ...]:
    method = re.sub(r"/seed\d+(?=$|, untrained$)", "", record.encoder)
    where = (method, record.task, record.data_set, record.split, record.metric)
    return (*where, record.feature_space, record.probe if record.feature_space else "")


def _text(line: Line, edge: bool) -> str:
    mark = "*" if edge and line["at_grid_edge"] else ""
    spread = f" ± {float(line['spread']):.2f}" if line["spread"] else ""
    tied = " ≈" if line["tied"] else ""
    interval = f"[{float(line['low']):.2f}, {float(line['high']):.2f}]"
    return f"{float(line['value']):.2f}{mark}{spread} {interval}{tied}"


def _whole(line: Line) -> str:
    text = _text(line, edge=True)
    return f"**{text}**" if line["best"] else text


def _with_commas(text: str) -> str:
    return re.sub(r"\d+", lambda number: f"{int(number[0]):,}", text)
