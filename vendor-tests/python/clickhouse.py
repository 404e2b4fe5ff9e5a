"""Loads captures into ClickHouse's embedded form and prints the merged flows, a JSON array a line.

usage: clickhouse.py FOLDER-WITH-THE-SQL CAPTURE...
"""

import json
import pathlib
import sys
import tempfile

from chdb.session import Session

folder = pathlib.Path(sys.argv[1])
with tempfile.TemporaryDirectory() as data:
    session = Session(data)
    session.query("CREATE DATABASE fleet")
    session.query("USE fleet")
    for statement in folder.joinpath("clickhouse.sql").read_text().split(";\n"):
        if statement.strip():
            session.query(statement)
    # The embedded form has no standard input to read from: the one word that differs.
    load = folder.joinpath("clickhouse-load.sql").read_text()
    assert load.count("input('line String')") == 1
    load = load.replace("FORMAT LineAsString", "")
    for capture in sys.argv[2:]:
        path = pathlib.Path(capture).resolve()
        session.query(load.replace("input('line String')", f"file('{path}', LineAsString, 'line String')"))
    rows = session.query(
        """SELECT protocol, src, src_port, src_port_collapsed, dst, dst_port, icmp_type, icmp_code, zone, dnat,
                  dnat_port, snat, snat_port, confirmed, connections,
                  formatDateTime(first_seen, '%Y-%m-%dT%H:%i:%S.%fZ') AS first,
                  formatDateTime(last_seen, '%Y-%m-%dT%H:%i:%S.%fZ') AS last
           FROM merged_flows""",
        "JSONCompactEachRow",
    )
    for line in str(rows).splitlines():
        row = [None if value in (-1, "") else value for value in json.loads(line)]
        row[3] = bool(row[3]) if row[2] is not None else None
        row[13], row[14] = bool(row[13]), int(row[14])
        print(json.dumps(row))
    session.close()
