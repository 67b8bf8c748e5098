#!/usr/bin/env python3
"""Packs the inputs of fuzz targets into one file a target, and unpacks them.

    fuzz/corpus.py pack DIRECTORY FILE      the files of DIRECTORY, in order of their bytes
    fuzz/corpus.py unpack FILE DIRECTORY    each input a file, named by its number

An input is its length (four bytes, the lowest first) and its bytes.
"""

import pathlib
import struct
import sys


def pack(directory, file):
    inputs = sorted({path.read_bytes() for path in pathlib.Path(directory).iterdir()})
    packed = b"".join(struct.pack("<I", len(data)) + data for data in inputs)
    pathlib.Path(file).write_bytes(packed)
    print(f"{file}: {len(inputs)} inputs")


def unpack(file, directory):
    target = pathlib.Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    packed, at, number = pathlib.Path(file).read_bytes(), 0, 0
    while at < len(packed):
        (length,) = struct.unpack_from("<I", packed, at)
        (target / f"packed-{number:05}").write_bytes(packed[at + 4 : at + 4 + length])
        at, number = at + 4 + length, number + 1


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("pack", "unpack"):
        sys.exit(__doc__)
    {"pack": pack, "unpack": unpack}[sys.argv[1]](sys.argv[2], sys.argv[3])
