"""Settings of the tables in the project's pages: `checkpoints/tables.yaml`."""

from __future__ import annotations

from pydantic import Field, model_validator

from ssl_faces.common.yaml_settings import Name, Strict

EXAMPLE = "checkpoints/tables.yaml"


class Column(Strict):
    """One figure of a row's encoder or method.

    Attributes:
        heading: of the column.
        metric: of the record.
        task, data_set, probe: of the record too, if there are several.
    """

    heading: str
    metric: str
    task: str | None = None
    data_set: str | None = None
    probe: str | None = None


class Row(Strict):
    """A row: one of encoder, method, published and cells.

    Attributes:
        label: in the page.
        encoder: its name in the records.
        feature_space: of it; None if each figure is of one space only.
        method: of a comparison.
        published: a name in `linear_probe.records.published`; columns then need a data set.
        cells: texts, of a run whose records were not archived.
        empty: headings of the columns without a figure.
    """

    label: str
    encoder: str | None = None
    feature_space: str | None = None
    method: str | None = None
    published: str | None = None
    cells: list[str] | None = None
    empty: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one(self) -> Row:
        if [self.encoder, self.method, self.published, self.cells].count(None) != 3:
            raise ValueError("give one of encoder, method, published and cells")
        return self


class TableOf(Strict):
    """A table of figures.

    Attributes:
        records: files of records: `.jsonl`, `.jsonl.gz`, or a released encoder's `card.json`; if
            several have the same figure the first one's counts.
        comparison: or those of a comparison, as `linear-probe keep` writes them.
        first: heading of the rows' names.
        rows: in their order.
        note: below the table.
        edges: mark by `*` a value chosen at the edge of its grid.
    """

    records: list[str] = Field(default_factory=list)
    comparison: str | None = None
    first: str
    columns: list[Column] = Field(min_length=1)
    rows: list[Row] = Field(min_length=1)
    note: str = ""
    edges: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> TableOf:
        if self.records and self.comparison:
            raise ValueError("give either records or a comparison")
        headings = [column.heading for column in self.columns]
        for row in self.rows:
            if (row.method and not self.comparison) or (row.encoder and not self.records):
                raise ValueError(f"{row.label}: of records name encoders, of a comparison methods")
            if row.cells is not None and len(row.cells) != len(headings):
                raise ValueError(f"{row.label}: give {len(headings)} cells")
            for heading in row.empty:
                if heading not in headings:
                    raise ValueError(f"{row.label}: no column is called '{heading}'")
        return self


class Pages(Strict):
    """The file.

    Attributes:
        pages: with marked tables; paths from the project's folder.
        tables: by name.
        comparisons: whole tables of comparisons by name, each of a file of records.
        reports: pages that `linear-probe report` wrote, and their files of records: each figure
            of the page must be in these.
        rendered: images of rendered faces, as `ssl-faces render --sheet` makes them.
    """

    pages: list[str] = Field(min_length=1)
    tables: dict[Name, TableOf] = Field(default_factory=dict)
    comparisons: dict[Name, str] = Field(default_factory=dict)
    reports: dict[str, list[str]] = Field(default_factory=dict)
    rendered: list[str] = Field(default_factory=list)
