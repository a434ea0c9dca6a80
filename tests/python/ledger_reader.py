"""Reads tables for the ledger test, again and again, with tools that know nothing
of promarchive: starting DuckDB for every look would cost more than the look.

Each line on standard input is a JSON object with `reader`, `archive` and `table`,
as dump.py takes them, and `environment`: the variables that say where a bucket is. The answer is a line of JSON, {"bytes": N} followed by N
bytes of an Arrow IPC stream, or {"error": TEXT}. Ends with the input.
"""

import functools
import io
import json
import os
import sys

import dump

# One connection for all looks; every delta_scan reads the table's log anew.
dump.open_duckdb = functools.cache(dump.open_duckdb)


def main():
    out = sys.stdout.buffer
    for line in sys.stdin:
        request = json.loads(line)
        os.environ.update(request["environment"])
        stream = io.BytesIO()
        try:
            dump.dump(request["reader"], request["archive"], request["table"], None, stream)
            answer, body = {"bytes": stream.tell()}, stream.getbuffer()
        except Exception as error:  # Whatever a reader cannot read is the test's finding.
            answer, body = {"error": f"{type(error).__name__}: {error}"}, b""
        out.write(json.dumps(answer).encode() + b"\n")
        out.write(body)
        out.flush()


if __name__ == "__main__":
    main()
