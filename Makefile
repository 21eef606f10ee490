# Everything on a fresh machine with Python 3.11+ and make:
#   make quickstart [DATA=FOLDER] [OUT=FOLDER]   pretrain both stages, probe, show where pictures are
#   make test                                    the whole test suite
#   make readme                                  tables and pictures of the pages, from kept records
#   make docs [DOCS=FOLDER]                      the API reference, from the docstrings
PYTHON ?= python3
VENV   ?= .venv
OUT    ?= runs/quickstart
DOCS   ?= build/docs
BIN    := $(VENV)/bin

# Rendered clips, or real faces from the folder DATA. Probes learn expressions from MAX_TRAIN real
# images, and everything from PROBE_FACES rendered ones.
DATA           ?=
MOTION_STEPS   ?= 300
IDENTITY_STEPS ?= 100
PROBE_FACES    ?= 3000
MAX_TRAIN      ?= 3000
TASKS          ?= expression,pose,identity
FIT_DATA       := $(if $(DATA),--data.root "$(DATA)",-c configs/data/rendered.yaml)
PROBE_DATA     := $(if $(DATA),--data "$(DATA)" --or-rendered --max-train $(MAX_TRAIN),--data rendered:$(PROBE_FACES))

.PHONY: quickstart test test-slow readme docs check format clean

quickstart: $(VENV)/installed
	$(BIN)/ssl-faces fit -c configs/method/facecycle_motion_small.yaml $(FIT_DATA) \
	    --out "$(OUT)/motion" --probe_every 0 \
	    --trainer.max_steps $(MOTION_STEPS) --ckpt_path last
	$(BIN)/ssl-faces fit -c configs/method/facecycle_identity_small.yaml $(FIT_DATA) \
	    --out "$(OUT)/identity" --probe_every 0 \
	    --model.motion_checkpoint "$(OUT)/motion/checkpoints/last.ckpt" \
	    --trainer.max_steps $(IDENTITY_STEPS) --ckpt_path last
	$(BIN)/linear-probe run --encoder "$(OUT)/identity" --out "$(OUT)/probe" $(PROBE_DATA) \
	    --task $(TASKS) --features expression_map,identity \
	    --baselines pixels,HOG,untrained --precision auto --summary
	@echo "Images to look at: $(OUT)/motion/panels and $(OUT)/identity/panels"
	@echo "The encoder, for load_encoder and linear-probe: $(OUT)/identity/encoder"

# A file of tests stays in one process, so that what its tests share is made once. Files in their
# order: long ones of few tests would come last, and one process wait for the other.
test: $(VENV)/installed
	$(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 4 --dist loadfile \
	    --no-loadscope-reorder

test-slow: $(VENV)/installed
	$(BIN)/python -m pytest -m slow

readme: $(VENV)/installed
	$(BIN)/linear-probe readme

docs: $(VENV)/installed
	$(BIN)/python -m ssl_faces.common.reference "$(DOCS)"

check: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
	    sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, {v[0]}.{v[1]} found: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
