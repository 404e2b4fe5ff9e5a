"""Checks lists in JSON and CSV with other people's parsers.

usage: formats.py SCHEMA FOLDER: every NAME.json in it line by line against the schema, and against NAME.csv.
Prints how many flows it has seen.
"""

import csv
import json
import pathlib
import sys
import zlib

import jsonschema

schema, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
check = jsonschema.Draft7Validator(json.loads(schema.read_text()), format_checker=jsonschema.FormatChecker())


def text(value):
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def flat(flow):
    flow = dict(flow)
    for side in ("dnat", "snat", "expected_by"):
        for name, value in flow.pop(side, {}).items():
            flow[f"{side}_{name}"] = value
    flow.setdefault("zone", 0)
    return flow


flows = 0
for path in sorted(folder.glob("*.json")):
    raw = path.read_bytes().splitlines()
    lines = [json.loads(line) for line in raw]
    assert lines[0]["type"] == "capture" and lines[0]["end_mark"], path
    end = lines.pop()
    assert end["type"] == "end" and end["flows"] == len(lines) - 1, path
    # As docs/json.md has it.
    assert end["crc32_sum"] == sum(zlib.crc32(b"".join(line.split())) for line in raw[1:-1]) % 2**64, path
    check.validate(end)
    assert all(line["type"] == "flow" for line in lines[1:]), path
    # Validation takes a millisecond a line; what has thousands of lines has many alike.
    for line in lines[: 500] + lines[500::50]:
        check.validate(line)
    raw = path.with_suffix(".csv").read_bytes()
    assert raw.endswith(b"\r\n") and raw.count(b"\n") == raw.count(b"\r\n"), path
    rows = list(csv.DictReader(raw.decode().splitlines(), strict=True))
    assert len(rows) == len(lines) - 1, path
    for row, flow in zip(rows, lines[1:]):
        flow = flat(flow)
        del flow["type"]
        assert row == {name: text(flow.get(name)) for name in row}, (path, row, flow)
        assert set(flow) <= set(row), (path, row, flow)
    flows += len(rows)
print(flows)
