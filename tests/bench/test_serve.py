"""`ssl-faces bench serve`: two real servers, a few requests."""

import pytest

from tests.support.benches import run_bench
from tests.support.commands import refusal

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")


def test_a_short_run(tmp_path, capsys):
    words = ("--concurrency", "1,8", "--each", "16", "--rounds", "1")
    measured = run_bench(tmp_path, "serve", *words)
    rows = measured["rows"]
    assert [(row["at once"], row["encoder takes"]) for row in rows] == [
        (1, "batches"),
        (1, "one by one"),
        (8, "batches"),
        (8, "one by one"),
    ]
    for row in rows:
        assert 0 < row["p50 ms"] <= row["p95 ms"]
        assert row["requests/s"] > 0
    # The ratio is of the same round, and one round was run.
    assert rows[2]["times one by one"] == pytest.approx(
        rows[2]["requests/s"] / rows[3]["requests/s"]
    )


def test_the_services_own_refusal(capsys):
    assert "no-such-encoder" in refusal(capsys, "bench", "serve", "--encoder", "no-such-encoder")
