#!/usr/bin/env python3
"""Reads tables of an archive with a tool that people use, for comparison.

    dump.py --reader duckdb|polars|pandas|deltalake ARCHIVE TABLE
            [--columns a,b] [--output FILE]
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
"""

import argparse
import functools
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


def read_duckdb(table, columns):
    """(schema, iterator of record batches)"""
    selection = "*" if columns is None else ", ".join('"' + c.replace('"', '""') + '"' for c in columns)
    result = open_duckdb().execute(f"SELECT {selection} FROM delta_scan(?)", [table])
    reader = result.fetch_record_batch(BATCH_ROWS)
    return reader.schema, reader


def read_polars(table, columns):
    import polars

    lazy = polars.scan_delta(table)
    frame = (lazy if columns is None else lazy.select(columns)).collect()
    # The newest level is polars' own layout: no conversion here.
    return batches_of(frame.to_arrow(compat_level=polars.CompatLevel.newest()))


def read_pandas(table, columns):
    import deltalake
    import pandas

    # With numpy's types pandas cannot tell a null from NaN.
    frame = deltalake.DeltaTable(table).to_pandas(columns=columns, types_mapper=pandas.ArrowDtype)
    return batches_of(pa.Table.from_pandas(frame, preserve_index=False))


def read_deltalake(table, columns):
    import deltalake

    return batches_of(deltalake.DeltaTable(table).to_pyarrow_table(columns=columns))


def batches_of(table):
    return table.schema, table.to_batches(max_chunksize=BATCH_ROWS)


READERS = {
    "duckdb": read_duckdb,
    "polars": read_polars,
    "pandas": read_pandas,
    "deltalake": read_deltalake,
}


def rewrite(type_, leaf):
    """The type with `leaf` applied to everything inside that is not a list, a
    map or a struct; all kinds of list become one."""
    if pa.types.is_map(type_):
        return pa.map_(rewrite(type_.key_type, leaf), rewrite(type_.item_type, leaf))
    if pa.types.is_struct(type_):
        return pa.struct([(f.name, rewrite(f.type, leaf)) for f in type_.fields])
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


def dump(reader, archive, table, columns, sink):
    """Writes the stream; returns the number of rows."""
    if columns is None and table == "samples":
        columns = SAMPLES_COLUMNS
    # Absolute, because the readers differ in what they take a relative path or
    # a plain word for.
    path = os.path.abspath(os.path.join(archive, table))
    schema, batches = READERS[reader](path, columns)

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
    parser.add_argument("--output", help="default: standard output")
    parser.add_argument("archive")
    parser.add_argument("table")
    return parser.parse_args(arguments)


def run(args):
    sink = open(args.output, "wb") if args.output else sys.stdout.buffer
    with sink:
        return dump(args.reader, args.archive, args.table, args.columns, sink)


def jobs():
    for line in sys.stdin:
        try:
            run(parse(json.loads(line)))
            error = None
        except Exception:
            error = traceback.format_exc()
        print(json.dumps(error), flush=True)


def main():
    if sys.argv[1:] == ["--jobs"]:
        jobs()
    else:
        print(f"{run(parse(sys.argv[1:]))} rows", file=sys.stderr)


if __name__ == "__main__":
    main()
