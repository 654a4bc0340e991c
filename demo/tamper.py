#!/usr/bin/env python3
"""Alters one byte of one entry behind Sceau's back, as somebody with write access to the disk would.

Usage: tamper.py DATA_DIRECTORY ENTRIES OLD NEW

ENTRIES is an export of the whole log: whoever can write the store can read it too. The first entry that holds the text
OLD gets NEW instead, of the same length. Prints the entry's index.

The newest entries lie in SQLite, in the column `tail.data`: a Zstandard frame a batch, a line feed behind each entry.
Python 3.11 has no Zstandard, so the altered batch is written as a frame of raw blocks, which any reader takes.
"""

import pathlib
import sqlite3
import struct
import sys

BLOCK = 128 * 1024


def frame(content):
    """A Zstandard frame (RFC 8878) of raw blocks."""
    # Frame header descriptor: content size in eight bytes, a single segment, no checksum.
    out = bytearray(b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", len(content)))
    blocks = [content[at:at + BLOCK] for at in range(0, len(content), BLOCK)] or [b""]
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        out += struct.pack("<I", len(block) << 3 | last)[:3] + block
    return bytes(out)


def main():
    data, export, old, new = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3].encode(), sys.argv[4].encode()
    if len(old) != len(new):
        sys.exit("OLD and NEW must be of one length")
    entries = pathlib.Path(export).read_bytes().split(b"\n")[:-1]
    index = next((at for at, entry in enumerate(entries) if old in entry), None)
    if index is None:
        sys.exit(f"no entry holds {old!r}")
    with sqlite3.connect(data / "sceau.db") as store:
        row = store.execute("SELECT first, count FROM tail WHERE first <= ? ORDER BY first DESC LIMIT 1", [index]).fetchone()
        if row is None or index >= row[0] + row[1]:
            sys.exit(f"entry {index} is not in the tail")
        first, count = row
        batch = entries[first:first + count]
        batch[index - first] = batch[index - first].replace(old, new, 1)
        content = b"".join(entry + b"\n" for entry in batch)
        store.execute("UPDATE tail SET data = ? WHERE first = ?", [frame(content), first])
    store.close()
    print(index)


if __name__ == "__main__":
    main()
