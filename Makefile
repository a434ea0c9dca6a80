# The one front door; `make` alone lists what there is.
#
# Whatever is built or installed on demand besides our own crates goes to
# $PROMARCHIVE_CACHE, by default ~/.cache/promarchive.

CARGO_TARGET_DIR ?= target
# Where the program lands with `--profile ci`.
PROMARCHIVE_BIN := $(abspath $(CARGO_TARGET_DIR))/ci/promarchive
PROMARCHIVE_OPERATOR_BIN := $(abspath $(CARGO_TARGET_DIR))/ci/promarchive-operator
PROMARCHIVE_CLUSTER := $(abspath $(CARGO_TARGET_DIR))/ci/promarchive-cluster
# How many times `make crash` kills the receiver, and how many histories it simulates of each kind.
CRASH_ROUNDS ?= 1000
CRASH_HISTORIES ?= 10000

# The profile `ci` is optimised enough for tests with real load and still quick
# to build. All tests share one selection of packages and features, because any
# other would build Arrow once more.
CI_FLAGS := --locked --profile ci --workspace --features failpoints
CARGO_TEST := cargo test $(CI_FLAGS)
# `cargo test` alone does not build the program that the tests start.
CARGO_BUILD_FOR_TEST := cargo build $(CI_FLAGS) --bins --tests
# Where the tests find what they run.
TEST_ENV := PROMARCHIVE_BIN="$(PROMARCHIVE_BIN)" \
	PROMARCHIVE_OPERATOR_BIN="$(PROMARCHIVE_OPERATOR_BIN)" \
	PROMARCHIVE_GO_TOOLS="$$(scripts/build-go-tools.sh)" \
	PROMARCHIVE_STORES="$$(scripts/store-servers.sh)" \
	PROMARCHIVE_PYTHON="$$(scripts/python-env.sh)"
CLUSTER_ENV := PROMARCHIVE_GO_TOOLS="$$(scripts/build-go-tools.sh)" \
	PROMARCHIVE_CLUSTER_TOOLS="$$(scripts/cluster-tools.sh)"

# Only the tests of all readers have Spark, which needs Java, and other versions of readers.
SPARK_ENV := PROMARCHIVE_SPARK="$$(scripts/spark-env.sh)" PROMARCHIVE_READERS="$$(scripts/readers.sh)"

export CARGO_TARGET_DIR

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## A real Prometheus writes for a minute, then DuckDB reads (DEMO_SECONDS=60)
	@PROMARCHIVE_BIN="$(PROMARCHIVE_BIN)" scripts/demo.sh

.PHONY: demo-cluster
demo-cluster: build tools cluster-tools ## The same in Kubernetes: Helm, quickstart.yaml, samples, the end; as root
	@$(CLUSTER_ENV) PROMARCHIVE_PROGRAMS="$(dir $(PROMARCHIVE_BIN))" scripts/demo-cluster.sh

.PHONY: build
build: rust ## Build the program, into target/ci/promarchive
	cargo build $(CI_FLAGS) --bins

.PHONY: test
test: rust strace tools stores cluster-tools python spark readers ## All tests, with a real Prometheus, readers and Kubernetes; as root
	$(CARGO_BUILD_FOR_TEST)
	$(TEST_ENV) $(CLUSTER_ENV) $(SPARK_ENV) $(CARGO_TEST)

.PHONY: crash
crash: rust strace tools stores python ## Kill the receiver many times, make it fail, simulate more, account for every sample (CRASH_ROUNDS=1000)
	$(CARGO_BUILD_FOR_TEST)
	$(TEST_ENV) PROMARCHIVE_CRASH_ROUNDS=$(CRASH_ROUNDS) \
		$(CARGO_TEST) --test crash -- --nocapture --include-ignored
	PROMARCHIVE_HISTORIES=$(CRASH_HISTORIES) $(CARGO_TEST) --lib -- --nocapture every_history writers_who_compete_keep

.PHONY: test-all
test-all: test crash ## All tests, those that take long too; as root
	$(TEST_ENV) PROMARCHIVE_BUDGET_SECONDS=60 $(CARGO_TEST) --test budgets -- --nocapture
	$(TEST_ENV) PROMARCHIVE_RULES=300000 PROMARCHIVE_RULES_SEED=$$(date +%s) $(CARGO_TEST) --test promtool -- --nocapture
	$(TEST_ENV) PROMARCHIVE_SPARK="$$(scripts/spark-env.sh)" PROMARCHIVE_READERS="$$(scripts/readers.sh --all)" \
		PROMARCHIVE_ALL_READERS=1 $(CARGO_TEST) --test fidelity -- the_page
	$(TEST_ENV) $(CLUSTER_ENV) $(CARGO_TEST) --test end_to_end -- --ignored --nocapture
	$(TEST_ENV) $(CLUSTER_ENV) PROMARCHIVE_STEADY_SECONDS=600 $(CARGO_TEST) --test operator -- nothing_is_written
	$(TEST_ENV) $(CLUSTER_ENV) PROMARCHIVE_CROWD=1000 $(CARGO_TEST) --test operator -- crowd
	archive=$$(IMAGE_PROFILE=ci scripts/image.sh) && scripts/image-buildah.sh "$$archive"

.PHONY: bench
bench: rust tools ## Measure promarchive beside Prometheus, 40 minutes (BENCH_ARGS="--load real --figure throughput")
	cargo build --locked --release -p promarchive -p promarchive-bench
	"$(CARGO_TARGET_DIR)/release/promarchive-bench" --receiver "$(CARGO_TARGET_DIR)/release/promarchive" \
		--receiver "$$(scripts/build-go-tools.sh)/prometheus" --dir "$(CARGO_TARGET_DIR)/bench" $(BENCH_ARGS)

.PHONY: bench-loops
bench-loops: rust ## Measure the hot loops by themselves, with criterion
	cargo bench --locked -p promarchive-bench

.PHONY: fuzz
fuzz: ## Fuzz everything that reads what others wrote, FUZZ_SECONDS=60 for each target
	scripts/fuzz.sh

.PHONY: image
image: rust ## Make the image of receiver and operator as an OCI archive, without an engine (IMAGE_PROFILE=release)
	scripts/image.sh

.PHONY: generate
generate: generators ## Make the CRD, the chart's schema and README, and (with Helm, HELM=path) config/
	PROMARCHIVE_PROGRAMS="$(dir $(PROMARCHIVE_BIN))" scripts/generate.sh

.PHONY: generate-check
generate-check: generators
	PROMARCHIVE_PROGRAMS="$(dir $(PROMARCHIVE_BIN))" scripts/generate.sh --check

.PHONY: generators
generators: rust
	cargo build $(CI_FLAGS) --bin promarchive-operator --bin promarchive-chart

.PHONY: check
check: lint deny ## Everything that needs no test run: lint and deny

.PHONY: lint
lint: generate-check ## Formatting, clippy, the syntax of the scripts, and whether generated files are up to date
	@bash -c '. scripts/lib.sh && need_rust_linters'
	cargo fmt --all --check
	@python3 scripts/layers.py
	@for script in scripts/*.sh .ci/run; do bash -n "$$script" || exit 1; done
	@if command -v gofmt >/dev/null; then \
		bad=$$(gofmt -l tests/go) && { [ -z "$$bad" ] || { echo "gofmt: $$bad"; exit 1; }; }; fi
	cargo clippy $(CI_FLAGS) --all-targets -- -D warnings

.PHONY: deny
deny: ## Licences, bans and sources of the dependencies
	scripts/deny.sh

.PHONY: advisories
advisories: ## Known faults of the dependencies (RustSec); fetches the database from the network
	scripts/deny.sh advisories

.PHONY: tools
tools: ## Build Prometheus, promtool and node_exporter, and print where they are
	@scripts/build-go-tools.sh

.PHONY: stores
stores: ## Build the object stores that the tests keep archives in, and print where they are
	@scripts/store-servers.sh

# Only this program: the others are not needed for a cluster, and take minutes.
.PHONY: cluster-program
cluster-program: rust
	cargo build $(CI_FLAGS) --bin promarchive-cluster

.PHONY: cluster
cluster: cluster-program tools cluster-tools ## Start a Kubernetes cluster with the Prometheus Operator, to try things; as root
	@$(CLUSTER_ENV) $(PROMARCHIVE_CLUSTER) up --prometheus-operator --volumes 3

.PHONY: cluster-down
cluster-down: cluster-program ## End that cluster, and remove everything of it
	@$(PROMARCHIVE_CLUSTER) down

.PHONY: cluster-tools
cluster-tools: ## Build or download what the test cluster runs, and print where it is
	@scripts/cluster-tools.sh

.PHONY: python
python: ## Install DuckDB, Polars, pandas and deltalake, and print the path of their python
	@scripts/python-env.sh

.PHONY: spark
spark: ## Install Spark with Delta, and print the path of its python
	@scripts/spark-env.sh

.PHONY: readers
readers: ## Install older and newer versions of readers, and print where they are
	@scripts/readers.sh

.PHONY: clean
clean: ## Remove what was built here; the cache outside the clone stays
	cargo clean
	rm -rf demo

.PHONY: strace
strace:
	@bash -c '. scripts/lib.sh && need_strace'

.PHONY: rust
rust:
	@bash -c '. scripts/lib.sh && need_cargo'
