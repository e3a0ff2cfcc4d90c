"""Hostile and damaged archives: one sentence each, no memory, nothing unpacked."""

import gzip
import io
import lzma
import tarfile
import zipfile

import numpy as np
import pytest

from tersor.data import DataError, load
from tersor.data import archive as archive_module
from tersor.data.archive import list_entries

from .conftest import pixels_of, png, write_tar, write_zip


def everything(name):
    return True


BAD_NAMES = ["../a/1.png", "/a/1.png", "a/../../1.png", "C:\\a\\1.png", "\\a\\1.png"]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_names_that_leave_the_archive(name, write, tmp_path):
    path = write(tmp_path / "s", {name: png(pixels_of(1))})
    with pytest.raises(DataError, match="leaves the archive"):
        load(path)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_tars(kind, tmp_path):
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("a/1.png")
        member.type = kind
        member.linkname = "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(DataError, match="link or device"):
        load(path)


def test_links_in_zips(tmp_path):
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w") as archive:
        member = zipfile.ZipInfo("a/1.png")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(DataError, match="is a link"):
        load(path)


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_module, "MAX_UNPACKED_BYTES", 1 << 20)
    header = tarfile.TarInfo("readme.txt")
    header.size = 8 << 20
    path = tmp_path / "s.tar.xz"
    path.write_bytes(lzma.compress(header.tobuf() + bytes(header.size)))
    assert path.stat().st_size < 4096
    with pytest.raises(DataError, match="unpacks to more than"):
        load(path)


def test_limits_of_size_count_and_memory(tmp_path, monkeypatch):
    files = {f"a/{n}.png": bytes(1000) for n in range(5)}
    packed = write_tar(tmp_path / "s.tar.gz", files, "w:gz")
    plain = write_tar(tmp_path / "s.tar", files)
    zipped = write_zip(tmp_path / "s.zip", files)
    monkeypatch.setattr(archive_module, "MAX_HELD_BYTES", 3000)
    with pytest.raises(DataError, match="unpack it"):
        list_entries(packed, everything)
    assert len(list_entries(plain, everything)) == 5
    monkeypatch.setattr(archive_module, "MAX_ENTRY_BYTES", 999)
    for path in (packed, plain, zipped):
        with pytest.raises(DataError, match="has 1000 bytes, the limit is 999"):
            list_entries(path, everything)
    monkeypatch.setattr(archive_module, "MAX_ENTRY_BYTES", 1000)
    monkeypatch.setattr(archive_module, "MAX_HELD_BYTES", 5000)
    monkeypatch.setattr(archive_module, "MAX_ENTRIES", 4)
    for path in (packed, plain, zipped):
        with pytest.raises(DataError, match="more than 4 files"):
            list_entries(path, everything)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_large_metadata_are_refused_before_they_are_read(kind, tmp_path):
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 3 << 30
    path = tmp_path / "s.tar"
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(DataError, match="metadata of 3221225472 bytes are refused"):
        load(path)


def test_sparse_files_are_refused(tmp_path):
    header = tarfile.TarInfo("a/1.png")
    header.type = tarfile.GNUTYPE_SPARSE
    path = tmp_path / "s.tar"
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(DataError, match="sparse"):
        load(path)
    header = tarfile.TarInfo("a/1.png")
    header.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    path.write_bytes(header.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    with pytest.raises(DataError, match="sparse"):
        load(path)


@pytest.mark.parametrize("kind", ["", "gz", "xz", "bz2"])
def test_truncated_and_flipped_tars_never_lose_files_silently(kind, tmp_path):
    files = {f"a/{n}.png": png(pixels_of(n)) for n in range(4)}
    whole = write_tar(tmp_path / "s", files, f"w:{kind}").read_bytes()
    contents = list(files.values())
    random = np.random.default_rng(7)
    path = tmp_path / "t"
    for trial in range(60):
        damaged = bytearray(whole)
        if trial % 2:
            damaged[random.integers(len(damaged))] ^= 1 << random.integers(8)
        else:
            # A tar ends with 10 KiB records of zeros, of which the reader needs the first 512.
            end = len(damaged) if kind else len(damaged) - 9000
            damaged = damaged[: random.integers(1, end)]
        path.write_bytes(damaged)
        try:
            entries = list_entries(path, everything)
        except DataError:
            continue
        assert len(entries) == 4, trial
        # Without a checksum of the contents, a plain tar may hold one flipped bit of a file.
        different = [entry.read() not in contents for entry in entries]
        assert sum(different) <= (kind == ""), trial


def test_truncated_and_flipped_zips_are_noticed(tmp_path):
    files = {f"a/{n}.png": png(pixels_of(n)) for n in range(4)}
    whole = write_zip(tmp_path / "s", files).read_bytes()
    contents = list(files.values())
    random = np.random.default_rng(8)
    path = tmp_path / "t"
    for trial in range(80):
        damaged = bytearray(whole)
        if trial % 2:
            damaged[random.integers(len(damaged))] ^= 1 << random.integers(8)
        else:
            damaged = damaged[: random.integers(1, len(damaged))]
        path.write_bytes(damaged)
        try:
            for entry in list_entries(path, everything):
                assert entry.read() in contents
        except DataError:
            continue


def test_encrypted_zip(tmp_path):
    path = write_zip(tmp_path / "s.zip", {"a/1.png": b"x"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="is encrypted"):
        load(path)


def test_a_name_twice(tmp_path):
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("a/1.png"), io.BytesIO())
    with pytest.raises(DataError, match=r"two files named 'a/1\.png'"):
        load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged or no"),
        (b"hello", "damaged or no"),
        (gzip.compress(b"hello", mtime=0), "damaged or no"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "zstd"),
        (b"\xfd7zXZ\x00" + bytes(100), "damaged or no"),
    ],
)
def test_no_archive(content, message, tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(path)
