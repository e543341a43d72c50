# catchat: `make` alone says what there is.
.DEFAULT_GOAL := help
.PHONY: help run test test-cluster bench fuzz

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build the server and run it on http://127.0.0.1:8080, rooms in ./data
	cargo run --release --locked --quiet

test: ## Check the format and lints, and run all tests; installs what they need by apt-get
	tests/run

test-cluster: ## Test a Galera cluster that loses nodes, as root; takes about two minutes
	tests/cluster/run

bench: ## Measure, side by side with nginx and nchan; takes about a quarter of an hour
	cargo build --release --locked
	python3 benches/bench.py

fuzz: ## Run the property tests, multipart against multer among them, CASES times each
	PROPTEST_CASES=$(or $(CASES),200000) cargo test --release --locked --lib

-include stack.mk
