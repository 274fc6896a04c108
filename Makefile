# Every target sets up .venv first (tools/setup.sh), which takes a few minutes once and no time afterwards.
#   make demo [VIDEO=path]   read a video, or a freshly drawn talking head (and its voice), and show words and times
#   make app [ARGS=...]     the web page, on this machine only; ARGS="--port 8000" and so on, see app.py --help
#   make test                the tests but for those in a browser, on the CPU and offline; ARGS='-k mouth' goes to pytest
#   make bench               speed, stage by stage
#   make lint                ruff and mypy
#   make clean               delete what the other targets wrote; .venv, prepared/ and runs/ stay
# PYTHON=/path/to/python3.11 chooses the interpreter that .venv is made with.

PYTHON_IN_VENV = .venv/bin/python

.PHONY: setup demo app test bench lint clean

demo: setup
	@if [ -n "$$VIDEO" ]; then exec $(PYTHON_IN_VENV) -m lipread demo -- "$$VIDEO"; else exec $(PYTHON_IN_VENV) -m lipread demo; fi

app: setup
	@exec $(PYTHON_IN_VENV) app.py $(ARGS)

test: setup
	@$(PYTHON_IN_VENV) -m pytest $(ARGS)

bench: setup
	@$(PYTHON_IN_VENV) -m lipread bench

lint: setup
	@$(PYTHON_IN_VENV) -m ruff check .; ruff=$$?; $(PYTHON_IN_VENV) -m mypy && exit $$ruff

clean:
	rm -rf build dist *.egg-info demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find lipread data tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

setup:
	@sh tools/setup.sh
