"""The table of claims: a row for each, counts by paper, and what readers must know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from linear_probe.plans.claims.figures import Verdict, figure, seeds_there, times_smaller, verdict
from linear_probe.plans.claims.settings import Call, Claim
from linear_probe.reports.text_tables import Table, as_text
from linear_probe.reports.write import write_report
from linear_probe.stats.over_seeds import OverSeeds, gap
from ssl_faces import InputError
from ssl_faces.common.files import replace_file

CLAIMS_FILE = "claims.md"
CLAIMS_PAGE = "claims.html"

_VERDICTS: list[tuple[Verdict, ...]] = [
    ("holds",),
    ("not seen here",),
    ("the contrary is seen",),
    ("no data", "not run"),
]
_HEADER = ["name", "claim", "published", "with", "without", "gain", "seeds", "verdict"]
_NOTE = (
    "with and without: mean over seeds, 95 % interval over test rows and seeds, in the metric's "
    "unit; gain: of the one with it, more where more is better, else less; holds: the gain's "
    "interval is above 0 (or above what the idea may cost)"
)


class ClaimTable:
    """Rows of claims, and notes for readers.

    Args:
        out: the claims' folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.body: list[list[str]] = []
        self.papers: dict[str, list[tuple[str, Verdict]]] = {}
        self.notes: dict[str, None] = {_NOTE: None}
        self.tried: dict[str, list[str]] = {}
        self.folders: dict[Path, None] = {}

    def add(self, name: str, claim: Claim, idea: Sequence[Call], without: Sequence[Call]) -> None:
        """Compare the records of both arms.

        Raises:
            InputError: they can't be compared.
        """
        if not idea or not without:
            raise InputError("no records of it")
        # A seed of only one arm would be compared with other seeds of the other.
        seeds = seeds_there(idea, claim) & seeds_there(without, claim)
        if not seeds:
            raise InputError("both arms have records, but of no seed that is the same")
        mean, records = figure(idea, claim, seeds)
        mean_without, of_without = figure(without, claim, seeds)
        both = [*records, *of_without]
        if len({record.sample for record in both}) > 1:
            folders = " and ".join(dict.fromkeys(str(c.folder) for c in (*idea, *without)))
            raise InputError(
                f"{folders}: records of several test samples or draws of them; delete what is old, "
                "and run it anew"
            )
        pair = (mean, mean_without) if records[0].higher_is_better else (mean_without, mean)
        difference = gap(*pair)
        smaller = None
        if claim.at_least_smaller is not None:
            smaller = times_smaller(records, of_without)
        # What has no unit, such as CCC, is at most 1.
        digits = 2 if records[0].unit else 3
        parts = (difference.value, difference.low, difference.high)
        gain = "{} [{}, {}]".format(*(f"{x:+.{digits}f}" for x in parts))
        if smaller is not None:
            gain += f"; {smaller:.1f} times smaller"
        cells = [_text(mean, digits), _text(mean_without, digits), gain]
        self._row(name, claim, cells, str(len(records)), verdict(difference, claim, smaller))
        # Seeds may have been run on several machines.
        machines = " and ".join(dict.fromkeys(record.hardware for record in both))
        self.notes[f"{records[0].data_set}, n {records[0].n:,}; {machines}"] = None
        self.folders |= dict.fromkeys(call.folder for call in (*idea, *without))

    def add_missing(self, name: str, claim: Claim, reason: str, result: Verdict) -> None:
        """A row without figures."""
        self._row(name, claim, ["-", "-", "-"], "-", result)
        self.notes[f"{name}: {reason}"] = None

    def _row(self, name: str, claim: Claim, cells: list[str], seeds: str, result: Verdict) -> None:
        self.body.append([name, claim.says, claim.published, *cells, seeds, result])
        self.papers.setdefault(claim.paper, []).append((seeds, result))
        if claim.tried and result != "holds":
            self.tried.setdefault(claim.tried, []).append(name)

    @property
    def table(self) -> Table:
        # What was tried for several claims is printed once.
        tried = (f"{', '.join(names)}: {text}" for text, names in self.tried.items())
        return Table("Claims of the papers", _HEADER, self.body, [*self.notes, *tried])

    @property
    def by_paper(self) -> Table:
        body = []
        for paper, rows in self.papers.items():
            counts = [sum(result in kinds for _, result in rows) for kinds in _VERDICTS]
            seeds = sorted({int(count) for count, _ in rows if count.isdigit()})
            ends = dict.fromkeys(str(count) for count in (seeds[:1] + seeds[-1:]))
            body.append([paper, *(str(count or "-") for count in counts), " to ".join(ends) or "-"])
        header = ["paper", *(" or ".join(kinds) for kinds in _VERDICTS), "seeds"]
        return Table("Claims by paper", header, body, [])

    def write(self) -> None:
        """Write `claims.md`."""
        tables = (as_text(table, markdown=True) for table in (self.by_paper, self.table))
        replace_file(self.out / CLAIMS_FILE, ("\n\n".join(tables) + "\n").encode())

    def write_page(self) -> None:
        """Write `claims.html`, with plots of all records."""
        if self.folders:
            write_report([str(path) for path in self.folders], self.out / CLAIMS_PAGE, None, 0)


def _text(figure: OverSeeds, digits: int) -> str:
    low, high = figure.interval
    return f"{figure.value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
