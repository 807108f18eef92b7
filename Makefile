# One command per job; README.md names them, .ci/run runs them.
.PHONY: test e2e lint
test:
	cargo test --workspace
# On the real servers, which the first run builds (minutes); testbed/src/servers names what they need.
e2e:
	cargo test -p candles-testbed --test servers
lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy -p candles-testbed --test servers -- -D warnings
