# Sealpost: `make demo` shows the main job, `make test` runs every test. Both set themselves up.

CARGO ?= cargo
DEMO_DIR ?= target/demo

.PHONY: help demo test failover bench growth overload micro-bench counts start dist check build prerequisites clean-demo

help: ## Show the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

prerequisites: ## Install what building and testing need (apt, when root), or print the command.
	@bash .ci/prerequisites

build: prerequisites ## Build every binary.
	$(CARGO) build --workspace --bins --locked

demo: build ## Send a message from a REST call to a consumer and its reply back to a webhook, hop by hop.
	rm -rf $(DEMO_DIR)
	target/debug/sealpost demo --dir $(DEMO_DIR)

test: prerequisites ## Run every test, on SQLite and on PostgreSQL.
	bash .ci/test

failover: ## Kill and hang the primary of a PostgreSQL under Patroni while messages flow: minutes, some 20 s each time.
	@bash .ci/prerequisites failover
	$(CARGO) build --workspace --bins --locked
	$(CARGO) run -p sealpost-tests --example failover --locked

# Whole suites of release binaries are measured: SECONDS a run, MORE for the set's own options.
SECONDS ?= 20
MORE ?=
define measure
	@bash .ci/prerequisites
	$(CARGO) build --release --workspace --bins --locked
	$(CARGO) run --release -p sealpost-tests --example bench --locked -- $(1) --seconds $(SECONDS) $(MORE)
endef

bench: ## Measure throughput, latency and cost on SQLite and on PostgreSQL, and write docs/performance.md: ten minutes.
	$(call measure,standard)

growth: ## The same with a million sessions, ten million records, ten thousand numbers, and while a million records go: hours, 40 GB.
	$(call measure,growth)

overload: ## Twice of what a suite can take, and neighbours that misbehave: ten minutes.
	$(call measure,overload)

check: prerequisites ## What runs before the tests: formatting, lints, walls, licences, protos.
	bash .ci/check

counts: prerequisites ## Count the instructions of the session step and of the envelope, and compare them with those kept.
	.ci/counts

micro-bench: prerequisites ## Time the session step, the envelope, the seals, the queues and the hops.
	$(CARGO) bench --workspace --locked --features sealpost-key-vault/measured --bench '*'

start: prerequisites ## Time each service's start, empty and with 100,000 persons in it.
	$(CARGO) build --workspace --bins --release --locked
	SEALPOST_BINARIES=target/release $(CARGO) run -p sealpost-tests --example start --locked

dist: prerequisites ## Build what is shipped, into target/dist: some ten minutes on two cores.
	$(CARGO) build --workspace --bins --profile dist --locked

clean-demo: ## Remove what the demo left.
	rm -rf $(DEMO_DIR)
