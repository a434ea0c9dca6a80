#!/usr/bin/env python3
"""Asks an archive a question in SQL, with DuckDB.

    query.py ARCHIVE "SELECT metric, count(*) FROM samples GROUP BY metric"

Every table of the archive has its name in the query. Needs `pip install duckdb
pytz`. DuckDB downloads its delta extension at the first use, unless the wheel
duckdb-ext-delta, which contains it, is installed as well.
"""

import pathlib
import sys

import duckdb


def connect(archive):
    connection = duckdb.connect()
    name = f"duckdb_ext/extensions/v{duckdb.__version__}/*/delta.duckdb_extension"
    installed = [str(path) for folder in sys.path for path in pathlib.Path(folder).glob(name)]
    if installed:
        connection.load_extension(installed[0])
    else:
        connection.install_extension("delta")
        connection.load_extension("delta")
    connection.execute("SET TimeZone = 'UTC'")
    for log in sorted(pathlib.Path(archive).resolve().glob("*/_delta_log")):
        table = str(log.parent).replace("'", "''")
        connection.execute(f"CREATE VIEW \"{log.parent.name}\" AS SELECT * FROM delta_scan('{table}')")
    return connection


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    connection = connect(sys.argv[1])
    try:
        connection.sql(sys.argv[2]).show(max_rows=100, max_width=120)
    except duckdb.Error as error:
        sys.exit(str(error))
