#!/usr/bin/env python3
"""Reads tables of an archive with a tool that people use, for comparison.

    dump.py --reader duckdb|polars|pandas|pandas-numpy|deltalake|spark
            [--columns a,b] [--where FILTER] [--output FILE] ARCHIVE TABLE
    dump.py --jobs

Writes the rows, in the order in which the reader gives them, as an uncompressed
Arrow IPC stream to FILE or standard output. With --jobs it reads the same
arguments as JSON lists, one a line, from standard input and answers each with a
line, the error in JSON or null, until the input ends: starting a reader takes
longer than reading a small table. The values pass through the
reader's own representation in memory, so that what is compared is what its
users get. Nothing is rounded on the way out:

  * a double is written as the int64 with the same bits, in a column whose name
    gains "_bits", so that NaN payloads and -0.0 can be compared;
  * a timestamp is written as int64 milliseconds, in a column whose name gains
    "_ms"; one that is no whole number of milliseconds is an error;
  * the same inside lists and structs, whose fields keep their names;
  * every kind of string column becomes plain utf8; nulls stay null.

Of `samples`, which has a fixed reader in the Rust tests, the columns are
(unless others are asked for) metric, labels, timestamp_ms, start_ms, bits,
stale.

FILTER is what the reader's users write: SQL for DuckDB and Spark, an expression
of `pl` for Polars, of pyarrow.compute as `pc` for pandas; the last two with
`datetime` and `UTC` at hand.
"""

import argparse
import datetime
import functools
import glob
import json
import os
import pathlib
import sys
import traceback

import pyarrow as pa

# Small enough that a batch of label strings never reaches the 2 GiB that utf8
# offsets can address.
BATCH_ROWS = 65_536

SAMPLES_COLUMNS = ["metric", "labels", "timestamp", "start_timestamp", "value", "stale"]
SAMPLES_NAMES = {"start_timestamp": "start_ms", "value": "bits"}


@functools.cache
def open_duckdb():
    """A connection with the delta extension, which comes from PyPI: DuckDB would
    download it otherwise."""
    import duckdb

    connection = duckdb.connect()
    wanted = f"v{duckdb.__version__}/*/delta.duckdb_extension"
    for folder in sys.path:
        for path in pathlib.Path(folder or ".").glob(f"duckdb_ext/extensions/{wanted}"):
            connection.load_extension(str(path))
            connection.execute("SET TimeZone = 'UTC'")
            return connection
    raise SystemExit(f"dump.py: no {wanted} from duckdb-ext-delta is installed")


@functools.cache
def open_spark():
    """A session on this machine alone, with the jars that stand beside this
    Python's environment: Spark would download them otherwise."""
    from pyspark.sql import SparkSession

    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    settings = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.jars": ",".join(glob.glob(os.path.join(sys.prefix, "jars", "*.jar"))),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        # What a cluster needs and a small table does not: code compiled for long
        # runs, fifty tasks for a table's log, a web page, a progress bar.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.sql.shuffle.partitions": "1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
    }
    builder = SparkSession.builder.master("local[1]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def evaluate(where, **names):
    return eval(where, {**names, "datetime": datetime.datetime, "UTC": datetime.UTC})


def read_duckdb(table, columns, where):
    """(schema, iterator of record batches)"""
    selection = "*" if columns is None else ", ".join('"' + c.replace('"', '""') + '"' for c in columns)
    condition = "" if where is None else f" WHERE {where}"
    result = open_duckdb().execute(f"SELECT {selection} FROM delta_scan(?){condition}", [table])
    reader = result.fetch_record_batch(BATCH_ROWS)
    return reader.schema, reader


def read_spark(table, columns, where):
    rows = open_spark().read.format("delta").load(table)
    rows = rows if where is None else rows.where(where)
    return batches_of((rows if columns is None else rows.select(*columns)).toArrow())


def read_polars(table, columns, where):
    import polars

    return polars_batches(polars, polars.scan_delta(table), columns, where)


def polars_batches(polars, lazy, columns, where):
    lazy = lazy if where is None else lazy.filter(evaluate(where, pl=polars))
    frame = (lazy if columns is None else lazy.select(columns)).collect()
    # The newest level is polars' own layout: no conversion here, but not for every pyarrow.
    views = int(pa.__version__.split(".")[0]) >= 18
    level = polars.CompatLevel.newest() if views else polars.CompatLevel.oldest()
    return batches_of(frame.to_arrow(compat_level=level))


def filters(where):
    import pyarrow.compute

    return None if where is None else evaluate(where, pc=pyarrow.compute)


def read_pandas(table, columns, where):
    import deltalake
    import pandas

    # With numpy's types pandas cannot tell a null from NaN.
    frame = deltalake.DeltaTable(table).to_pandas(
        columns=columns, filters=filters(where), types_mapper=pandas.ArrowDtype
    )
    return batches_of(pa.Table.from_pandas(frame, preserve_index=False))


def read_pandas_numpy(table, columns, where):
    """pandas as it is when nobody asks for Arrow's types."""
    import deltalake

    frame = deltalake.DeltaTable(table).to_pandas(columns=columns, filters=filters(where))
    return batches_of(pa.table({name: numpy_column(frame[name]) for name in frame.columns}))


def numpy_column(column):
    # Neither may take a NaN for a null on the way out.
    if column.dtype.kind == "f":
        return pa.array(column.to_numpy(), from_pandas=False)
    return pa.array(list(column), from_pandas=False) if column.dtype == object else pa.array(column)


def read_deltalake(table, columns, where):
    import deltalake

    return batches_of(deltalake.DeltaTable(table).to_pyarrow_table(columns=columns, filters=filters(where)))


def batches_of(table):
    return table.schema, table.to_batches(max_chunksize=BATCH_ROWS)


READERS = {
    "duckdb": read_duckdb,
    "polars": read_polars,
    "pandas": read_pandas,
    "pandas-numpy": read_pandas_numpy,
    "deltalake": read_deltalake,
    "spark": read_spark,
}


def rewrite(type_, leaf):
    """The type with `leaf` applied to everything inside that is not a list, a
    map or a struct; all kinds of list become one."""
    if pa.types.is_map(type_):
        return pa.map_(rewrite(type_.key_type, leaf), rewrite(type_.item_type, leaf))
    if pa.types.is_struct(type_):
        fields = [type_.field(at) for at in range(type_.num_fields)]
        return pa.struct([(f.name, rewrite(f.type, leaf)) for f in fields])
    if hasattr(type_, "value_field"):
        return pa.list_(pa.field("item", rewrite(type_.value_type, leaf)))
    return leaf(type_)


def plain(type_):
    """What a value of this type is cast to, safely: a loss is an error."""
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    if pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return pa.string()
    if pa.types.is_timestamp(type_):
        return pa.timestamp("ms")
    return type_


def as_bits(type_):
    """The type under which the bits of a plain value are written."""
    if pa.types.is_float64(type_) or pa.types.is_timestamp(type_):
        return pa.int64()
    return type_


def output_name(table, field):
    if table == "samples" and field.name in SAMPLES_NAMES:
        return SAMPLES_NAMES[field.name]
    if pa.types.is_timestamp(field.type):
        return field.name + "_ms"
    innermost = field.type
    while pa.types.is_list(innermost):
        innermost = innermost.value_type
    return field.name + "_bits" if pa.types.is_float64(innermost) else field.name


def dump(reader, archive, table, columns, sink, where=None):
    """Writes the stream; returns the number of rows."""
    if columns is None and table == "samples":
        columns = SAMPLES_COLUMNS
    # Absolute, because the readers differ in what they take a relative path or
    # a plain word for.
    path = f"{archive}/{table}" if "://" in archive else os.path.abspath(os.path.join(archive, table))
    schema, batches = READERS[reader](path, columns, where)

    cast = pa.schema([pa.field(f.name, rewrite(f.type, plain)) for f in schema])
    written = pa.schema([pa.field(output_name(table, f), rewrite(f.type, as_bits)) for f in cast])
    rows = 0
    with pa.ipc.new_stream(sink, written) as stream:
        for batch in batches:
            arrays = [
                array.cast(to.type).view(out.type)
                for array, to, out in zip(batch.columns, cast, written)
            ]
            stream.write_batch(pa.record_batch(arrays, schema=written))
            rows += batch.num_rows
    return rows


def parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reader", required=True, choices=READERS)
    parser.add_argument("--columns", type=lambda text: text.split(","), help="default: all, or see above")
    parser.add_argument("--where", help="default: all rows")
    parser.add_argument("--output", help="default: standard output")
    parser.add_argument("archive")
    parser.add_argument("table")
    return parser.parse_args(arguments)


def run(args):
    sink = open(args.output, "wb") if args.output else sys.stdout.buffer
    with sink:
        return dump(args.reader, args.archive, args.table, args.columns, sink, args.where)


def jobs(work):
    # Spark's Java writes to standard output too.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            work(json.loads(line))
            error = None
        # Panics of readers that are written in Rust are no Exception.
        except BaseException:
            error = traceback.format_exc()
        print(json.dumps(error), file=answers, flush=True)


def main():
    if sys.argv[1:] == ["--jobs"]:
        jobs(lambda job: run(parse(job)))
    else:
        print(f"{run(parse(sys.argv[1:]))} rows", file=sys.stderr)


if __name__ == "__main__":
    main()
