# Everything a developer, an operator or CI does with tasker_ext. The work is in scripts/; this file only names it.
# PG_CONFIG=/path/to/pg_config selects another server than Debian's PostgreSQL 15.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test install package deps check coverage bench clean
export PG_CONFIG PART

help: ## this list
	@echo 'make TARGET [PG_CONFIG=/path/to/pg_config]'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## install what is missing, run two workflows with two Python workers on a server of their own, ask tasker exporter, clean up
	@examples/demo/run

test: ## every test there is; PART="python demo" runs some of them
	@scripts/test $(PART)

install: ## release build into the server of PG_CONFIG (as root or with sudo)
	@scripts/deps build
	@scripts/install-extension --release

deps: ## install what building and testing need, and say what and where
	@scripts/deps build python test

check: ## words, names in SQL, cargo fmt, clippy and check
	@scripts/deps build python
	@scripts/check

coverage: ## the lines that tests run, per room (needs llvm-cov)
	@scripts/coverage

bench: ## load and latency figures (release build)
	@scripts/bench

package: ## the files of an installation as a tar.gz: ARCHIVE=FILE, else target/tasker_ext.tar.gz
	@scripts/deps build
	@scripts/package --release --archive "$(or $(ARCHIVE),target/tasker_ext.tar.gz)"

clean: ## remove what was built; what was installed stays
	@cargo clean
	@rm -rf target
