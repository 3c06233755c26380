VENV ?= .venv
export PATH := $(abspath $(VENV)/bin):$(PATH)

# One file of tests stays on one worker, since its tests share what they look at; quick tiers first. Three workers keep
# two cores busy: the tests of the real tier wait half of their time.
PYTEST := pytest -n 3 --dist loadfile --no-loadscope-reorder

# The tests whose screens the gallery shows.
GALLERY := tests/real/test_status_states.py tests/real/test_status_findings.py tests/real/test_check_ten_ways.py \
	tests/real/test_failover.py::test_of_a_host_that_lost_its_power \
	tests/real/test_services_hosts.py::test_servers_that_somebody_started_by_hand

BENCHES := switchover failover add-replica init-primary status growth start-up planner router-overhead router-throughput

.PHONY: test lint unit faults mutants gallery demo demo-app clean servers venv
.PHONY: bench $(BENCHES:%=bench-%) bench-plot bench-docs
.PHONY: bench-add-replica bench-init-primary bench-failover
.PHONY: bench-status bench-growth
.NOTPARALLEL:

test: venv servers lint
	@$(PYTEST) -m "not slow" $(ARGS)

lint: venv
	ruff check .
	ruff format --check .
	pyright
	lint-imports
	pyright -p examples

unit: venv
	@pytest $(wildcard tests/unit tests/properties) $(ARGS)

# Every fault of the catalogue, those that take long too; what it found stands in docs/faults.md.
faults: venv servers
	@mkdir -p build
	@$(PYTEST) -m "fault or slow" --junitxml=build/faults.xml $(ARGS); code=$$?; tools/faults-doc build/faults.xml; exit $$code

# Takes one safety check after the other out of a copy of the code; a quick test has to notice. See docs/mutants.md.
mutants: venv servers
	@tools/mutants docs/mutants.md && tools/faults-doc

# What `status` shows of every state and finding and `check` of what is broken, as text and as pictures: build/gallery.
gallery: venv servers
	@rm -rf build/gallery
	@REPLCTL_GALLERY=$(CURDIR)/build/gallery $(PYTEST) $(GALLERY) -k "not 18" $(ARGS)
	@echo build/gallery/index.html

demo: venv
	@tools/demo

# The application of examples/chat under load, and a switchover; ARGS='--seconds 1' shortens it.
demo-app: venv
	@tools/demo-app $(ARGS)

# Against a reference in the same run; each writes its rows into bench/results.md. See bench/README.md.
bench: $(BENCHES:%=bench-%) bench-plot bench-docs

$(BENCHES:%=bench-%): bench-%: venv servers
	@python -m bench.$(subst -,_,$*) $(ARGS)

# What bench/growth.json has, into docs/performance-growth.svg and .png.
bench-plot: venv
	@pip install --quiet --disable-pip-version-check --editable '.[bench]' && python -m bench.growth_plot $(ARGS)

# What bench/results.md has, into the tables of docs/.
bench-docs: venv
	@python -m bench.publish

venv: $(VENV)/installed

$(VENV)/installed: pyproject.toml tools/make-venv
	@tools/make-venv $(VENV)
	@touch $@

servers:
	@tools/install-test-servers

clean:
	for lab in demo demo-app build/bench; do [ ! -d $$lab ] || $(VENV)/bin/replctl lab down --dir $$lab || exit 1; done
	rm -rf $(VENV) build dist demo demo-app .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
