# The benchmarks, included by the Makefile.

CARGO ?= cargo

.PHONY: bench bench-compare bench-keep

bench: ## Measure wharfd beside its peers (about 20 minutes, root; BENCH=retr,list ROUNDS=3 for less)
	$(CARGO) build --release --bin wharfd
	$(CARGO) bench --bench bench

bench-compare: ## Say what the last `make bench` has worse than benches/baseline.txt
	$(CARGO) bench --bench bench -- --compare

bench-keep: ## Keep the last run: benches/baseline.txt, benches/table.md, benches/ratios.svg
	cp target/bench-results/ratios.txt benches/baseline.txt
	cp target/bench-results/latest.md benches/table.md
	cp target/bench-results/latest.svg benches/ratios.svg
