"""Files and folders that appear completely or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def check_folder(path: Path, what: str) -> None:
    """Check that the folder of a path exists.

    Parameters
    ----------
    path : Path
    what : str
        The operation, for messages.

    Raises
    ------
    FileNotFoundError
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{what}: the folder of path must exist, got {str(path)!r}")


def write_file(path: Path, data: bytes) -> None:
    """Write beside the place and rename.

    Parameters
    ----------
    path : Path
    data : bytes

    Raises
    ------
    OSError
        If it cannot be written; what was at `path` is still there then.
    """
    with _named(path):
        handle, name = tempfile.mkstemp(prefix=_hidden(path), dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise


def write_folder(path: Path, files: Mapping[str, str]) -> None:
    """Write a new folder of texts beside the place and rename it.

    Parameters
    ----------
    path : Path
        Must not exist.
    files : mapping of str to str
        Names and texts.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left of it then.
    """
    with _named(path):
        folder = Path(tempfile.mkdtemp(prefix=_hidden(path), dir=path.parent))
        try:
            for name, text in files.items():
                (folder / name).write_text(text, "utf-8", newline="\n")
            folder.chmod(0o777 & ~_umask())
            os.rename(folder, path)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say which argument the system refused."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        text = f"export: path must be a place that can be written to, got {str(path)!r}: {reason}"
        raise type(error)(text) from error


def _hidden(path: Path) -> str:
    """Start of a temporary name; short, since names have a longest length."""
    return f".{path.name[:40]}."


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


__all__ = ["check_folder", "write_file", "write_folder"]
