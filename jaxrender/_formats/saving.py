"""Files that are whole: written beside the earlier one, then put into its place.

A disk that is full, a folder that may not be written to, a program that is killed: whatever was
there before is still there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path


@contextlib.contextmanager
def replacing(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Gives other paths to write to; once all are written they take the places of the first.

    They end as the first do, and lie in a hidden folder beside the first of these, which is made
    where it is missing. A link stays one: what it leads to is replaced.

    Raises:
        OSError: one cannot be written; nothing has changed then.
    """
    path = paths[0]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        places = [Path(os.path.realpath(each)) for each in paths]
        with tempfile.TemporaryDirectory(prefix=".saving-", dir=places[0].parent) as beside:
            parts = tuple(Path(beside, each.name) for each in paths)
            yield parts

            # Look before the first is moved whether all may be.
            targets = list(zip(paths, places, parts, strict=True))
            for path, place, part in targets:  # noqa: B007, which the message names
                if place.exists():
                    _check_replaceable(place)
                    shutil.copymode(place, part)
            for path, place, part in targets:  # noqa: B007
                os.replace(part, place)
    except OSError as error:
        text = f"cannot write {path}: {error.strerror or error}. What was there before is unchanged"
        raise (OSError(text) if error.errno is None else OSError(error.errno, text)) from error


def write_files(files: Mapping[Path, bytes]) -> None:
    """Writes files of one folder that belong together, all or none.

    Raises:
        OSError: one cannot be written.
    """
    with replacing(*files) as parts:
        for part, data in zip(parts, files.values(), strict=True):
            part.write_bytes(data)


def _check_replaceable(place: Path) -> None:
    """Rejects what a writer could not have opened."""
    if place.is_dir():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not os.access(place, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
