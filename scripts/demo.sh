#!/usr/bin/env bash
# A real Prometheus writes to promarchive for a minute; then DuckDB reads what
# arrived. Run it as `make demo`, which builds the program first.
#
# Everything listens on 127.0.0.1 and is stopped at the end, however it ends. The
# archive stays in ./demo/archive until the next run.
set -euo pipefail
cd "$(dirname "$0")/.."
# One stream, so that a saved copy of the output is in order.
exec 2>&1
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

seconds=${DEMO_SECONDS:-60}
receiver_port=${DEMO_PORT:-9201}
prometheus_port=${DEMO_PROMETHEUS_PORT:-9290}
node_port=${DEMO_NODE_PORT:-9291}
receiver=127.0.0.1:$receiver_port
accepted_metric=promarchive_samples_received_total

promarchive=${PROMARCHIVE_BIN:?run this as: make demo}
tools=$(scripts/build-go-tools.sh)
python=$(scripts/python-env.sh)

http() { # METHOD URL
	if command -v curl >/dev/null; then
		curl -fsS --max-time 30 -X "$1" "$2"
	else
		"$python" -c 'import sys, urllib.request as u
sys.stdout.buffer.write(u.urlopen(u.Request(sys.argv[2], method=sys.argv[1]), timeout=30).read())' "$1" "$2"
	fi
}

check_port() { # PORT WHOSE VARIABLE
	# A connection that succeeds means that somebody listens there.
	if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
		die "port $1 for $2 is taken. Choose another: $3=$(($1 + 1000)) make demo"
	fi
}
check_port "$receiver_port" promarchive DEMO_PORT
check_port "$prometheus_port" Prometheus DEMO_PROMETHEUS_PORT
check_port "$node_port" node_exporter DEMO_NODE_PORT

# Only the processes started here, by their ids; the writer first, so that what
# it still has reaches the receiver.
prometheus_pid='' node_pid='' receiver_pid=''
stop() { # PID
	[ -n "$1" ] || return 0
	kill "$1" 2>/dev/null || true
	wait "$1" 2>/dev/null || true
}
stop_all() {
	stop "$prometheus_pid"
	stop "$node_pid"
	stop "$receiver_pid"
}
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# wait_for NAME PID URL LOG: until it answers, or is dead, or 30 seconds are over.
wait_for() {
	local tries
	for ((tries = 0; tries < 150; tries++)); do
		if http GET "$3" >/dev/null 2>&1; then
			return
		fi
		if ! kill -0 "$2" 2>/dev/null; then
			break
		fi
		sleep 0.2
	done
	tail -n 20 "$4" >&2
	die "$1 did not start; its log is $4"
}

accepted() {
	http GET "http://$receiver/metrics" 2>/dev/null |
		awk -v name="$accepted_metric" '
			substr($1, 1, length(name)) == name && $1 ~ /^[a-z_]+([{]|$)/ { sum += $NF; seen = 1 }
			END { if (seen) printf "%d", sum; else printf "?" }'
}

rm -rf demo
mkdir -p demo
sed -e "s/127\.0\.0\.1:9290/127.0.0.1:$prometheus_port/" \
	-e "s/127\.0\.0\.1:9291/127.0.0.1:$node_port/" \
	-e "s/127\.0\.0\.1:9201/$receiver/" \
	examples/prometheus.yml >demo/prometheus.yml

say "promarchive     http://$receiver/metrics, writes to demo/archive"
"$promarchive" receive --archive demo/archive --listen "$receiver" >demo/promarchive.log 2>&1 &
receiver_pid=$!
wait_for promarchive "$receiver_pid" "http://$receiver/metrics" demo/promarchive.log

say "node_exporter   http://127.0.0.1:$node_port/metrics"
"$tools/node_exporter" --web.listen-address "127.0.0.1:$node_port" >demo/node_exporter.log 2>&1 &
node_pid=$!

say "Prometheus      http://127.0.0.1:$prometheus_port, scrapes all three every second"
"$tools/prometheus" --config.file demo/prometheus.yml --storage.tsdb.path demo/prometheus \
	--web.listen-address "127.0.0.1:$prometheus_port" --storage.remote.flush-deadline 10s \
	--enable-feature exemplar-storage,metadata-wal-records,st-storage \
	>demo/prometheus.log 2>&1 &
prometheus_pid=$!
wait_for Prometheus "$prometheus_pid" "http://127.0.0.1:$prometheus_port/-/ready" demo/prometheus.log

say ""
say "Prometheus writes for $seconds seconds (DEMO_SECONDS)."
start=$SECONDS
while ((elapsed = SECONDS - start, elapsed < seconds)); do
	((step = seconds - elapsed, step = step < 5 ? step : 5))
	sleep "$step"
	say "$(printf '%4d s  %9s samples accepted' $((SECONDS - start)) "$(accepted)")"
	for running in "$prometheus_pid Prometheus" "$node_pid node_exporter" "$receiver_pid promarchive"; do
		kill -0 "${running% *}" 2>/dev/null || die "${running#* } has stopped; see the logs in demo/"
	done
done

say ""
say "Stopping Prometheus, so that it sends what it still has; then flushing:"
stop "$prometheus_pid"
stop "$node_pid"
prometheus_pid='' node_pid=''
say "curl -X POST http://$receiver/-/flush"
http POST "http://$receiver/-/flush"
total=$(accepted)
stop "$receiver_pid"
receiver_pid=''
say ""
say "$total samples accepted in all. What is in the archive now:"
say ""
say "promarchive inspect demo/archive"
"$promarchive" inspect demo/archive

say ""
say "And the same tables in DuckDB. The metrics with the most samples:"
"$python" examples/query.py demo/archive "
	SELECT metric, count(*) AS samples, count(DISTINCT labels) AS series,
	       strftime(min(timestamp), '%T') AS first, strftime(max(timestamp), '%T') AS last
	FROM samples GROUP BY metric ORDER BY samples DESC, metric LIMIT 8"

say "What the processors of this machine did meanwhile:"
"$python" examples/query.py demo/archive "
	WITH core AS (
	    SELECT labels->>'\$.mode' AS mode, max(value) - min(value) AS seconds,
	           epoch(max(timestamp) - min(timestamp)) AS of
	    FROM samples WHERE metric = 'node_cpu_seconds_total' GROUP BY labels)
	SELECT mode, round(sum(seconds), 1) AS cpu_seconds,
	       round(100 * sum(seconds) / sum(of), 1) AS percent
	FROM core GROUP BY mode ORDER BY cpu_seconds DESC"

say "To go on, any of:"
say ""
say "  $python examples/query.py demo/archive \\"
say "    \"SELECT * FROM samples WHERE metric = 'up' ORDER BY timestamp LIMIT 10\""
say ""
say "  $promarchive verify demo/archive"
say ""
say "  $python -c \"import polars; print(polars.scan_delta('demo/archive/samples')\\"
say "    .group_by('job').len().collect())\""
