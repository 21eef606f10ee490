"""The report as one HTML page that needs no network: everything is inside it.

Its plots are hand-written SVG (`plots.py`), not Plotly: plotly.js would add 4.5 MB to a page of
about 100 kB, and nothing here needs to be interactive but the sorting of tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from linear_probe.features.files import FEATURES_FOLDER, find_features
from linear_probe.records.collect import Found, Replicates, replicates_of
from linear_probe.records.record import Record
from linear_probe.records.recorder import RunFolder
from linear_probe.reports import plots
from linear_probe.reports.cards import compared, is_trained
from linear_probe.reports.evidence import Evidence, Mistake, gather, mistakes, roc
from linear_probe.reports.feature_map import coloured, feature_map, sampled
from linear_probe.reports.part_tables import (
    GROUP_NOTE,
    confusion_table,
    group_tables,
    recall_tables,
)
from linear_probe.reports.parts import Part, Plot, Section, ShownMistake
from linear_probe.reports.tables import (
    Curve,
    TaskFigures,
    curve_table,
    curves,
    distinct,
    figures_table,
    main_curves,
    task_figures,
)
from linear_probe.reports.thumbnails import Thumbnails
from ssl_faces import InputError
from ssl_faces.common.page_style import base_css

TITLE = "Linear probes of frozen face features"
FOOT = (
    "Made from records alone by linear-probe report. Every figure is of frozen features; all "
    "choices were made on a validation split of the training part, never on the test part."
)
MOST_MAPS = 6


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
        data: folder of the images for the galleries, or `rendered`; None lists keys.
        most_maps: 2-D maps to draw; each takes seconds.
        first: sections that come before all else.
        title, foot: of the page.

    Raises:
        InputError: `data` is missing or holds no images.
    """
    records = [one.record for one in found]
    trained = distinct(r.encoder for r in records if is_trained(r))
    references = distinct(r.encoder for r in records if r.encoder not in trained)
    shown = sections(found, data, most_maps)
    cards = compared(found)
    without_card: dict[str, list[str]] = {}
    for card in cards:
        if card.warning:
            without_card.setdefault(card.warning, []).append(card.name)
    about = [f"{warning}: {', '.join(names)}" for warning, names in without_card.items()]
    if references:
        about.append(f"for reference: {'; '.join(references)}")
    commands = (c for folder in _folders(found) for c in RunFolder(folder).commands())
    return _template().render(
        title=title,
        foot=foot,
        lead=f"{_counted(len(records), 'figure')} of {_counted(len(trained), 'encoder')} and "
        f"{_counted(len(references), 'reference')} on "
        f"{', '.join(distinct(record.data_set for record in records))}",
        tasks=distinct(section.task for section in (*first, *shown)),
        cards=[card for card in cards if card.about],
        references=about,
        first=first,
        sections=shown,
        commands=distinct(commands),
        repeat=_repeat(found),
        css=base_css() + _asset("page.css"),
        js=_asset("page.js"),
    )


def sections(
    found: Sequence[Found], data: str | Path | None = None, most_maps: int = MOST_MAPS
) -> list[Section]:
    """A section for each task, data set and split; arguments as of `page`."""
    details = _Details(Thumbnails(data), data is not None, most_maps)
    records = [one.record for one in found]
    replicates: Replicates = {}
    problems: list[str] = []
    try:
        replicates = replicates_of(found)
    except InputError as error:
        problems.append(f"nothing is set in bold: {error}")
    curves_of: dict[tuple[str, str, str], list[Curve]] = {}
    for curve in curves(records, replicates):
        curves_of.setdefault((curve.task, curve.data_set, curve.split), []).append(curve)
    made = []
    for figures in task_figures(records, replicates):
        table = figures_table(figures, row_kind)
        table = table._replace(notes=[*table.notes, *problems])
        evidence, unusable = gather(figures, found)
        if not evidence:
            unusable.append(
                "no predictions are kept beside these figures: no confusions, groups or mistakes"
            )
        recalls, groups = recall_tables(evidence), group_tables(evidence)
        intervals = [plot for metric in figures.metrics for plot in _intervals(figures, metric)]
        key = (figures.task, figures.data_set, figures.split)
        parts = [
            Part(tables=[table], notes=list(table.notes)),
            Part("Figures with their 95 % intervals", plots=intervals),
            Part("ROC curves", plots=_rocs(evidence)),
            *_curve_parts(curves_of.pop(key, []), table.notes),
            Part("Recall of each class", tables=recalls),
            Part("Groups", tables=groups),
            Part(notes=[GROUP_NOTE] if recalls or groups else []),
            *details.parts(evidence),
            Part(notes=unusable),
        ]
        made.append((key, parts))
    made += [(key, _curve_parts(those, [])) for key, those in curves_of.items()]
    return [
        Section(task, f"{task}: {data_set}", split, parts)
        for (task, data_set, split), parts in made
    ]


def row_kind(record: Record) -> str:
    """Rows of trained encoders stand out."""
    return "trained" if is_trained(record) else ""


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_asset("page.html"))


def _asset(name: str) -> str:
    return files("linear_probe.reports").joinpath(name).read_text(encoding="utf-8")


def _folders(found: Sequence[Found]) -> list[Path]:
    return list(dict.fromkeys(one.folder for one in found))


def _repeat(found: Sequence[Found]) -> list[str]:
    """Seeds, hardware, versions and folders, in words."""
    records = [one.record for one in found]
    hardware = distinct(record.hardware for record in records)
    versions = distinct(", ".join(f"{k} {v}" for k, v in r.versions.items()) for r in records)
    return [
        f"seeds: {', '.join(map(str, sorted({record.seed for record in records})))}",
        *([f"hardware: {'; '.join(hardware)}"] if hardware else []),
        *(f"versions: {each}" for each in versions),
        f"records: {', '.join(map(str, _folders(found)))}",
    ]


def _intervals(figures: TaskFigures, metric: str) -> list[Plot]:
    """The plot of a metric; none if no row has an interval."""
    bars = []
    for row in figures.rows:
        estimate = row.cells.get(metric)
        if estimate is not None and estimate.has_interval:
            strong = is_trained(estimate.records[0])
            bar = plots.Bar(row.name, estimate.value, *estimate.interval, strong)
            bars.append((row.name, [bar]))
            up = estimate.records[0].higher_is_better
    if not bars:
        return []
    unit = figures.units[metric]
    svg = plots.interval_plot(f"{figures.title}, {metric}", bars, unit)
    return [Plot(metric, svg, f"{unit}, {'higher' if up else 'lower'} is better".lstrip(", "))]


def _rocs(evidence: Sequence[Evidence]) -> list[Plot]:
    lines = []
    for one in evidence:
        curve = roc(one.predictions) if one.predictions.kind == "verification" else None
        if curve is not None:
            false, true, area = curve
            name = f"{one.name}, AUC {100 * area:.2f} %"
            lines.append(plots.Line(name, false.tolist(), true.tolist()))
    if not lines:
        return []
    axes = ("false accept rate", "true accept rate")
    svg = plots.line_plot("ROC curves", lines, *axes, square=True)
    return [Plot("Pairs of all folds together", svg, "", plots.keys([line.name for line in lines]))]


def _curve_parts(those: Sequence[Curve], known_notes: Sequence[str]) -> list[Part]:
    main = main_curves(those)
    names = distinct(row.name for curve in main for row in curve.rows)
    titled = [
        curve_table(curve)._replace(title=f"{curve.metric} {curve.unit} by {curve.heading}")
        for curve in those
    ]
    notes = distinct(note for curve in those for note in curve.notes if note not in known_notes)
    return [
        Part("Curves", plots=[_curve(curve, names) for curve in main], keys=plots.keys(names)),
        Part(summary="The curves as tables", tables=titled, kind="plain"),
        Part(notes=notes),
    ]


def _curve(curve: Curve, names: Sequence[str]) -> Plot:
    """One factor's plot, in the colours that its rows have in all of a section's plots."""
    rows = {row.name: row for row in curve.rows}
    lines = []
    for name in names:
        cells = rows[name].cells if name in rows else {}
        ends = [cell.interval for cell in cells.values() if cell.has_interval]
        ends = ends if len(ends) == len(cells) else []
        lines.append(
            plots.Line(
                name,
                list(cells),
                [cell.value for cell in cells.values()],
                [low for low, _ in ends],
                [high for _, high in ends],
            )
        )
    levels = curve.levels
    wide = levels[0] > 0 and levels[-1] / levels[0] >= 20
    axes = (curve.heading, f"{curve.metric} {curve.unit}")
    svg = plots.line_plot(curve.title, lines, *axes, levels, log=wide)
    return Plot(f"{curve.metric} by {curve.factor}", svg)


class _Details:
    """Details of every row's predictions; for trained encoders also maps and galleries."""

    def __init__(self, thumbnails: Thumbnails, with_images: bool, most_maps: int) -> None:
        self.thumbnails = thumbnails
        self.with_images = with_images
        self.maps_left = most_maps

    def parts(self, evidence: Sequence[Evidence]) -> list[Part]:
        """Trained encoders first; only their first is open."""
        full = [one for one in evidence if is_trained(one.record)] or list(evidence)
        others = [e for e in evidence if e not in full and e.predictions.kind != "regression"]
        parts = [self._part(one, one in full) for one in (*full, *others)]
        if parts:
            parts[0].heading, parts[0].open = "Row by row", True
        return parts

    def _part(self, one: Evidence, full: bool) -> Part:
        name = f"{one.name}: {one.record.metric}"
        part = Part(summary=name, kind="confusion")
        if one.predictions.kind != "regression":
            title = f"{name}: confusions, with shares of each true class"
            part.tables = [confusion_table(one.predictions, title)]
        if not full:
            return part
        if one.predictions.kind != "verification":
            try:
                part.plots = [self._map(one)]
            except (InputError, ValueError) as error:
                part.notes.append(f"no map of the features: {error}")
        self._add_mistakes(one, part)
        return part

    def _map(self, one: Evidence) -> Plot:
        if self.maps_left < 1:
            raise ValueError("the maximum number of maps is drawn above (--maps)")
        rows = sampled(one.predictions)
        keys = [one.predictions.keys[i] for i in rows]
        stored = one.found.stored
        features = find_features(
            one.found.folder / FEATURES_FOLDER, stored.fingerprint, stored.feature_space, keys
        )
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
            "mean little",
            plots.keys(names),
        )

    def _add_mistakes(self, one: Evidence, part: Part) -> None:
        predictions = one.predictions
        worst = mistakes(predictions)
        if not worst:
            part.notes.append("no mistakes")
            return
        errors = predictions.kind == "regression"
        part.gallery_title = "Largest errors" if errors else "Most confident mistakes"
        keys = [key for mistake in worst for key in mistake.keys]
        uris = self.thumbnails.of(keys, predictions.keys, one.record.seed)
        if not self.with_images:
            part.notes.append("--data FOLDER shows the images too")
        elif not any(uris):
            part.notes.append("--data does not have the images of these test rows")
        images = iter(uris)
        for mistake in worst:
            shown = [_readable(key) for key in mistake.keys]
            of_mistake = [next(images) for _ in mistake.keys]
            part.gallery.append(ShownMistake(_in_words(mistake, one), shown, of_mistake))


def _in_words(mistake: Mistake, one: Evidence) -> str:
    if one.predictions.kind == "regression":
        return f"true {mistake.target}, predicted {mistake.predicted} {one.record.unit}"
    text = f"{mistake.target} predicted as {mistake.predicted}"
    if one.predictions.kind == "verification":
        return f"{text}, {mistake.confidence:.3f}"
    return f"{text}, {100 * mistake.confidence:.0f} %" if mistake.confidence else text


def _readable(key: str) -> str:
    """A key as text, even if its bytes are not UTF-8."""
    return key.encode(errors="surrogateescape").decode(errors="backslashreplace")
