# make train   set up .venv and train on the embedded data set
# make test    set up .venv, with the libraries we compare with, and run the tests
# make lint    ruff and mypy
# make gpu     the tests that need a GPU and the kernels' resources, with this environment's own python (PYTHON=...)

PYTHON ?= python3.11
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet --constraint constraints.txt
# Without their requirements, which would bring torchvision and another torch; loguru and pbr are what they import.
PEERS := spikingjelly norse sinabs nir nirtorch loguru pbr

.PHONY: train test lint gpu clean

train: .venv/ready
	$(BIN)/spiking train digits

test: .venv/peers
	$(BIN)/pytest -m "not interpreter"
	TRITON_INTERPRET=1 $(BIN)/pytest -m interpreter tests/kernels

lint: .venv/ready
	$(BIN)/ruff check .
	@report=$$($(BIN)/mypy -p spiking) || { echo "$$report"; exit 1; }; echo "$$report"; \
	seen=$$(echo "$$report" | sed -n 's/.* in \([0-9]*\) source files*$$/\1/p'); \
	kept=$$(git ls-files 'spiking/*.py' 'kernels/*.py' 'plasticity/*.py' 'datasets/*.py' | wc -l); \
	if [ "$$seen" -lt "$$kept" ]; then echo "mypy saw $$seen files, git lists $$kept"; exit 1; fi

gpu:
	$(PYTHON) -m pip show spiking-torch > /dev/null || $(PYTHON) -m pip install --no-deps --no-build-isolation --editable .
	pytest -m gpu tests/kernels tests/spiking/test_gpu.py
	$(PYTHON) benchmarks/compile_report.py

.venv/ready: setup.cfg pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON): not found; give another with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) --editable '.[dev,llm]'
	touch $@

.venv/peers: .venv/ready
	$(PIP) --no-deps $(PEERS)
	$(PIP) nest-simulator
	touch $@

clean:
	rm -rf .venv build *.egg-info
