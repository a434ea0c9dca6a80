#!/usr/bin/env python3
"""Asks an archive a question in SQL, with DuckDB.

    query.py ARCHIVE "SELECT metric, count(*) FROM samples GROUP BY metric"

Every table of the archive has its name in the query, and the macros of
promarchive.sql beside this file can be used. Needs `pip install duckdb pytz`.

The tables are opened with DuckDB's delta extension: that of the wheel
duckdb-ext-delta if it is installed, else the one that DuckDB has or downloads.
Where there is none for the installed DuckDB, the package deltalake opens them
(`pip install deltalake pyarrow`).

ARCHIVE may be in a bucket: s3://bucket/archive, gs://…, az://…, abfss://….
deltalake opens its tables, with the keys and the end point of the environment
variables that promarchive takes, too (AWS_*, GOOGLE_*, AZURE_*).
"""

import os
import pathlib
import sys

import duckdb

MACROS = pathlib.Path(__file__).with_name("promarchive.sql")
# An object store has no cheap way to find out what else there is.
TABLES = ["samples", "histograms", "exemplars", "metadata"]


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def load_extension(connection):
    """Whether DuckDB has its delta extension now; else why not."""
    name = f"duckdb_ext/extensions/v{duckdb.__version__}/*/delta.duckdb_extension"
    wheels = [str(path) for folder in sys.path for path in pathlib.Path(folder).glob(name)]
    try:
        if wheels:
            connection.load_extension(wheels[0])
        else:
            connection.install_extension("delta")
            connection.load_extension("delta")
    except duckdb.Error as error:
        return str(error)
    return None


def open_with_extension(connection, table):
    path = str(table).replace("'", "''")
    connection.execute(f"CREATE VIEW {quoted(table.name)} AS SELECT * FROM delta_scan('{path}')")


def open_with_deltalake(connection, table):
    import deltalake

    connection.register(table.name, deltalake.DeltaTable(str(table)).to_pyarrow_dataset())


def open_in_bucket(connection, archive):
    """The names of the tables that are there."""
    try:
        import deltalake
    except ImportError:
        sys.exit("Install what reads tables in buckets: pip install deltalake pyarrow")
    found = []
    for name in TABLES:
        try:
            table = deltalake.DeltaTable(f"{archive.rstrip('/')}/{name}")
        except deltalake.exceptions.TableNotFoundError:
            continue
        except Exception as error:
            sys.exit(f"{archive}: {error}")
        connection.register(name, table.to_pyarrow_dataset())
        found.append(name)
    return found


def connect(archive):
    connection = duckdb.connect()
    if "://" in archive and not archive.startswith("file://"):
        if not open_in_bucket(connection, archive):
            sys.exit(f"{archive}: no tables of an archive here; check the URL")
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(MACROS.read_text())
        return connection
    archive = archive.removeprefix("file://")
    tables = [log.parent for log in sorted(pathlib.Path(archive).resolve().glob("*/_delta_log"))]
    if not tables:
        sys.exit(f"{archive}: no tables of an archive here; check the path")
    missing = load_extension(connection)
    connection.execute("SET TimeZone = 'UTC'")
    for table in tables:
        if missing is None:
            open_with_extension(connection, table)
            continue
        try:
            open_with_deltalake(connection, table)
        except ImportError:
            sys.exit(
                f"DuckDB {duckdb.__version__} has no delta extension here: {missing}\n"
                "Install what reads the tables without it: pip install deltalake pyarrow"
            )
    connection.execute(MACROS.read_text())
    return connection


def main(archive, query):
    try:
        connection = connect(archive)
        answer = connection.sql(query)
        # A COPY or CREATE has no rows to show.
        if answer is not None:
            answer.show(max_rows=100, max_width=120)
    except duckdb.Error as error:
        sys.exit(str(error))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    main(sys.argv[1], sys.argv[2])
    # With threads of several libraries, the interpreter may abort at its very end.
    sys.stdout.flush()
    os._exit(0)
