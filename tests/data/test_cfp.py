"""CFP on small made-up copies of its owner's layout."""

from __future__ import annotations

from pathlib import Path

from ssl_faces.data import CFP, CFPFrontal, FacePair, find_face_sets
from ssl_faces.data.sets.across import same_pictures
from tests.data.test_face_sets import message_of, put_picture


def cfp_images(images: Path, people: int = 4) -> None:
    for i in range(1, people + 1):
        for view, count in (("frontal", 3), ("profile", 2)):
            for number in range(1, count + 1):
                path = images / f"{i:03d}" / view / f"{number:02d}.jpg"
                put_picture(path, 40 * i + 5 * number + len(view))


def cfp_as_its_owner_gives_it(root: Path) -> Path:
    cfp_images(root / "Data" / "Images")
    protocol = root / "Protocol"
    for view, letter, count in (("frontal", "F", 3), ("profile", "P", 2)):
        files = [f"{i:03d}/{view}/{n:02d}.jpg" for i in range(1, 5) for n in range(1, count + 1)]
        lines = [f"{n} ../Data/Images/{file}" for n, file in enumerate(files, start=1)]
        protocol.mkdir(exist_ok=True)
        (protocol / f"Pair_list_{letter}.txt").write_text("\n".join(lines) + "\n")
    # Of the first two people the first fold, of the others the second.
    splits = {"FP": ("1,1\n4,4", "1,3\n4,2"), "FF": ("1,2\n4,6", "1,4\n2,5")}
    for name, (same, different) in splits.items():
        for fold in ("01", "02"):
            folder = protocol / "Split" / name / fold
            folder.mkdir(parents=True)
            shift = {"01": (0, 0), "02": (6, 4 if name == "FP" else 6)}[fold]
            for file, text in (("same.txt", same), ("diff.txt", different)):
                pairs = [[int(n) for n in line.split(",")] for line in text.splitlines()]
                moved = [f"{a + shift[0]},{b + shift[1]}" for a, b in pairs]
                (folder / file).write_text("\n".join(moved) + "\n")
    return root


def test_cfp_as_its_owner_gives_it(tmp_path: Path) -> None:
    profile, frontal = find_face_sets(cfp_as_its_owner_gives_it(tmp_path), "all")
    assert (type(profile), type(frontal)) == (CFP, CFPFrontal)
    assert profile.people == [f"cfp_{i:03d}" for i in range(1, 5)]
    assert profile.held_out_people == set(profile.people)
    assert profile.pairs == [
        FacePair("001/frontal/01.jpg", "001/profile/01.jpg", True, 0),
        FacePair("002/frontal/01.jpg", "002/profile/02.jpg", True, 0),
        FacePair("001/frontal/01.jpg", "002/profile/01.jpg", False, 0),
        FacePair("002/frontal/01.jpg", "001/profile/02.jpg", False, 0),
        FacePair("003/frontal/01.jpg", "003/profile/01.jpg", True, 1),
        FacePair("004/frontal/01.jpg", "004/profile/02.jpg", True, 1),
        FacePair("003/frontal/01.jpg", "004/profile/01.jpg", False, 1),
        FacePair("004/frontal/01.jpg", "003/profile/02.jpg", False, 1),
    ]
    assert [pair[:2] for pair in frontal.pairs[:2]] == [
        ("001/frontal/01.jpg", "001/frontal/02.jpg"),
        ("002/frontal/01.jpg", "002/frontal/03.jpg"),
    ]
    assert all("/frontal/" in record.key for record in frontal.records)
    assert same_pictures(profile, frontal)
    assert len(CFP(tmp_path, "train")) == 0, "everybody is in a pair"


def test_cfp_with_tables_of_pairs(tmp_path: Path) -> None:
    cfp_images(tmp_path)
    rows = "{0}/frontal/01.jpg,{0}/{1}/02.jpg,1,{2}\n{0}/frontal/01.jpg,{3}/{1}/02.jpg,0,{2}\n"
    for name, view in (("FP", "profile"), ("FF", "frontal")):
        table = rows.format("001", view, 0, "002") + rows.format("002", view, 1, "001")
        (tmp_path / f"pairs_{name}.csv").write_text("first,second,same,fold\n" + table)
    train, none = find_face_sets(tmp_path)
    assert train.people == ["cfp_003", "cfp_004"]
    assert train.held_out_people == {"cfp_001", "cfp_002"}
    assert (len(train), len(none)) == (10, 0)
    assert [(p.same, p.fold) for p in CFP(tmp_path).pairs] == [
        (same, fold) for fold in (0, 1) for same in (True, False)
    ]
    (tmp_path / "002" / "profile" / "02.jpg").unlink()
    fewer = CFP(tmp_path, "test")
    assert (len(fewer.pairs), len(fewer.missing_pairs)) == (2, 2)
    assert [item.key for item in fewer.skipped] == ["002/profile/02.jpg"]


def test_cfp_malformed(tmp_path: Path) -> None:
    assert "holds no 001/frontal/01.jpg" in message_of(CFP, tmp_path)
    cfp_as_its_owner_gives_it(tmp_path)
    same = tmp_path / "Protocol" / "Split" / "FP" / "01" / "same.txt"
    same.write_text("1,1\n1,99\n")
    assert f"{same}, line 2: '1,99' is not two numbers" in message_of(CFP, tmp_path)
    listed = tmp_path / "Protocol" / "Pair_list_P.txt"
    listed.write_text("one image\n")
    assert f"{listed}, line 1: 'one image' is not" in message_of(CFP, tmp_path)
    table = tmp_path / "pairs_FP.csv"
    table.write_text("first,second,same,fold\n001/frontal/01.jpg,001/profile/01.jpg,yes,0\n")
    assert f"{table}, line 2: same is 'yes'" in message_of(CFP, tmp_path)
    table.unlink()
    (tmp_path / "Protocol").rename(tmp_path / "Elsewhere")
    assert "has neither pairs_FP.csv nor Protocol/Split/FP" in message_of(CFP, tmp_path)
