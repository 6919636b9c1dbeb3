# Everything runs from .venv, which is made from uv.lock. A machine needs Linux and Python 3.11 or newer;
# uv is taken from the PATH, else from PyPI. Variables: PORT, DATA, HOST, PUBLIC_HOST, e.g. `make run PORT=8001`.

PYTHON ?= python3
BIN := .venv/bin
STATIC := $(shell find web/static -type f)

# What `check --deploy` and the type checker read instead of a deployment.
DEPLOYED := DATABASE_URL=postgres://lint@db/lint S3_ENDPOINT_URL=https://s3.example PUBLIC_URL=https://lint.example TRUSTED_PROXIES=10.0.0.0/8 \
	S3_ACCESS_KEY_ID=lint S3_SECRET_ACCESS_KEY=lint S3_UPLOAD_ACCESS_KEY_ID=lint-upload S3_UPLOAD_SECRET_ACCESS_KEY=lint \
	SECRET_KEY=lint-$$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')

.PHONY: run test lint bench chaos
.NOTPARALLEL:

run: .venv/.with-embedded staticfiles/staticfiles.json
	@exec $(BIN)/python manage.py serve

test: .venv/.with-test staticfiles/staticfiles.json
	@rm -f .coverage*
	@$(BIN)/coverage run -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage html --quiet
	@$(BIN)/coverage xml --quiet
	$(BIN)/coverage report --fail-under=90

lint: .venv/.with-lint
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(DEPLOYED) $(BIN)/mypy
	$(DEPLOYED) $(BIN)/python -W ignore manage.py makemigrations --check
	$(DEPLOYED) $(BIN)/python manage.py check --deploy --fail-level WARNING

bench: .venv/.with-test staticfiles/staticfiles.json bench/.peers/.installed
	@$(BIN)/python -m bench $(NAMES)

# MINUTES=20 STORE=rclone SEED=..., or ROUND=SEED/3 to see one round again.
chaos: .venv/.with-test staticfiles/staticfiles.json
	@$(BIN)/python -m tests.chaos $(if $(MINUTES),--minutes $(MINUTES)) $(if $(STORE),--store $(STORE)) \
		$(if $(SEED),--seed $(SEED)) $(if $(ROUND),--round $(ROUND))

.venv/.with-embedded: GROUPS := --group embedded
.venv/.with-test: GROUPS := --group embedded --group test
.venv/.with-lint: GROUPS := --group embedded --group test --group lint

.venv/.with-%: pyproject.toml uv.lock
	@uv=uv; uv --version > /dev/null 2>&1 || uv=$(BIN)/uv; \
	test $$uv = uv || test -x $$uv || { \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
			{ echo "Shoebox needs Python 3.11 or newer: make PYTHON=/path/to/python3"; exit 1; }; \
		$(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; \
	} && $$uv sync --frozen --inexact --quiet --compile-bytecode $(GROUPS)
	@touch $@

# What the measurements stand beside, in an environment of its own.
bench/.peers/.installed: bench/peers/requirements.txt bench/peers/package.json bench/peers/package-lock.json
	@$(PYTHON) -m venv bench/.peers
	@bench/.peers/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@cp bench/peers/package.json bench/peers/package-lock.json bench/.peers
	@npm ci --prefix bench/.peers --silent --no-audit --no-fund
	@touch $@

staticfiles/staticfiles.json: uv.lock $(STATIC)
	@$(BIN)/python manage.py collectstatic --no-input --verbosity 0
	@touch $@
