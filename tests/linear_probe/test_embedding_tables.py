"""Embedding tables as sources: rows found by key, and errors for files that are none."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from linear_probe.features.frozen import FeatureCache, Pictures
from linear_probe.sources.table import EmbeddingTable
from ssl_faces import InputError
from ssl_faces.data import FaceRecord, FaceSet, JoinedFaces
from tests.support.probing import only_source


def faces_of(keys, name="lfw"):
    pixels = np.random.default_rng(0).integers(0, 255, (len(keys), 8, 8, 3)).astype(np.uint8)
    records = [FaceRecord(key, x) for key, x in zip(keys, pixels, strict=True)]
    return Pictures(FaceSet(name, "all", records), np.arange(len(keys)))


KEYS = [f"person/{i}.png" for i in range(10)]
VALUES = np.random.default_rng(1).normal(size=(10, 4)).astype(np.float32)


def save_table(path, keys=KEYS, values=VALUES):
    if path.suffix == ".npz":
        np.savez(path, keys=np.array(keys, dtype=str), one=values, other=2 * values[:, :2])
    else:
        columns = {
            "other": pa.array((2 * values[:, :2]).tolist(), pa.list_(pa.float64())),
            "key": pa.array(keys, pa.string()),
            "one": pa.array(values.tolist(), pa.list_(pa.float32(), 4)),
            "age": pa.array(range(len(keys))),
        }
        parquet.write_table(pa.table(columns), path)
    return str(path)


@pytest.fixture(params=["t.npz", "t.parquet"])
def table_path(request, tmp_path):
    return tmp_path / str(request.param)


@pytest.mark.parametrize("prefix", ["", "lfw/"])
def test_a_tables_rows_are_found_by_key(prefix, table_path, tmp_path):
    order = np.random.default_rng(2).permutation(10)
    path = save_table(table_path, [prefix + KEYS[i] for i in order], VALUES[order])
    source = only_source(path)
    assert source.dims == {"one": 4, "other": 2}
    pictures, cache = faces_of(KEYS), FeatureCache(tmp_path / "features")
    assert cache.fill([source], pictures) == []
    found = cache.read(source, pictures, "one")
    np.testing.assert_array_equal(found.values, VALUES)
    np.testing.assert_array_equal(found.records, np.arange(10))
    np.testing.assert_array_equal(cache.read(source, pictures, "other").values, 2 * VALUES[:, :2])
    some = Pictures(pictures.faces, np.array([3, 7]))
    np.testing.assert_array_equal(cache.read(source, some, "one").values, VALUES[[3, 7]])
    assert not (tmp_path / "features").exists()  # nothing computed


def test_pictures_without_a_row(table_path, tmp_path):
    source = only_source(save_table(table_path, KEYS[2:], VALUES[2:]))
    pictures, cache = faces_of(KEYS), FeatureCache(tmp_path / "features")
    assert cache.fill([source], pictures) == [(k, f"no row in {table_path}") for k in KEYS[:2]]
    found = cache.read(source, pictures, "one")
    np.testing.assert_array_equal(found.values, VALUES[2:])
    np.testing.assert_array_equal(found.records, np.arange(2, 10))

    source = only_source(save_table(table_path, KEYS[3:], VALUES[3:]))
    shown = r"no row for 3 of the 10 pictures of lfw \(30%\), such as 'person/0.png'"
    with pytest.raises(InputError, match=shown):
        cache.fill([source], pictures)


def test_pictures_that_cant_be_read_have_no_features(tmp_path):
    for i in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    records = [FaceRecord(f"{i}.png", tmp_path / f"{i}.png") for i in range(3)]
    (tmp_path / "1.png").unlink()
    pictures = Pictures(FaceSet("mine", "all", records), np.arange(3))
    source = EmbeddingTable(save_table(tmp_path / "t.npz", ["0.png", "1.png", "2.png"], VALUES[:3]))
    assert source.missing(pictures) == [("1.png", "can't be read")]
    assert source.read(pictures, "one").records.tolist() == [0, 2]


def test_a_key_of_two_sets_is_refused(table_path):
    source = EmbeddingTable(save_table(table_path))
    assert source.missing(faces_of(KEYS, "lfw")) == []
    with pytest.raises(InputError, match="may be of lfw or of utkface; write keys as SET/KEY"):
        source.missing(faces_of(KEYS, "utkface"))


def test_a_parquet_file_of_plain_columns(tmp_path):
    path = tmp_path / "t.parquet"
    columns = {f"f{i}": VALUES[:, i] for i in range(4)}
    columns |= {"key": KEYS, "label": ["x"] * 10, "__index_level_0__": np.arange(10)}
    parquet.write_table(pa.table(columns), path)
    source = EmbeddingTable(str(path))
    assert source.dims == {"features": 4}
    np.testing.assert_array_equal(source.read(faces_of(KEYS), "features").values, VALUES)


def on_disk(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (len(name), 0, 0)).save(root / name)
    return [FaceRecord(name, root / name) for name in names]


def joined(train, test):
    """As `linear-probe run --train-csv --test-csv` has them: keys `train/…` and `test/…`."""
    sides = (FaceSet("own_table", "all", side) for side in (train, test))
    faces = JoinedFaces(*sides, "own_table", "t", "s")
    return Pictures(faces, np.arange(len(faces)))


@pytest.mark.parametrize(
    "keys", ["{0}", "train/{0}", "own_table/train/{0}", "mine/{0}", "far/on/{0}"]
)
def test_keys_match_where_they_are_unambiguous(keys, tmp_path):
    names = [f"a/{i}.png" for i in range(3)] + [f"b/{i}.png" for i in range(3)]
    root = tmp_path / "mine"
    records = on_disk(root, names)
    pictures = joined(records[:4], records[4:])
    order = [3, 1, 4, 0, 5, 2]
    parts = ["test" if i > 3 else "train" for i in order]
    table = [
        keys.format(names[i]).replace("train/", f"{part}/")
        for i, part in zip(order, parts, strict=True)
    ]
    source = EmbeddingTable(save_table(tmp_path / "t.npz", table, VALUES[order]))
    assert source.missing(pictures) == []
    np.testing.assert_array_equal(source.read(pictures, "one").values, VALUES[:6])


def test_one_file_in_two_sets_is_one_picture(tmp_path):
    records = on_disk(tmp_path / "mine", ["0.png", "1.png"])
    source = EmbeddingTable(
        save_table(tmp_path / "t.npz", ["mine/0.png", "mine/1.png"], VALUES[:2])
    )
    for name, prefix in (("own_table", ""), ("own_pairs", "other/")):
        again = [FaceRecord(prefix + one.key, one.source) for one in records]
        assert source.missing(Pictures(FaceSet(name, "all", again), np.arange(2))) == []


def test_a_key_that_may_be_of_two_pictures_is_refused(tmp_path):
    one, two = (on_disk(tmp_path / side, [f"{i}.png" for i in range(3)]) for side in "xy")
    names = [f"{i}.png" for i in range(3)]
    source = EmbeddingTable(save_table(tmp_path / "bare.npz", names, VALUES[:3]))
    with pytest.raises(
        InputError, match=r"'0.png' may be of own_table/train/0.png or of own_table/t"
    ):
        source.missing(joined(one, two))
    both = [f"{side}/{name}" for side in "xy" for name in names]
    source = EmbeddingTable(save_table(tmp_path / "named.npz", both, VALUES[:6]))
    np.testing.assert_array_equal(source.read(joined(one, two), "one").values, VALUES[:6])
    moved = EmbeddingTable(
        save_table(tmp_path / "moved.npz", [f"old/{k}" for k in both], VALUES[:6])
    )
    with pytest.raises(InputError, match=r"'old/x/0.png' and 'old/y/0.png' may both be of the"):
        moved.missing(joined(one, two))


def spoilt(row, value):
    values = VALUES.copy()
    values[row:, 1] = value
    return values


def test_wrong_rows(table_path):
    with pytest.raises(InputError, match=r"key 'person/0.png' stands twice"):
        only_source(save_table(table_path, [*KEYS[:-1], KEYS[0]]))
    for bad in (np.nan, np.inf):
        shown = r"(one|other): 2 of 10 rows are NaN or infinite, the first of 'person/8.png'"
        with pytest.raises(InputError, match=shown):
            only_source(save_table(table_path, values=spoilt(8, bad)))
    with pytest.raises(InputError, match="holds no rows"):
        only_source(save_table(table_path, [], VALUES[:0]))


@pytest.mark.parametrize(
    ("arrays", "shown"),
    [
        ({"features": VALUES}, "needs an array 'keys' of text"),
        ({"keys": np.arange(10), "features": VALUES}, "needs an array 'keys' of text"),
        ({"keys": np.array(KEYS, dtype=object), "features": VALUES}, "allow_pickle|Object arrays"),
        ({"keys": np.array(KEYS)}, "holds no features"),
        ({"keys": np.array(KEYS), "f": VALUES[:, 0]}, r"'f' is float32 \[10\] and not numbers"),
        ({"keys": np.array(KEYS), "f": VALUES[:9]}, r"'f' is float32 \[9, 4\] and not numbers"),
        ({"keys": np.array(KEYS), "f": VALUES[:, :, None]}, r"\[10, 4, 1\] and not numbers"),
        ({"keys": np.array(KEYS), "f": VALUES.astype(str)}, "and not numbers"),
        ({"keys": np.array(KEYS), "f": VALUES.astype(np.float64) * 1e300}, "NaN or infinite"),
    ],
)
def test_wrong_npz(arrays, shown, tmp_path):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(InputError, match=shown):
        only_source(str(tmp_path / "t.npz"))


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        ({"features": VALUES.tolist()}, "needs a column 'key' of text"),
        ({"key": list(range(10)), "features": VALUES.tolist()}, "needs a column 'key' of text"),
        ({"key": [*KEYS[:9], None], "f": VALUES.tolist()}, "column 'key' has 1 empty cells"),
        ({"key": KEYS, "f": [*VALUES.tolist()[:9], None]}, "column 'f' has 1 empty cells"),
        ({"key": KEYS, "f": [*VALUES.tolist()[:9], [1.0]]}, "'f' have several lengths"),
        ({"key": KEYS, "f": [["a"]] * 10}, "'f' is object .* and not numbers"),
        ({"key": KEYS, "f": [[1.0, None]] * 10}, "10 of 10 rows are NaN"),
        ({"key": KEYS, "label": KEYS}, "holds no features"),
    ],
)
def test_wrong_parquet(columns, shown, tmp_path):
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=shown):
        only_source(str(tmp_path / "t.parquet"))


def test_broken_tables(table_path):
    with pytest.raises(InputError, match="can't be read"):
        only_source(str(table_path))
    save_table(table_path)
    whole = table_path.read_bytes()
    for data in (b"", b"no table", whole[: len(whole) // 2]):
        table_path.write_bytes(data)
        with pytest.raises(InputError, match=str(table_path)):
            only_source(str(table_path))


def test_a_pickle_in_a_table_is_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "run",)

    evil = np.array([Evil()] * 10, dtype=object)
    np.savez(tmp_path / "t.npz", keys=np.array(KEYS), features=evil)
    with pytest.raises(InputError, match=r"not an \.npz file of plain arrays"):
        only_source(str(tmp_path / "t.npz"))
    assert not (tmp_path / "run").exists()
