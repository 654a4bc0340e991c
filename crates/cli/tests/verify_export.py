"""Checks an export against a checkpoint: python3 verify_export.py entries.ndjson checkpoint.txt"""
import base64, hashlib, sys
entries = open(sys.argv[1], "rb").read().split(b"\n")[:-1]
origin, size, root = open(sys.argv[2], encoding="utf-8").read().split("\n")[:3]
level = [hashlib.sha256(b"\0" + entry).digest() for entry in entries[:int(size)]]
while len(level) > 1:
    pairs = [hashlib.sha256(b"\1" + a + b).digest() for a, b in zip(level[::2], level[1::2])]
    level = pairs + level[len(pairs) * 2:]
good = len(entries) >= int(size) and base64.b64decode(root) == (level or [hashlib.sha256().digest()])[0]
print(f"{origin}: the export {'is' if good else 'is NOT'} what the checkpoint of {size} entries signs")
sys.exit(0 if good else 1)
