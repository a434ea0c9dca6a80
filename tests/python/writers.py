#!/usr/bin/env python3
"""Does to a table what programs that write Delta tables can do to it.

    writers.py --jobs

Reads jobs as JSON lists, one a line, from standard input and answers each as
dump.py does. A job is WRITER, ACTION and the table's folder. Which version of a
writer it is depends on PYTHONPATH: see scripts/readers.sh.
"""

import os

import dump


def deltalake(action, table):
    import deltalake

    found = deltalake.DeltaTable(table)
    match action:
        case "read":
            found.to_pyarrow_table()
        case "append":
            deltalake.write_deltalake(table, found.to_pyarrow_table().slice(0, 1), mode="append")
        case "delete":
            found.delete("metric = 'up'")
        case "optimize":
            found.optimize.compact()
        case "vacuum":
            found.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
        case "checkpoint":
            found.create_checkpoint()


def polars(action, table):
    import polars

    rows = polars.scan_delta(table).head(1).collect()
    if action == "append":
        rows.write_delta(table, mode="append")


def duckdb(action, table):
    connection = dump.open_duckdb()
    connection.execute(f"SELECT count(*) FROM delta_scan('{table}')")
    if action == "append":
        connection.execute(f"ATTACH '{table}' AS t (TYPE delta)")
        try:
            connection.execute("INSERT INTO t SELECT * FROM t LIMIT 1")
        finally:
            connection.execute("DETACH t")


def daft(action, table):
    import daft

    rows = daft.read_deltalake(table).limit(1)
    rows.to_arrow()
    if action == "append":
        rows.write_deltalake(table, mode="append")


def chdb(action, table):
    import chdb

    os.chdir("/")  # It reads nothing outside of the working directory.
    rows = f"SELECT * FROM deltaLakeLocal('{table}') LIMIT 1"
    chdb.query(rows)
    if action == "append":
        settings = "allow_experimental_delta_lake_writes = 1, allow_experimental_delta_kernel_rs = 1"
        chdb.query(f"INSERT INTO FUNCTION deltaLakeLocal('{table}') {rows} SETTINGS {settings}")


def spark(action, table):
    session = dump.open_spark()
    session.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    rows = session.read.format("delta").load(table)
    match action:
        case "read":
            rows.collect()
        case "append":
            rows.limit(1).write.format("delta").mode("append").save(table)
        case "delete":
            session.sql(f"DELETE FROM delta.`{table}` WHERE metric = 'up'").collect()
        case "optimize":
            session.sql(f"OPTIMIZE delta.`{table}`").collect()
        case "vacuum":
            session.sql(f"VACUUM delta.`{table}` RETAIN 0 HOURS").collect()


WRITERS = {one.__name__: one for one in (deltalake, polars, duckdb, daft, chdb, spark)}

if __name__ == "__main__":
    dump.jobs(lambda job: WRITERS[job[0]](*job[1:]))
