"""What `bench scale` measures is done, at small sizes."""

import pandas as pd
import pytest

from ssl_faces.bench import scale
from ssl_faces.common.run_record import read_run
from ssl_faces.data.store.index import Index
from ssl_faces.plan import engine as engines


@pytest.fixture(autouse=True)
def _engine(monkeypatch):
    monkeypatch.setattr(engines, "executor", engines.executor)
    monkeypatch.setattr(engines, "_TICK", 0.0)


def test_a_plan_has_all_its_states_at_the_end_even_if_they_are_seldom_written(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(engines, "_SHARE", 1e-9)
    scale.plan(tmp_path, 30)
    states = read_run(tmp_path / "plan")["steps"]
    assert [step["state"] for step in states.values()] == ["done"] * 30
    assert len(list(tmp_path.glob("*.json"))) == 30


def test_tables_and_indices_have_their_rows(tmp_path):
    scale.joining(tmp_path, 1000, 4)
    parts = [pd.read_parquet(tmp_path / f"{i}.parquet") for i in range(scale.PARTS)]
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "all.parquet"), pd.concat(parts, ignore_index=True)
    )
    scale.index(tmp_path, 1000)
    assert len(Index.read(tmp_path).images) == 1000
    scale.manifest(tmp_path, 50)
    assert len((tmp_path / "manifest.csv").read_text().splitlines()) == 51
