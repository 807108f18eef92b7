# One command per job; `make` lists them. README.md names them, .ci/run runs them.
# Cargo builds into CARGO_TARGET_DIR where it is set. CANDLES_CACHE names the folder for the real servers
# (default: candles in the XDG cache home), CANDLES_RUN_DIR the one for logs and data of runs.
.DEFAULT_GOAL := help
.PHONY: help lint test e2e chaos chaos-planted demo bench instructions install-servers deny clean clean-servers
.PHONY: charts-test scan e2e-node images kind-load kind-up kind-down

CARGO ?= cargo
E2E = --test servers --test operator --test operator_topics --test charts
# Its tests take turns on two sets of servers.
E2E_SHARED = --test e2e
# `candlectl` on the same servers, and its pages in headless Chromium.
E2E_CLI = --test real --test browser
# What `binaries` has built.
DEBUG = $${CARGO_TARGET_DIR:-target}/debug
TESTBED = $(DEBUG)/testbed

help: ## List what can be made
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

# Helpers of tests may unwrap and panic, what is shipped may not. The tests of `make e2e` are not among all targets.
IN_TESTS = -A clippy::unwrap_used -A clippy::panic
lint: ## Formatting and clippy, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --lib --bins --locked -- -D warnings
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings $(IN_TESTS)
	$(CARGO) clippy --workspace --locked $(E2E) $(E2E_SHARED) $(E2E_CLI) -- -D warnings $(IN_TESTS)
	$(CARGO) clippy --workspace --locked --features candles-workers/planted-bugs --lib --bins -- -D warnings

# Eight threads: the tests of producer and consumer mostly wait.
test: ## All tests that need no server (UPDATE=1 rewrites generated documents)
	RUST_TEST_THREADS=8 $(CARGO) test --workspace --locked

# Four threads: two sets of servers, and for each a test that has them and one that waits
# (testbed/src/servers/shared.rs). Two for the others.
e2e: install-servers ## The same behaviours on the real servers
	$(CARGO) test --locked --workspace $(E2E) -- --test-threads=2
	$(CARGO) test --locked --workspace $(E2E_SHARED) -- --test-threads=4
	$(CARGO) test --locked --workspace $(E2E_CLI) -- --test-threads=2

# One seed is one schedule: see docs/chaos.md.
CHAOS_ARGS = $(if $(CHAOS_RUNS),--runs $(CHAOS_RUNS)) $(if $(CHAOS_SEED),--seed $(CHAOS_SEED)) \
    $(if $(CHAOS_ONLY),--only $(CHAOS_ONLY)) $(if $(CHAOS_SECONDS),--seconds $(CHAOS_SECONDS))
CHAOS = $(DEBUG)/chaos
chaos: install-servers ## Break everything while it works, judge every candle (CHAOS_RUNS=200, CHAOS_SEED=7, CHAOS_ONLY=broker-kill)
	$(CHAOS) $(CHAOS_ARGS) $(ARGS)

# A binary of its own beside the workers, which stay as they are.
chaos-planted: install-servers ## Judge the judge: workers with planted bugs, each must be seen
	$(CARGO) build --workspace --locked --features candles-workers/planted-bugs --bin planted
	$(CHAOS) --planted

demo: ## A whole pipeline in one process, in the browser and here, until Ctrl-C (ARGS="--real" for real servers)
	$(CARGO) build --quiet --locked --package candles-cli $(if $(findstring --real,$(ARGS)),--package candles-workers) --bins
	@$(CARGO) run --quiet --locked --package candles-cli --bin candlectl -- demo $(ARGS)

bench: install-servers ## Speed, memory and latency of workers and operator on the real servers: prints, asserts nothing (half an hour)
	$(CARGO) build --release --locked --package candles-workers --package candles-operator --bins
	$(CARGO) bench --locked --package candles-workers --bench producer --bench consumer
	$(CARGO) bench --locked --package candles-testbed --bench pipeline --bench operator

# Needs valgrind. The difference of two counts is the work itself, without start and end.
INSTRUCTIONS = produce:parse produce:encode produce:all consume:decode consume:aggregate consume:all
instructions: ## Instructions per trade of the hot paths, counted by callgrind
	$(CARGO) build --release --locked --package candles-workers --examples
	@for work in $(INSTRUCTIONS); do \
	    program=$${CARGO_TARGET_DIR:-target}/release/examples/$${work%:*}_instructions; \
	    for n in 100000 300000; do \
	        valgrind --tool=callgrind --callgrind-out-file=/dev/null $$program $${work#*:} $$n 2>&1 \
	            | sed -n 's/.*refs: *//p' | tr -d ,; \
	    done | { read -r few; read -r many; echo "$$work $$(((many - few) / 200000)) instructions per trade"; }; \
	done

charts-test: binaries ## The charts as helm renders them, against schemas and the operator (UPDATE=1 rewrites golden files)
	$(TESTBED) install helm kubernetes-schemas kafka
	$(CARGO) test --locked --package candles-testbed --test charts

# Each line that `install` prints ends with the entry in the cache.
SCANNERS = $(TESTBED) install helm checkov kube-score | sed -n \
    -e 's|^helm [^:]*: \(.*\)|HELM=\1/bin/helm|p' -e 's|^checkov [^:]*: \(.*\)|CHECKOV=\1/venv/bin/checkov|p' \
    -e 's|^kube-score [^:]*: \(.*\)|KUBE_SCORE=\1/bin/kube-score|p'
scan: binaries ## checkov and kube-score over what the charts render by default: no finding, or its reason in the chart
	@found=$$($(SCANNERS)) && env $$found charts/scan

# As above: `install` prints a line for each entry.
NODE = $(TESTBED) install kubernetes node coredns helm kafka apicurio influxdb | sed -n \
    -e 's|^kubernetes [^:]*: \(.*\)|BIN_KUBERNETES=\1/bin|p' -e 's|^node [^:]*: \(.*\)|BIN_NODE=\1/bin|p' \
    -e 's|^coredns [^:]*: \(.*\)|BIN_COREDNS=\1/bin|p' -e 's|^helm [^:]*: \(.*\)|BIN_HELM=\1/bin|p' \
    -e 's|^kafka [^:]*: \(.*\)|KAFKA=\1|p' -e 's|^apicurio [^:]*: \(.*\)|APICURIO=\1|p' \
    -e 's|^influxdb [^:]*: \(.*\)|INFLUXDB=\1|p'
e2e-node: binaries ## The charts on a real Kubernetes node in namespaces of its own: install, scale, break, upgrade, uninstall (needs root)
	@echo "e2e-node: needs root; changes nothing of this machine's network (see testbed/node/e2e)"
	@found=$$($(NODE)) && env $$found PROGRAMS=$(DEBUG) testbed/node/e2e

images: ## Images of operator, workers and candlectl (ENGINE, TAG, PREFIX, PREBUILT, BASE_IMAGE: see images/build)
	@images/build

kind-load: ## The images into the nodes of the kind cluster
	@images/kind load

kind-up: ## A kind cluster with everything in it, from nothing to candles; each step with its time
	@images/kind up

kind-down: ## Remove that cluster
	@images/kind down

install-servers: binaries ## Build or fetch the real servers, once, into the cache
	$(TESTBED) install

deny: ## Licences, banned crates and sources of all dependencies
	@$(CARGO) deny --version >/dev/null 2>&1 || { echo "make deny needs cargo-deny: cargo install cargo-deny --locked" >&2; exit 1; }
	$(CARGO) deny --locked check bans licenses sources

clean: ## Remove what cargo built
	$(CARGO) clean

clean-servers: binaries ## Remove the installed servers and the kept logs of ended runs
	$(TESTBED) clean

# With the tests, whose dependencies ask for more features: without them all is built a second time after `make test`.
.PHONY: binaries
binaries:
	$(CARGO) build --workspace --bins --tests --locked
