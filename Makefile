# The two commands of the README: `make run` and `make test`.
SHELL := /bin/bash
CARGO ?= cargo

.PHONY: run test check deps test-deps demo schemas oracles bench web model sim fuzz

run: deps web
	$(CARGO) run --bin baton -- serve

demo: deps
	$(CARGO) run --bin baton -- demo

# Everything that must hold: formats, lints, and every test on both databases.
test: deps test-deps check web
	tests/with-postgres tests/with-python $(CARGO) test --workspace
	$(CARGO) test --release --package baton-web
	BATON_PROGRAM="$$($(CARGO) metadata --format-version 1 --no-deps | node -p 'JSON.parse(require("fs").readFileSync(0)).target_directory')/debug/baton" npm test
	tests/oracles/run
	scripts/fuzz $(SECONDS)

check: node_modules
	npm run check
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null 2>&1 && [ -d "$${CARGO_HOME:-$$HOME/.cargo}/advisory-dbs" ]; then cargo deny check; else echo "cargo deny: not at hand, skipped"; fi

# Writes schemas/ and fixtures/ anew, the documents last, which are made of the others; the tests fail when they differ from what the code says.
schemas: node_modules
	BATON_WRITE=1 $(CARGO) test --package baton-sdk drift
	BATON_WRITE=1 $(CARGO) test --test it drift
	BATON_WRITE=1 npm run write --workspace sdk/typescript

# The pages. Debug builds read them from disk; a release build made after this has them inside.
web: node_modules
	npm run web
	@cd identity/web/dist && echo "bundle $$(find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1)"

# Exactly what package-lock.json names.
node_modules: package.json package-lock.json $(wildcard sdk/typescript/package.json sdk/typescript/examples/*/package.json identity/web/package.json tests/*/package.json)
	npm ci
	@touch node_modules

# How fast, against raw operations in the same run; with PEERS=1 beside mosquitto, nats-server and ws, where they are at hand.
bench: deps web
	$(CARGO) bench --bench speed

# The model of the handoff, further than `make test` goes.
model:
	$(CARGO) test --release --package baton-model -- --include-ignored --nocapture --test-threads 1

# Lives of a session, one for each seed, further than `make test` goes: make sim SEEDS=10000. A seed that fails is named, with the command that runs it again.
SEEDS ?= 2000
sim: deps
	BATON_SEEDS=$(SEEDS) $(CARGO) test --test it -- simulation::lives --nocapture

# What strangers send, and the rules over it, for so many seconds: make fuzz SECONDS=600.
SECONDS ?= 60
fuzz: deps
	scripts/fuzz $(SECONDS)

oracles:
	tests/oracles/run

deps:
	@scripts/deps pkg-config:pkg-config libssl-dev:/usr/include/openssl/ssl.h cc:gcc

test-deps:
	@scripts/deps postgresql:/usr/lib/postgresql chromium:chromium 'python3-venv:/usr/lib/python3*/ensurepip'
