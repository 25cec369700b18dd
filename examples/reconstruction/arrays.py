"""Arrays of `.npz` files, mapped into memory instead of read, and written without being held there.

An `.npz` is a zip archive of `.npy` files. One that is stored as it is (`numpy.savez`) lies in the
archive in one piece, and can be mapped. One that is compressed is unpacked once to
`NAME.npz.unpacked.npy`, beside it or in a folder of your choice.
"""

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

PIECE = 1 << 22  # bytes read at a time


def map_array(path: Path, *, check: bool = True, unpack_to: Path | None = None) -> np.ndarray:
    """Maps the array of a file; nothing of it is held in memory.

    Args:
        path: an `.npz` with one array; of several, the first.
        check: whether to read it once and compare its checksum.
        unpack_to: the folder for what must be unpacked; None is that of the file.

    Returns:
        A read-only array.

    Raises:
        ValueError: the file is missing, damaged or cut off, or holds no array.
    """
    if not path.is_file():
        raise ValueError(
            f"There is no file {path}. Make it with make_dataset.py, or copy it there."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.infolist()[0]
            if member.compress_type != zipfile.ZIP_STORED:
                return np.load(_unpacked(archive, member, path, unpack_to), mmap_mode="r")
            if check:
                with archive.open(member) as file:
                    while file.read(PIECE):
                        pass
        return _map_member(path, member)
    except (zipfile.BadZipFile, zlib.error, IndexError, EOFError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged, cut off, or not written by numpy.savez ({error}). Copy or make it "
            "again."
        ) from error


def save_array(path: Path, array: np.memmap) -> None:
    """Writes an array on disk as an uncompressed `.npz`, whole or not at all."""
    array.flush()
    part = path.with_name(f"{path.name}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        archive.write(str(array.filename), "arr_0.npy")
    os.replace(part, path)


def _map_member(path: Path, member: zipfile.ZipInfo) -> np.ndarray:
    """Maps an `.npy` file that is stored in a zip archive as it is."""
    with path.open("rb") as file:
        # Skip the local header: 30 bytes, a name, and a field whose lengths stand at its end.
        file.seek(member.header_offset)
        header = file.read(30)
        name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        file.seek(member.header_offset + 30 + name + extra)
        version = np.lib.format.read_magic(file)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in readers:
            raise ValueError(f"its array has the unknown version {version}")
        shape, fortran, dtype = readers[version](file)
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        order = "F" if fortran else "C"
        return np.memmap(path, dtype, "r", offset=file.tell(), shape=shape, order=order)


def _unpacked(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, folder: Path | None
) -> Path:
    """Unpacks a member, unless that is done; reading checks the checksum."""
    whole = (folder or path.parent) / f"{path.name}.unpacked.npy"
    whole.parent.mkdir(parents=True, exist_ok=True)
    if whole.exists() and whole.stat().st_mtime >= path.stat().st_mtime:
        return whole
    part = whole.with_name(f"{whole.name}.{os.getpid()}.part")
    try:
        with archive.open(member) as packed, part.open("wb") as file:
            while piece := packed.read(PIECE):
                file.write(piece)
        os.replace(part, whole)
    finally:
        part.unlink(missing_ok=True)
    return whole
