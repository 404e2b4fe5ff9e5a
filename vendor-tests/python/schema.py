"""Checks lines of JSON on standard input against a schema. usage: schema.py SCHEMA"""

import json
import pathlib
import sys

import jsonschema

schema = json.loads(pathlib.Path(sys.argv[1]).read_text())
check = jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker())
definitions = schema["definitions"]
# The schema lets captures have any field; the program is to write none that is not named there.
named = {name for of in ("capture", "flow", "end", "overdue", "missed") for name in definitions[of]["properties"]}
named |= set(definitions["capture_line"]["allOf"][1]["properties"])

for number, line in enumerate(sys.stdin, 1):
    value = json.loads(line)
    check.validate(value)
    for part in [value, *value.get("captures", [])]:
        assert set(part) <= named, (number, set(part) - named)
