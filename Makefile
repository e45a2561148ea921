# Thin names for start.py, which does the same on Windows: py start.py lab
PYTHON ?= $(shell command -v python3 || command -v python)
N ?=

.PHONY: lab test quick reset lock lessons bench
lab:      ## set up if need be, open JupyterLab; options: make lab ARGS="--port 8890 --no-browser"
	@$(PYTHON) start.py lab $(ARGS)
test:     ## set up if need be, then every test with the time of each part
	@$(PYTHON) start.py test
quick:    ## the checks for every commit
	@$(PYTHON) start.py quick
reset:    ## a fresh copy of one lesson, your version kept: make reset N=01
	@$(PYTHON) start.py reset $(N)
lock:     ## renew the lock and the environment files
	@$(PYTHON) start.py lock
lessons:  ## solutions/*.py -> executed solutions/*.ipynb -> lessons/; some only: make lessons N="01 primer"
	@$(PYTHON) start.py run tools/lessons.py build $(N)
bench:    ## the benchmarks of tests/benchmarks
	@for file in tests/benchmarks/*.py; do echo "== $$file"; $(PYTHON) start.py run $$file || exit 1; done
