#!/usr/bin/env python3
"""Reads tables of an archive as dump.py does, with more readers, old and new.

The arguments are those of dump.py. Which version of a reader it is depends on
what PYTHONPATH puts before the environment of tests/python/requirements.txt:
see scripts/readers.sh.

Readers that do not know Delta Lake get the files that deltalake names. The
filter is SQL for those that speak it, and otherwise what dump.py says.
"""

import os
import pathlib
import sys

import pyarrow as pa

import dump


def files(table):
    """The table's files, by its log."""
    import deltalake

    return [uri.removeprefix("file://") for uri in deltalake.DeltaTable(table).file_uris()]


def selection(columns, where, source):
    names = "*" if columns is None else ", ".join(f'"{name}"' for name in columns)
    return f"SELECT {names} FROM {source}" + ("" if where is None else f" WHERE {where}")


def read_duckdb_parquet(table, columns, where):
    import duckdb

    source = f"read_parquet({files(table)}, hive_partitioning = true, hive_types = {{'date': DATE}})"
    return duckdb_batches(duckdb.connect(), selection(columns, where, source))


def read_duckdb_arrow(table, columns, where):
    import deltalake
    import duckdb

    connection = duckdb.connect()
    connection.register("t", deltalake.DeltaTable(table).to_pyarrow_dataset())
    return duckdb_batches(connection, selection(columns, where, "t"))


def duckdb_batches(connection, query):
    connection.execute("SET TimeZone = 'UTC'")
    result = connection.execute(query)
    # Renamed in 2.0.
    fetch = result.fetch_record_batch if hasattr(result, "fetch_record_batch") else result.to_arrow_reader
    reader = fetch(dump.BATCH_ROWS)
    return reader.schema, reader


def read_polars_parquet(table, columns, where):
    import polars

    lazy = polars.scan_parquet(files(table), hive_partitioning=True)
    return dump.polars_batches(polars, lazy, columns, where)


def read_polars_pyarrow(table, columns, where):
    import polars

    return dump.polars_batches(polars, polars.scan_delta(table, use_pyarrow=True), columns, where)


def read_pyarrow(table, columns, where):
    import pyarrow.dataset as ds

    date = ds.partitioning(pa.schema([("date", pa.date32())]), flavor="hive")
    rows = ds.dataset(files(table), format="parquet", partitioning=date, partition_base_dir=table)
    return dump.batches_of(rows.to_table(columns=columns, filter=dump.filters(where)))


def read_deltalake_sql(table, columns, where):
    import deltalake

    builder = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(table))
    result = builder.execute(selection(columns, where, "t"))
    # In 0.x the batches are pyarrow's, later they are of whatever takes Arrow's C stream.
    result = result.fetchall() if hasattr(result, "fetchall") else result
    return dump.batches_of(pa.Table.from_batches(result) if isinstance(result, list) else pa.table(result))


def read_pandas_arrow(table, columns, where):
    """pandas with Arrow's types, before to_pandas() took them."""
    import deltalake
    import pandas

    rows = deltalake.DeltaTable(table).to_pyarrow_table(columns=columns, filters=dump.filters(where))
    return dump.batches_of(pa.Table.from_pandas(rows.to_pandas(types_mapper=pandas.ArrowDtype), preserve_index=False))


def read_datafusion(table, columns, where):
    import datafusion

    context = datafusion.SessionContext()
    parts = []
    for at, path in enumerate(files(table)):
        date = pathlib.PurePath(path).parent.name.removeprefix("date=")
        context.register_parquet(f"f{at}", path)
        parts.append(f"SELECT *, DATE '{date}' AS date FROM f{at}")
    return dump.batches_of(context.sql(selection(columns, where, "(" + " UNION ALL ".join(parts) + ")")).to_arrow_table())


def read_daft(table, columns, where):
    import daft

    rows = daft.read_deltalake(table)
    rows = rows if where is None else rows.where(where)
    return dump.batches_of((rows if columns is None else rows.select(*columns)).to_arrow())


def read_chdb(table, columns, where):
    import chdb

    os.chdir("/")  # It reads nothing outside of the working directory.
    query = selection(columns, where, f"deltaLakeLocal('{table}')")
    settings = "output_format_arrow_string_as_string = 1, output_format_arrow_low_cardinality_as_dictionary = 0"
    answer = chdb.query(f"{query} SETTINGS {settings}", "ArrowStream")
    with pa.ipc.open_stream(answer.bytes()) as stream:
        return dump.batches_of(stream.read_all())


def read_spark_rows(table, columns, where):
    """Row by row, as it was before toArrow()."""
    rows = dump.open_spark().read.format("delta").load(table)
    rows = rows if where is None else rows.where(where)
    rows = rows if columns is None else rows.select(*columns)
    types = {"string": pa.string(), "bigint": pa.int64(), "int": pa.int32(), "double": pa.float64()}
    types |= {"boolean": pa.bool_(), "date": pa.date32(), "timestamp": pa.timestamp("us", "UTC")}
    types |= {"array<bigint>": pa.list_(pa.int64()), "array<double>": pa.list_(pa.float64())}
    span = pa.struct([("offset", pa.int32()), ("length", pa.int32())])
    types["array<struct<offset:int,length:int>>"] = pa.list_(span)
    schema = pa.schema([(name, types[type_]) for name, type_ in rows.dtypes])
    values = [row.asDict(recursive=True) for row in rows.collect()]
    return dump.batches_of(pa.Table.from_pylist(values, schema))


dump.READERS |= {
    "duckdb-arrow": read_duckdb_arrow,
    "duckdb-parquet": read_duckdb_parquet,
    "polars-parquet": read_polars_parquet,
    "polars-pyarrow": read_polars_pyarrow,
    "pandas-arrow": read_pandas_arrow,
    "pyarrow": read_pyarrow,
    "deltalake-sql": read_deltalake_sql,
    "datafusion": read_datafusion,
    "daft": read_daft,
    "chdb": read_chdb,
    "spark-rows": read_spark_rows,
}

if __name__ == "__main__":
    dump.main()
