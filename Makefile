VENV ?= .venv
export PATH := $(abspath $(VENV)/bin):$(PATH)

# One file of tests stays on one worker, since its tests share their hosts; quick tiers first.
PYTEST := pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: test lint unit demo clean servers venv
.NOTPARALLEL:

test: venv servers lint
	@$(PYTEST) $(ARGS)

lint: venv
	ruff check .
	ruff format --check .
	pyright
	lint-imports

unit: venv
	@pytest $(wildcard tests/unit tests/properties) $(ARGS)

demo: venv
	@tools/demo

venv: $(VENV)/installed

$(VENV)/installed: pyproject.toml tools/make-venv
	@tools/make-venv $(VENV)
	@touch $@

servers:
	@tools/install-test-servers

clean:
	[ ! -d demo ] || $(VENV)/bin/replctl lab down --dir demo
	rm -rf $(VENV) build dist demo .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
