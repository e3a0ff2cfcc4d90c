"""Files of a folder, a tar or a zip as one list of entries that are read when asked for.

Nothing is ever unpacked to disk. Archives come from strangers: names that leave the archive, links
and devices are refused, and every length is bounded before it is believed.
"""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .error import DataError

# Limits against archive bombs; each is far above real image sets (ImageNet: 1.3 million files of
# 110 KB, 17 MB at most).
MAX_ENTRIES = 2_000_000
MAX_ENTRY_BYTES = 256 << 20
MAX_UNPACKED_BYTES = 16 << 30
MAX_HELD_BYTES = 2 << 30
_MAX_TAR_METADATA_BYTES = 1 << 20

_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class Entry:
    """One file.

    Attributes
    ----------
    name : str
        Path inside the folder or archive, with forward slashes.
    size : int
        Bytes.
    read : callable
        Returns the content as bytes; raises DataError where the file is damaged.
    """

    name: str
    size: int
    read: Callable[[], bytes]


def list_entries(path: str | Path, wanted: Callable[[str], bool]) -> list[Entry]:
    """List the files of a folder, tar (plain, gz, bz2, xz) or zip.

    Parameters
    ----------
    path : str or Path
    wanted : callable
        Takes a name and returns whether the file matters; the rest is passed over.

    Returns
    -------
    list of Entry
        Sorted by name, so that the order does not depend on the archive or the file system.

    Raises
    ------
    FileNotFoundError
        If there is no such path.
    DataError
        If it is no archive, damaged, or breaks a limit.
    """
    path = Path(path)
    if path.is_dir():
        entries = _list_folder(path, wanted)
    elif not path.is_file():
        raise FileNotFoundError(f"data not found: {path}")
    else:
        try:
            entries = (
                _list_zip(path, wanted) if zipfile.is_zipfile(path) else _list_tar(path, wanted)
            )
        except DataError:
            raise
        except _DAMAGE as error:
            raise DataError(f"{path} is damaged or no tar or zip archive: {error}") from None
    entries.sort(key=lambda entry: entry.name)
    for before, after in itertools.pairwise(entries):
        if before.name == after.name:
            raise DataError(f"{path} has two files named {after.name!r}")
    return entries


def _list_folder(path: Path, wanted: Callable[[str], bool]) -> list[Entry]:
    entries = []
    for folder, subfolders, files in os.walk(path):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in files:
            file = Path(folder, name)
            relative = file.relative_to(path).as_posix()
            if wanted(relative):
                entries.append(Entry(relative, file.stat().st_size, _file_reader(file)))
        _check_count(path, len(entries))
    return entries


def _file_reader(file: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            size = file.stat().st_size
            if size > MAX_ENTRY_BYTES:
                raise DataError(f"{file} has {size} bytes, the limit is {MAX_ENTRY_BYTES}")
            return file.read_bytes()
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror}") from None

    return read


def _list_zip(path: Path, wanted: Callable[[str], bool]) -> list[Entry]:
    entries = []
    handle = _ZipHandle(path)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_count(path, len(members))
        for member in members:
            _check_name(path, member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise DataError(f"{path}: {member.filename!r} is a link; links are refused")
            if member.is_dir() or not wanted(member.filename):
                continue
            if member.flag_bits & 1:
                raise DataError(f"{path}: {member.filename!r} is encrypted")
            _check_size(path, member.filename, member.file_size)
            reader = _zip_reader(path, handle, member)
            entries.append(Entry(member.filename, member.file_size, reader))
    return entries


class _ZipHandle:
    """An open zip that a forked worker opens anew: processes must not share a file position."""

    def __init__(self, path: Path) -> None:
        self._path, self._process = path, -1

    def open(self, member: zipfile.ZipInfo) -> IO[bytes]:
        if self._process != os.getpid():
            self._archive, self._process = zipfile.ZipFile(self._path), os.getpid()
        return self._archive.open(member)


def _zip_reader(path: Path, handle: _ZipHandle, member: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            with handle.open(member) as stream:
                content = stream.read(member.file_size + 1)
        except _DAMAGE as error:
            raise DataError(f"{path}: {member.filename!r} is damaged: {error}") from None
        if len(content) != member.file_size:
            raise DataError(f"{path}: {member.filename!r} does not have the size that it claims")
        return content

    return read


class _Counted:
    """A stream that refuses to unpack more than the limit."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path, self._stream, self._count = path, stream, 0

    def read(self, size: int = -1) -> bytes:
        part = self._stream.read(size if size >= 0 else MAX_UNPACKED_BYTES + 1 - self._count)
        self._count += len(part)
        if self._count > MAX_UNPACKED_BYTES:
            raise DataError(f"{self._path} unpacks to more than {MAX_UNPACKED_BYTES >> 30} GiB")
        return part


class _CheckedTarInfo(tarfile.TarInfo):
    """A header that ends the listing where it is damaged, and whose metadata are bounded.

    tarfile takes a damaged header after the first for the end of the archive, and reads metadata
    records of any claimed size to memory.
    """

    _METADATA = (
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    )

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _CheckedTarInfo:
        try:
            member = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise DataError(f"it is damaged or no archive ({error})") from None
        if member.type == tarfile.GNUTYPE_SPARSE:
            raise DataError("sparse files are refused")
        if member.size < 0:
            raise DataError("a file has a negative size")
        if member.type in cls._METADATA and member.size > _MAX_TAR_METADATA_BYTES:
            raise DataError(f"metadata of {member.size} bytes are refused")
        return member

    def _refuse_sparse(self, *_: Any) -> Any:
        raise DataError("sparse files are refused")

    # Sparse maps in extended headers are read without a bound.
    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


def _list_tar(path: Path, wanted: Callable[[str], bool]) -> list[Entry]:
    """List a tar: files of a plain one are read in place, those of a compressed one are held."""
    with open(path, "rb") as file:
        unpack = _unpacker(file.read(6))
        file.seek(0)
        # "Any" because tarfile asks for read() only, and typing asks for all of IO.
        stream: Any = _Counted(path, unpack(file) if unpack else file)
        entries, held, count = [], 0, 0
        try:
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_CheckedTarInfo) as archive:
                for member in archive:
                    count += 1
                    _check_count(path, count)
                    # Forget members that were seen: tarfile keeps them all otherwise.
                    archive.members = []  # type: ignore[attr-defined]
                    _check_name(path, member.name)
                    if not (member.isfile() or member.isdir()):
                        raise DataError(f"{member.name!r} is a link or device; they are refused")
                    if not member.isfile() or not wanted(member.name):
                        continue
                    _check_size(path, member.name, member.size)
                    if unpack is None:
                        reader = _slice_reader(path, member.offset_data, member.size)
                    else:
                        held += member.size
                        if held > MAX_HELD_BYTES:
                            limit = MAX_HELD_BYTES >> 30
                            raise DataError(f"it holds more than {limit} GiB of data: unpack it")
                        reader = _held_reader(archive, member)
                    entries.append(Entry(member.name.removeprefix("./"), member.size, reader))
            # The checksum of a compressed stream stands at its end, behind the end of the tar.
            while unpack and stream.read(1 << 20):
                pass
        except DataError as error:
            message = str(error)
            raise DataError(message if str(path) in message else f"{path}: {message}") from None
    return entries


def _unpacker(magic: bytes) -> Callable[[IO[bytes]], IO[bytes]] | None:
    if magic.startswith(b"\x1f\x8b"):
        return lambda file: gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if magic.startswith(b"BZh"):
        return lambda file: bz2.BZ2File(file)
    if magic == b"\xfd7zXZ\x00":
        return lambda file: lzma.LZMAFile(file)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        raise DataError(
            "it is packed with zstd, which is not read: use gz, bz2 or xz, or unpack it"
        )
    return None


def _slice_reader(path: Path, offset: int, size: int) -> Callable[[], bytes]:
    def read() -> bytes:
        with open(path, "rb") as file:
            file.seek(offset)
            content = file.read(size)
        if len(content) != size:
            raise DataError(f"{path} ends before its last file does")
        return content

    return read


def _held_reader(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], bytes]:
    stream = archive.extractfile(member)
    content = stream.read() if stream else b""
    if len(content) != member.size:
        raise DataError(f"{member.name!r} ends too early")
    return lambda: content


def _check_name(path: Path, name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    drive = len(parts[0]) == 2 and parts[0].endswith(":")
    if name.startswith(("/", "\\")) or drive or ".." in parts or "\0" in name:
        raise DataError(f"{path}: the name {name!r} leaves the archive; such archives are refused")


def _check_size(path: Path, name: str, size: int) -> None:
    if size > MAX_ENTRY_BYTES:
        raise DataError(f"{path}: {name!r} has {size} bytes, the limit is {MAX_ENTRY_BYTES}")


def _check_count(path: Path, count: int) -> None:
    if count > MAX_ENTRIES:
        raise DataError(f"{path} has more than {MAX_ENTRIES} files")


__all__ = ["Entry", "list_entries"]
