"""The table of claims: a row for each, counts by paper, and what readers must know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from linear_probe.plans.claims.figures import figure, seeds_there, times_smaller
from linear_probe.plans.claims.settings import Call, Claim, Claims
from linear_probe.records.collect import find_records
from linear_probe.reports.page import page
from linear_probe.reports.parts import Part, Section
from linear_probe.reports.text_tables import Cell, Table, as_text
from linear_probe.stats.verdicts import LEVEL, MOST_SEEDS, Judged, Verdict, corrected, judge
from ssl_faces import InputError
from ssl_faces.common.files import replace_file

CLAIMS_FILE = "claims.md"
CLAIMS_PAGE = "claims.html"

_VERDICTS: list[tuple[Verdict, ...]] = [
    ("supported",),
    ("no effect of interest",),
    ("inconclusive",),
    ("contradicted",),
    ("one seed: no verdict",),
    ("no data", "not run"),
]
_HEADER = ["name", "claim", "verdict", "after Holm", "gain", "smallest", "with", "without", "seeds"]
_HEADER += ["would settle it", "published"]
_NOTES = [
    "with and without: mean over seeds, 95 % interval over test rows and seeds, in the metric's "
    "unit; gain: of the one with it, more where more is better, else less; seeds are paired",
    "verdict, by the gain's interval: no effect of interest, within the smallest effect of "
    "interest on both sides of 0; else supported, above 0; contradicted, below 0; inconclusive, "
    "too wide for either. With a margin (-1.00 and the like) the claim is that the idea costs no "
    "more: supported above it, contradicted below it. One seed gives no verdict",
    "would settle it: so many seeds, and so many test rows (n) if those are too few, make half of "
    "the interval at most half of the smallest effect, so that there is a verdict whatever the "
    "gain: 1.96² v / m + t² s² / S <= (effect / 2)², with v and s² the gain's measured variances "
    "over test rows and seeds, m times the test rows, S seeds and t Student's 97.5 % quantile "
    "(`linear_probe/stats/verdicts.py`)",
]


@dataclass(frozen=True)
class _Row:
    """A claim's row.

    Attributes:
        figures: its cells from `gain` to `without`.
        by_size: the verdict is by the file's size.
        reason: of missing figures.
    """

    name: str
    claim: Claim
    verdict: Verdict
    judged: Judged | None = None
    figures: Sequence[str] = ("-",) * 4
    seeds: str = "-"
    settled_by: str = "-"
    by_size: bool = False
    reason: str = ""


class ClaimTable:
    """Rows of claims, and notes for readers.

    Args:
        out: the claims' folder.
        claims: the file.
    """

    def __init__(self, out: Path, claims: Claims) -> None:
        self.out, self.claims = out, claims
        self.rows: list[_Row] = []
        self.notes: dict[str, None] = {}
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
        smallest = self.claims.smallest_of(claim)
        judged = judge(*pair, smallest, claim.at_most_worse)
        # What has no unit, such as CCC, is at most 1.
        digits = 2 if records[0].unit else 3
        parts = (judged.gain.value, judged.gain.low, judged.gain.high)
        gain = "{} [{}, {}]".format(*(f"{x:+.{digits}f}" for x in parts))
        too_large = False
        if claim.at_least_smaller is not None:
            smaller = times_smaller(records, of_without)
            gain += f"; {smaller['float32']:.1f} times smaller than in float32"
            if "float16" in smaller:
                gain += f", {smaller['float16']:.1f} than in float16"
            too_large = smaller["float32"] < claim.at_least_smaller
        verdict: Verdict = "contradicted" if too_large else judged.verdict
        settled_by = "-"
        if verdict == "inconclusive" and judged.needed is not None:
            count, times = judged.needed
            settled_by = f"{count:,}{' or more' if count == MOST_SEEDS else ''} seeds"
            settled_by += f", n {records[0].n * times:,.0f}" if times > 1 else ""
        effect = smallest if claim.at_most_worse is None else -claim.at_most_worse
        cells = [Cell(gain, judged.gain.value), Cell(f"{effect:.{digits}f}")]
        for side in (mean, mean_without):
            low, high = (f"{end:.{digits}f}" for end in side.interval)
            cells.append(Cell(f"{side.value:.{digits}f} [{low}, {high}]", side.value))
        count_of_seeds = str(len(seeds))
        self.rows.append(
            _Row(name, claim, verdict, judged, cells, count_of_seeds, settled_by, too_large)
        )
        # Seeds may have been run on several machines.
        machines = " and ".join(dict.fromkeys(record.hardware for record in both))
        self.notes[f"{records[0].data_set}, n {records[0].n:,}; {machines}"] = None
        self.folders |= dict.fromkeys(call.folder for call in (*idea, *without))

    def add_missing(self, name: str, claim: Claim, reason: str, result: Verdict) -> None:
        """A row without figures."""
        self.rows.append(_Row(name, claim, result, reason=reason))

    @property
    def table(self) -> Table:
        judged = {row.name: row.judged for row in self.rows if row.judged is not None}
        after = dict(zip(judged, corrected(list(judged.values())), strict=True))
        body = []
        for row in self.rows:
            verdicts = [row.verdict, row.verdict if row.by_size else after.get(row.name, "-")]
            start = [row.name, row.claim.says, *verdicts]
            body.append([*start, *row.figures, row.seeds, row.settled_by, row.claim.published])
        # What several claims share is printed once.
        shared: dict[str, list[str]] = {}
        for row in self.rows:
            tried = row.claim.tried if row.verdict != "supported" else ""
            for text in filter(None, (row.reason, row.claim.note, tried)):
                shared.setdefault(text, []).append(row.name)
        tested = sum(one.p is not None for one in judged.values())
        notes = [*_NOTES, *_about_chance(tested, list(after.values())), *self._about_effects()]
        notes += [*self.notes, *(f"{', '.join(names)}: {text}" for text, names in shared.items())]
        return Table("Claims of the papers", _HEADER, body, notes)

    def _about_effects(self) -> list[str]:
        metrics = {metric for row in self.rows for metric in row.claim.metrics}
        effects = [
            f"{one.effect:g} for {', '.join(m for m in one.metrics if m in metrics)}, {one.reason}"
            for one in self.claims.smallest
            if metrics & {*one.metrics}
        ]
        notes = [f"smallest effects of interest: {'; '.join(effects)}"]
        return notes + ([self.claims.remark] if self.claims.remark else [])

    @property
    def by_paper(self) -> Table:
        papers: dict[str, list[_Row]] = {}
        for row in self.rows:
            papers.setdefault(row.claim.paper, []).append(row)
        body = []
        for paper, rows in papers.items():
            counts = [sum(row.verdict in kinds for row in rows) for kinds in _VERDICTS]
            seeds = sorted({int(row.seeds) for row in rows if row.seeds.isdigit()})
            ends = dict.fromkeys(str(count) for count in (seeds[:1] + seeds[-1:]))
            body.append([paper, *(str(count or "-") for count in counts), " to ".join(ends) or "-"])
        header = ["paper", *(" or ".join(kinds) for kinds in _VERDICTS), "seeds"]
        return Table("Claims by paper", header, body, [])

    def write(self) -> None:
        """Write `claims.md`."""
        tables = (as_text(table, markdown=True) for table in (self.by_paper, self.table))
        replace_file(self.out / CLAIMS_FILE, ("\n\n".join(tables) + "\n").encode())

    def write_page(self) -> None:
        """Write `claims.html`: both tables, and all records with plots."""
        if not self.folders:
            return
        table = self.table
        named = [[Cell(claim, hint=name), *cells] for name, claim, *cells in table.body]
        by_claim = Table(table.title, table.header[1:], named)
        parts = [
            Part(tables=[self.by_paper], kind="plain"),
            Part("Claim by claim", tables=[by_claim], notes=list(table.notes)),
        ]
        first = [Section("claims", "Claims of the papers", "", parts)]
        title, found = "Claims of the papers", find_records(list(self.folders))
        text = page(found, most_maps=0, first=first, title=title)
        replace_file(self.out / CLAIMS_PAGE, text.encode(errors="backslashreplace"))


def _about_chance(tested: int, after: Sequence[Verdict]) -> list[str]:
    if not tested:
        return []
    kept = sum(verdict in ("supported", "contradicted") for verdict in after)
    return [
        f"false positives: {tested} claims were tested, each at {100 * LEVEL:g} %: if no idea had "
        f"any effect, {tested * LEVEL:.1f} verdicts of supported or contradicted would be expected "
        "by chance alone. After Holm: the verdicts that remain if the probability of any false one "
        f"among all claims is to be at most {100 * LEVEL:g} % ({kept} of supported or "
        "contradicted); the others are inconclusive"
    ]
