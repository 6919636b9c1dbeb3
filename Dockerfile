# The service: web server, worker and manage.py in one image. Postgres and the bucket are elsewhere.
ARG PYTHON_IMAGE=python:3.14-slim
ARG UV_IMAGE=ghcr.io/astral-sh/uv:0.13.8

FROM ${UV_IMAGE} AS uv

FROM ${PYTHON_IMAGE} AS build
COPY --from=uv /uv /usr/local/bin/
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PROJECT_ENVIRONMENT=/venv UV_PYTHON_DOWNLOADS=never
WORKDIR /app
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-cache --no-default-groups
COPY . .
# The settings want to know where everything is; making static files reaches none of it.
RUN DATABASE_URL=postgres://build S3_ENDPOINT_URL=http://build SECRET_KEY=build \
    S3_ACCESS_KEY_ID=build S3_SECRET_ACCESS_KEY=build \
    S3_UPLOAD_ACCESS_KEY_ID=build S3_UPLOAD_SECRET_ACCESS_KEY=build \
    /venv/bin/python manage.py collectstatic --no-input --verbosity 0 \
 && /venv/bin/python -m compileall -q manage.py media_api project web \
 && chmod -R a+rX .

FROM ${PYTHON_IMAGE}
# docker-compose.yml gives the secrets to this number.
RUN groupadd --gid 10001 shoebox \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin shoebox
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOST=0.0.0.0 PORT=8000
WORKDIR /app
COPY --from=build /venv /venv
COPY --from=build /app /app
USER 10001:10001
EXPOSE 8000
CMD ["python", "manage.py", "granian"]
