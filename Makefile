VENV ?= .venv
export PATH := $(abspath $(VENV)/bin):$(PATH)

# One file of tests stays on one worker, since its tests share what they look at; quick tiers first. Three workers keep
# two cores busy: the tests of the real tier wait half of their time.
PYTEST := pytest -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: test lint unit faults mutants demo clean servers venv
.NOTPARALLEL:

test: venv servers lint
	@$(PYTEST) -m "not slow" $(ARGS)

lint: venv
	ruff check .
	ruff format --check .
	pyright
	lint-imports

unit: venv
	@pytest $(wildcard tests/unit tests/properties) $(ARGS)

# Every fault of the catalogue, those that take long too; what it found stands in docs/faults.md.
faults: venv servers
	@mkdir -p build
	@$(PYTEST) -m "fault or slow" --junitxml=build/faults.xml $(ARGS); code=$$?; tools/faults-doc build/faults.xml; exit $$code

# Takes one safety check after the other out of a copy of the code; a quick test has to notice. See docs/mutants.md.
mutants: venv servers
	@tools/mutants docs/mutants.md && tools/faults-doc

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
