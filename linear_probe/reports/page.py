"""The report as one HTML page that needs no network: everything is inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined, Template

from linear_probe.experiments.probe import FEATURES_FOLDER
from linear_probe.features.listing import find_features
from linear_probe.records.published import published, published_notes
from linear_probe.records.recorder import RunFolder
from linear_probe.reports import plots
from linear_probe.reports.cards import compared, is_trained
from linear_probe.reports.command import Found, replicates_of
from linear_probe.reports.evidence import Evidence, gather, mistakes, roc
from linear_probe.reports.feature_map import coloured, feature_map, sampled
from linear_probe.reports.grids import (
    GROUP_NOTE,
    Grid,
    confusion_grid,
    curve_grid,
    figures,
    group_grids,
    recall_grids,
)
from linear_probe.reports.plots import Key
from linear_probe.reports.tables import BEST, Curve, Table, curves, distinct, main_curves, tables
from linear_probe.reports.thumbnails import Thumbnails
from ssl_faces import InputError
from ssl_faces.common.page_style import base_css

TITLE = "Linear probes of frozen face features"
FOOT = (
    "Made from records alone by linear-probe report. Every figure is of frozen features; what was "
    "chosen was chosen on a validation split of the training part, never on the test part."
)
MOST_MAPS = 6


class Plot(NamedTuple):
    """A picture with its caption and legend."""

    title: str
    svg: str
    small: str = ""
    keys: Sequence[Key] = ()


class ShownMistake(NamedTuple):
    """A mistake of a gallery; its pictures are data URIs, or None where not found."""

    text: str
    alt: str
    keys: list[str]
    pictures: list[str | None]


@dataclass
class Detail:
    """What is told of one row's predictions."""

    name: str
    open: bool = False
    confusion: Grid | None = None
    map: Plot | None = None
    mistakes_title: str = ""
    mistakes: list[ShownMistake] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@dataclass
class Section:
    """One task on one data set and split."""

    task: str
    title: str
    split: str
    table: Grid | None = None
    notes: list[str] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    rocs: list[Plot] = field(default_factory=list)
    curves: list[Plot] = field(default_factory=list)
    curve_keys: Sequence[Key] = ()
    curve_tables: list[Grid] = field(default_factory=list)
    curve_notes: list[str] = field(default_factory=list)
    recalls: list[Grid] = field(default_factory=list)
    groups: list[Grid] = field(default_factory=list)
    group_notes: list[str] = field(default_factory=list)
    details: list[Detail] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


def page(
    found: Sequence[Found],
    data: str | Path | None = None,
    most_maps: int = MOST_MAPS,
    first: Sequence[Section] = (),
    title: str = TITLE,
    foot: str = FOOT,
) -> str:
    """The page of these records, and of what was kept beside them.

    What is missing or broken beside the records is left out, with a line that says why.

    Args:
        found: records with their folders, at least one.
        data: folder of the pictures for the galleries, or `rendered`; None lists keys.
        most_maps: 2-D maps to draw; each takes seconds.
        first: sections that come before those of the records.
        title, foot: of the page.

    Raises:
        InputError: `data` is missing or holds no pictures.
    """
    records = [one.record for one in found]
    said: list[str] = []
    try:
        replicates = replicates_of(found)
    except InputError as error:
        replicates = {}
        said.append(f"nothing is set in bold: {error}")
    painter = _Details(Thumbnails(data), data is not None, most_maps)
    curves_of: dict[tuple[str, str, str], list[Curve]] = {}
    for curve in curves(records):
        curves_of.setdefault((curve.task, curve.data_set, curve.split), []).append(curve)
    sections = [*first]
    for number, table in enumerate(tables(records)):
        section = Section(table.task, f"{table.task}: {table.data_set}", table.split)
        section.table = figures(table, replicates, number)
        bold = any("best" in cell.kind for row in section.table.rows for cell in row.cells)
        section.notes = [*([BEST] if bold else []), *table.notes, *said]
        section.notes += published_notes(published(table.data_set, table.metrics))
        section.plots = [_intervals(table, metric) for metric in table.metrics]
        evidence, section.said = gather(table, found)
        section.rocs = _rocs(evidence)
        section.recalls, section.groups = recall_grids(evidence), group_grids(evidence)
        section.group_notes = [GROUP_NOTE] if section.groups or section.recalls else []
        section.details = painter.details(evidence)
        if not evidence:
            section.said.append(
                "no predictions are kept beside these figures: no confusions, groups or mistakes"
            )
        _add_curves(section, curves_of.pop((table.task, table.data_set, table.split), []))
        sections.append(section)
    for (task, data_set, split), those in curves_of.items():
        section = Section(task, f"{task}: {data_set}", split)
        _add_curves(section, those)
        sections.append(section)
    trained = dict.fromkeys(r.encoder for r in records if is_trained(r))
    others = dict.fromkeys(r.encoder for r in records if r.encoder not in trained)
    sets = distinct(record.data_set for record in records)
    return _template().render(
        title=title,
        foot=foot,
        lead=f"{_counted(len(records), 'figure')} of {_counted(len(trained), 'encoder')} and "
        f"{_counted(len(others), 'reference')} on {', '.join(sets)}",
        tasks=distinct(section.task for section in sections),
        cards=compared(found),
        references=[f"for reference: {'; '.join(others)}"] if others else [],
        sections=sections,
        commands=distinct(
            command
            for folder in dict.fromkeys(one.folder for one in found)
            for command in RunFolder(folder).commands()
        ),
        repeat=_repeat(found),
        css=base_css() + _asset("page.css"),
        js=_asset("page.js"),
    )


def _counted(count: int, of: str) -> str:
    return f"{count:,} {of}{'' if count == 1 else 's'}"


def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_asset("page.html"))


def _asset(name: str) -> str:
    return files("linear_probe.reports").joinpath(name).read_text(encoding="utf-8")


def _repeat(found: Sequence[Found]) -> list[str]:
    """Seeds, hardware, versions and folders, in words."""
    records = [one.record for one in found]
    seeds = sorted({record.seed for record in records})
    lines = [f"seeds: {', '.join(map(str, seeds))}"]
    hardware = distinct(record.hardware for record in records)
    lines += [f"hardware: {'; '.join(hardware)}"] if hardware else []
    versions = distinct(", ".join(f"{k} {v}" for k, v in r.versions.items()) for r in records)
    lines += [f"versions: {each}" for each in versions]
    folders = distinct(str(one.folder) for one in found)
    return [*lines, f"records: {', '.join(folders)}"]


def _intervals(table: Table, metric: str) -> Plot:
    rows = [row for row in table.rows if metric in row.cells]
    bars = [
        plots.Bar(row.name, cell.value, cell.low, cell.high, is_trained(cell.records[0]))
        for row in rows
        for cell in [row.cells[metric]]
    ]
    up = rows[0].cells[metric].records[0].higher_is_better
    better = "higher is better" if up else "lower is better"
    svg = plots.interval_plot(f"{table.title}, {metric}", bars, table.units[metric])
    return Plot(metric, svg, f"{table.units[metric]}, {better}".lstrip(", "))


def _rocs(evidence: Sequence[Evidence]) -> list[Plot]:
    lines = []
    for one in evidence:
        found = roc(one.predictions) if one.predictions.kind == "verification" else None
        if found is not None:
            false, true, area = found
            name = f"{one.name}, AUC {100 * area:.2f} %"
            lines.append(plots.Line(name, false.tolist(), true.tolist()))
    if not lines:
        return []
    svg = plots.line_plot(
        *("ROC curves", lines, "false accept rate", "true accept rate"), square=True
    )
    return [Plot("Pairs of all folds together", svg, "", plots.keys([line.name for line in lines]))]


def _add_curves(section: Section, of: Sequence[Curve]) -> None:
    main = main_curves(of)
    names = distinct(series.row.name for curve in main for series in curve.series)
    section.curves = [_curve(curve, names) for curve in main]
    section.curve_keys = plots.keys(names)
    section.curve_tables = [curve_grid(curve) for curve in of]
    notes = distinct(r.protocol for c in of for r in c.records)
    notes += distinct(r.note for c in of for r in c.records)
    section.curve_notes = [note for note in notes if note not in section.notes]


def _curve(curve: Curve, names: Sequence[str]) -> Plot:
    """One factor's plot, in the colours that its series have in all of a section's plots."""
    series = {one.row.name: one for one in curve.series}
    lines = []
    for name in names:
        cells = series[name].points if name in series else {}
        of = list(cells.values())
        lines.append(
            plots.Line(
                name,
                list(cells),
                [cell.value for cell in of],
                [cell.low for cell in of],
                [cell.high for cell in of],
            )
        )
    levels = curve.levels
    wide = levels[0] > 0 and levels[-1] / levels[0] >= 20
    svg = plots.line_plot(
        *(curve.title, lines, curve.headed, f"{curve.metric} {curve.unit}"), levels, log=wide
    )
    return Plot(f"{curve.metric} by {curve.factor}", svg)


class _Details:
    """Details of every row's predictions; of trained encoders also maps and galleries."""

    def __init__(self, thumbnails: Thumbnails, with_pictures: bool, most_maps: int) -> None:
        self.thumbnails = thumbnails
        self.with_pictures = with_pictures
        self.maps_left = most_maps

    def details(self, evidence: Sequence[Evidence]) -> list[Detail]:
        """Trained encoders first; only their first is open."""
        trained = [one for one in evidence if is_trained(one.record)]
        shown = trained or list(evidence)
        rest = [one for one in evidence if one not in shown]
        found = [self._detail(one, True) for one in shown]
        found += [self._detail(one, False) for one in rest if one.predictions.kind != "regression"]
        for one in found[:1]:
            one.open = True
        return found

    def _detail(self, one: Evidence, full: bool) -> Detail:
        detail = Detail(f"{one.name}: {one.record.metric}")
        predictions = one.predictions
        if predictions.kind != "regression":
            detail.confusion = confusion_grid(one)
        if not full:
            return detail
        if predictions.kind != "verification":
            try:
                detail.map = self._map(one)
            except (InputError, ValueError) as error:
                detail.said.append(f"no map of the features: {error}")
        self._add_mistakes(one, detail)
        return detail

    def _map(self, one: Evidence) -> Plot:
        if self.maps_left < 1:
            raise ValueError("as many as asked for are drawn above (--maps)")
        rows = sampled(one.predictions)
        keys = [one.predictions.keys[i] for i in rows]
        features = find_features(one.found.folder / FEATURES_FOLDER, one.found.stored, keys)
        if features is None:
            raise ValueError(
                f"{one.found.folder / FEATURES_FOLDER} has no features of these test rows; "
                "run `linear-probe run` again"
            )
        places = feature_map(features)
        self.maps_left -= 1
        colours, names = coloured(one.predictions, rows)
        return Plot(
            "Map of the features",
            plots.map_plot(f"map of {one.name}", places, colours, names),
            f"{len(rows):,} test rows, standardised, PCA and t-SNE; distances between far points "
            "say little",
            plots.keys(names),
        )

    def _add_mistakes(self, one: Evidence, detail: Detail) -> None:
        predictions = one.predictions
        found = mistakes(predictions)
        if not found:
            detail.said.append("no mistakes")
            return
        regression = predictions.kind == "regression"
        detail.mistakes_title = "Largest errors" if regression else "Most confident mistakes"
        keys = [key for mistake in found for key in mistake.keys]
        uris = self.thumbnails.of(keys, predictions.keys, one.record.seed)
        if not self.with_pictures:
            detail.said.append("--data FOLDER shows the pictures too")
        elif not any(uris):
            detail.said.append("--data has not the pictures of these test rows")
        each = iter(uris)
        for mistake in found:
            if predictions.kind == "classification":
                sure = f", {100 * mistake.confidence:.0f} %" if mistake.confidence else ""
                text = f"{mistake.target} taken for {mistake.predicted}{sure}"
            elif regression:
                text = f"true {mistake.target}, predicted {mistake.predicted} {one.record.unit}"
            else:
                text = f"{mistake.target} taken for {mistake.predicted}, {mistake.confidence:.3f}"
            pictures = [next(each) for _ in mistake.keys]
            shown = [_readable(key) for key in mistake.keys]
            detail.mistakes.append(ShownMistake(text, f"face: {text}", shown, pictures))


def _readable(key: str) -> str:
    """A key whose bytes may be no text, as text."""
    return key.encode(errors="surrogateescape").decode(errors="backslashreplace")
