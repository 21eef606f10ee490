"""Records: written whole, read back as they were, refused where they are no records."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linear_probe.records.record import Record, merged, read_records, write_records
from ssl_faces import InputError
from tests.support.records import ONE

TEXT = st.text(max_size=20)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
ANY_RECORD = st.builds(
    Record,
    **dict.fromkeys(
        (
            *("task", "data_set", "split", "encoder", "feature_space", "probe", "metric", "unit"),
            *("protocol", "note", "fingerprint", "hardware"),
        ),
        TEXT,
    ),
    **dict.fromkeys(("value", "low", "high", "seconds"), NUMBER),
    higher_is_better=st.booleans(),
    at_grid_edge=st.booleans(),
    n=st.integers(0, 10**9),
    seed=st.integers(0, 2**40),
    hyperparameters=st.dictionaries(TEXT, JSON, max_size=3),
    versions=st.dictionaries(TEXT, TEXT, max_size=3),
)


@given(ANY_RECORD)
def test_round_trip(record):
    line = record.to_json()
    assert "\n" not in line
    assert Record.from_json(line) == record


@settings(max_examples=10)
@given(st.lists(ANY_RECORD, max_size=4))
def test_round_trip_by_file(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    write_records(path, records)
    assert read_records(path) == records


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_refused_in_a_sentence(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    path.write_bytes(data)
    if not data.strip(b" \t\r\n"):
        assert read_records(path) == []
        return
    with pytest.raises(InputError) as caught:
        read_records(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"value": "7"}, "'value' is not a number"),
        ({"value": None}, "'value' is not a number"),
        ({"value": True}, "'value' is not a number"),
        ({"value": 10**400}, "int too large"),
        ({"hyperparameters": {"l2": float("nan")}}, "'hyperparameters' is not finite"),
        ({"n": 1.5}, "'n' is not a whole number"),
        ({"n": True}, "'n' is not a whole number"),
        ({"task": 3}, "'task' is not text"),
        ({"higher_is_better": 1}, "'higher_is_better' is not true or false"),
        ({"hyperparameters": []}, "'hyperparameters' is not a JSON object"),
        ({"versions": {"torch": 2}}, "'versions' holds a value that is not text"),
        ({"colour": "red"}, "unknown field 'colour'"),
    ],
)
def test_wrong_fields_are_named_with_file_and_line(tmp_path, change, expected):
    path = tmp_path / "records.jsonl"
    wrong = json.loads(ONE.to_json()) | change
    path.write_text(f"{ONE.to_json()}\n\n{json.dumps(wrong)}\n")
    with pytest.raises(InputError) as caught:
        read_records(path)
    assert f"{path}, line 3: " in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"value": NaN}', "7", "{}", "null"])
def test_lines_that_are_no_record(tmp_path, text):
    (tmp_path / "r.jsonl").write_text(text)
    with pytest.raises(InputError, match=r"r\.jsonl, line 1: not a record"):
        read_records(tmp_path / "r.jsonl")


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(InputError, match="can't be read"):
        read_records(tmp_path / "records.jsonl")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a text file"):
        read_records(tmp_path / "binary")


def test_new_records_replace_those_of_the_same_key():
    newer, other = replace(ONE, value=6.0, seconds=9.0), replace(ONE, metric="MAE roll")
    assert merged([ONE, other], [newer]) == [newer, other]
    for change in ({"encoder": "b"}, {"seed": 1}, {"split": "x"}, {"feature_space": "y"}):
        assert len(merged([ONE], [replace(ONE, **change)])) == 2
