"""Files, folders and streams as documents: all that is named is read or refused, and nothing hangs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dawan_node.cli.import_sources import FOLDER_DEPTH_MAX, LeftOut, documents

LIMIT = 64


def read(*paths: Path, lines: bool = False) -> list[tuple[str, int, bytes, str]]:
    """File, line, bytes and reason of every document."""
    found = documents([str(path) for path in paths], (".xml",), LIMIT, lines=lines)
    return [(each.file, each.line, each.data, each.problem.reason if each.problem else "") for each in found]


def test_a_folder_is_read_to_its_bottom_in_order_and_others_are_counted(tmp_path: Path) -> None:
    (tmp_path / "2026" / "11").mkdir(parents=True)
    (tmp_path / "2026" / "11" / "b.xml").write_bytes(b"b")
    (tmp_path / "a.XML").write_bytes(b"a")
    (tmp_path / "LICENSE.txt").write_bytes(b"no")
    assert read(tmp_path) == [("2026/11/b.xml", 0, b"b", ""), ("a.XML", 0, b"a", "")]
    left_out = LeftOut()
    list(documents([str(tmp_path)], (".xml",), LIMIT, left_out=left_out))
    assert left_out.files == 1


def test_lines_are_documents_whatever_ends_them_and_a_long_one_is_refused_alone(tmp_path: Path) -> None:
    file = tmp_path / "many.ndjson"
    file.write_bytes(
        b"one\r\n\n" + b"x" * (LIMIT + 1) + b"\n" + b"y" * 5_000_000 + b"\ntwo\n" + b"z" * LIMIT + b"\r\nlast"
    )
    assert read(file) == [
        (str(file), 1, b"one", ""),
        (str(file), 3, b"", "E_DOCUMENT_TOO_LARGE"),
        (str(file), 4, b"", "E_DOCUMENT_TOO_LARGE"),
        (str(file), 5, b"two", ""),
        (str(file), 6, b"z" * LIMIT, ""),
        (str(file), 7, b"last", ""),
    ]
    other = tmp_path / "many.txt"
    other.write_bytes(b"one\ntwo")
    assert [data for _, _, data, _ in read(other, lines=True)] == [b"one", b"two"]


def test_a_file_that_is_too_large_is_refused_without_being_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.xml"
    with file.open("wb") as stream:
        stream.truncate(1 << 40)
    ((_, _, data, reason),) = read(file)
    assert (len(data), reason) == (LIMIT + 1, "E_DOCUMENT_TOO_LARGE")


def test_links_to_folders_are_not_followed_and_links_in_circles_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.xml").write_bytes(b"a")
    (folder / "round").symlink_to(folder)
    (folder / "self.xml").symlink_to(folder / "self.xml")
    (folder / "nowhere.xml").symlink_to(tmp_path / "missing")
    (folder / "good.xml").symlink_to(folder / "a.xml")
    assert [(name, reason) for name, _, _, reason in read(folder)] == [
        ("a.xml", ""),
        ("good.xml", ""),
        ("nowhere.xml", "E_UNREADABLE"),
        ("round", "E_LINK"),
        ("self.xml", "E_UNREADABLE"),
    ]


def test_a_pipe_in_a_folder_does_not_stop_the_import(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.xml")
    (tmp_path / "z.xml").write_bytes(b"z")
    assert [(name, reason) for name, _, _, reason in read(tmp_path)] == [("pipe.xml", "E_UNREADABLE"), ("z.xml", "")]


@pytest.mark.skipif(os.geteuid() == 0, reason="NOT RUN: root may read everything")
def test_what_may_not_be_read_is_refused_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(b"a")
    (tmp_path / "a.xml").chmod(0)
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "z.xml").write_bytes(b"z")
    assert [(name, reason) for name, _, _, reason in read(tmp_path)] == [
        ("a.xml", "E_UNREADABLE"),
        ("closed", "E_UNREADABLE"),
        ("z.xml", ""),
    ]
    (tmp_path / "closed").chmod(0o700)


def test_what_the_system_will_not_open_is_refused_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.xml", "b.xml"):
        (tmp_path / name).write_bytes(name.encode())
    opened = os.open

    def refuse_a(path: os.PathLike[str], flags: int, *more: int) -> int:
        if str(path).endswith("a.xml"):
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, *more)

    monkeypatch.setattr(os, "open", refuse_a)
    assert [(name, reason) for name, _, _, reason in read(tmp_path)] == [("a.xml", "E_UNREADABLE"), ("b.xml", "")]


def test_folders_without_end_are_refused_at_a_depth(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(FOLDER_DEPTH_MAX + 2):
        deep = deep / "d"
    deep.mkdir(parents=True)
    ((name, _, _, reason),) = read(tmp_path)
    assert reason == "E_FOLDER_DEPTH" and name.count("d") == FOLDER_DEPTH_MAX + 1
