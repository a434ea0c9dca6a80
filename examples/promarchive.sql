-- Macros for DuckDB (1.3 or newer) over the tables of an archive. They answer what Prometheus would answer, and a test compares the two.
--
-- They need a view or table `samples`; examples/query.py makes it and loads this file. In the shell of DuckDB:
--
--     SET TimeZone = 'UTC';
--     CREATE VIEW samples AS SELECT * FROM delta_scan('archive/samples');
--     .read examples/promarchive.sql
--
-- `begin` and `until` are moments, such as TIMESTAMPTZ '2026-11-22 18:00:00+00'. As in Prometheus, a sample at `begin` itself is
-- outside of the window, and one at `until` is inside: `rate('x', begin, until)` is what Prometheus says to `rate(x[1h])` at `until`, if there
-- is an hour between the two.

-- One label of the column `labels`, such as label(labels, 'handler'): null if the series has no such label. Any name can be asked for: it is
-- a JSON pointer, in which only `~` and `/` are escaped.
CREATE OR REPLACE MACRO label(labels, name) AS
    json_extract_string(labels, '/' || replace(replace(name, '~', '~0'), '/', '~1'));

-- All samples of a window, such as that of one run. Files of other days are not opened.
CREATE OR REPLACE MACRO run_window(begin, until) AS TABLE
    SELECT *
    FROM samples
    WHERE date BETWEEN CAST(CAST(begin AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS DATE)
                   AND CAST(CAST(until AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS DATE)
      AND timestamp > CAST(begin AS TIMESTAMPTZ)
      AND timestamp <= CAST(until AS TIMESTAMPTZ);

-- By how much a counter rose at each sample, since the sample before it in the window. After a reset it counts from zero. The first
-- sample of a series has none (null). Nothing is extrapolated: the sum is what was really counted between the first and the last sample.
CREATE OR REPLACE MACRO increases(name, begin, until) AS TABLE
    WITH steps AS (
        SELECT metric, labels, timestamp, value,
               lag(value) OVER series AS before,
               lag(timestamp) OVER series AS since
        FROM run_window(begin, until)
        WHERE metric = name AND NOT stale
        WINDOW series AS (PARTITION BY metric, labels ORDER BY timestamp)
    )
    SELECT metric, labels, since, timestamp, value,
           epoch_ms(timestamp) - epoch_ms(since) AS milliseconds,
           CASE WHEN value < before THEN value ELSE value - before END AS increase
    FROM steps;

-- What Prometheus answers to increase(name[until − begin]) and rate(name[until − begin]) at `until`: a row for each series with two samples
-- or more. Like Prometheus it extrapolates to the edges of the window, by its rules.
CREATE OR REPLACE MACRO rate(name, begin, until) AS TABLE
    WITH series AS (
        SELECT metric, labels,
               count(*) AS samples,
               sum(increase) AS counted,
               arg_min(value, timestamp) AS first_value,
               min(epoch_ms(timestamp)) AS first,
               max(epoch_ms(timestamp)) AS last
        FROM increases(name, begin, until)
        GROUP BY metric, labels
        HAVING count(*) > 1
    ),
    distances AS (
        SELECT *,
               epoch_ms(CAST(until AS TIMESTAMPTZ)) - epoch_ms(CAST(begin AS TIMESTAMPTZ)) AS window_size,
               last - first AS sampled,
               (last - first) / (samples - 1) AS apart,
               first - epoch_ms(CAST(begin AS TIMESTAMPTZ)) AS before,
               epoch_ms(CAST(until AS TIMESTAMPTZ)) - last AS after
        FROM series
    ),
    extrapolated AS (
        SELECT *,
               sampled
               + least(CASE WHEN before >= apart * 1.1 THEN apart / 2 ELSE before END,
                       -- A counter is never negative: it began where it would have been zero.
                       CASE WHEN counted > 0 AND first_value >= 0 THEN sampled * (first_value / counted) END)
               + CASE WHEN after >= apart * 1.1 THEN apart / 2 ELSE after END AS covered
        FROM distances
    )
    SELECT metric, labels, samples, counted,
           counted * (covered / sampled) AS increase,
           counted * (covered / sampled / (window_size / 1000)) AS rate
    FROM extrapolated;

-- The buckets of a classic histogram: rate() of `name`_bucket, with the bucket's upper bound as a number.
CREATE OR REPLACE MACRO buckets(name, begin, until) AS TABLE
    SELECT metric, labels, CAST(replace(label(labels, 'le'), '+', '') AS DOUBLE) AS le, increase, rate
    FROM rate(name || '_bucket', begin, until);

-- Steps of bucket_quantile, the last first.
CREATE OR REPLACE MACRO quantile_in(rank, bounds, counts, place) AS
    CASE
        WHEN len(bounds) < 2 OR bounds[len(bounds)] <> 'inf'::DOUBLE OR counts[len(counts)] = 0 THEN 'nan'::DOUBLE
        WHEN place = len(bounds) THEN bounds[place - 1]
        WHEN place = 1 AND bounds[1] <= 0 THEN bounds[1]
        WHEN place = 1 THEN bounds[1] * (rank / counts[1])
        ELSE bounds[place - 1] + (bounds[place] - bounds[place - 1]) * ((rank - counts[place - 1]) / (counts[place] - counts[place - 1]))
    END;
CREATE OR REPLACE MACRO quantile_at(rank, bounds, counts) AS
    quantile_in(rank, bounds, counts, 1 + len(list_filter(counts[1:len(counts) - 1], lambda count: count < rank)));
CREATE OR REPLACE MACRO quantile_of_counts(q, bounds, counts) AS
    quantile_at(q * list_max(counts), bounds,
        list_transform(counts, lambda count, place: list_max(counts[1:place])));
-- Observations up to each bound, never fewer than up to the bound before it.
CREATE OR REPLACE MACRO quantile_of_bounds(q, bounds, rows) AS
    quantile_of_counts(q, bounds, list_transform(bounds, lambda bound:
        list_sum(list_transform(list_filter(rows, lambda row: row.bound = bound), lambda row: row.amount))));
-- As in Prometheus, a quantile outside of 0 to 1 is not an error: its answer is infinite.
CREATE OR REPLACE MACRO quantile_of_buckets(q, rows) AS
    CASE
        WHEN q IS NULL OR rows IS NULL THEN NULL
        WHEN isnan(CAST(q AS DOUBLE)) THEN 'nan'::DOUBLE
        WHEN q < 0 THEN '-inf'::DOUBLE
        WHEN q > 1 THEN 'inf'::DOUBLE
        ELSE quantile_of_bounds(q, list_sort(list_distinct(list_transform(rows, lambda row: row.bound))), rows)
    END;

-- What histogram_quantile(q, sum by (le) (…)) answers: an aggregate over the rows of buckets(), of any number of series. `amount` is their
-- column `increase` or `rate`.
CREATE OR REPLACE MACRO bucket_quantile(q, le, amount) AS
    quantile_of_buckets(q, list_sort(list(struct_pack(bound := le, amount := amount))));
