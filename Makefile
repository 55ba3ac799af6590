# make run    sets everything up and prints `hostward check` for this very host
# make test   sets everything up and runs every test; what had to be left out is named at the end
# make bench  prints the benchmarks, both sides of each in one run
# make fuzz   the long fuzzing run
# make rpm    builds the source and binary package for EL and Fedora into dist/
# make deb    builds the package for Debian into dist/

HOSTWARD = PYTHONPATH=agent .venv/bin/python -m hostward
PYTHON = PYTHONPATH=agent:. .venv/bin/python

.PHONY: run test lint bench fuzz rpm deb clean

run:
	@tools/setup run
	@status=0; $(HOSTWARD) check || status=$$?; \
	echo "(exit status $$status: 0 all passed, 1 warnings, 2 errors, 3 could not tell)"; [ $$status -le 3 ]

test: lint
	.venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint:
	@tools/setup test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	PYTHONPATH=agent .venv/bin/lint-imports
	if command -v shellcheck >/dev/null; then shellcheck tools/setup tools/package .ci/run packaging/rpm/scriptlet.sh \
		packaging/rpm/90-hostward.install packaging/debian/hostward.post*; fi

bench:
	@tools/setup test
	@for b in tests/bench/bench_*.py; do $(PYTHON) $$b || exit 1; done

fuzz:
	@tools/setup test
	@for f in tests/fuzz/fuzz_*.py; do $(PYTHON) $$f || exit 1; done

rpm deb:
	@tools/setup $@
	@tools/package $@

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache
