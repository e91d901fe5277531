# envfreeze itself as an image: its command line, Python, and nothing to build with.
#
#   git archive HEAD | docker build --tag envfreeze -
#   docker run --rm envfreeze --help
#
# BASE is any Debian or Ubuntu whose Python is 3.10 or later; name your own mirror's, by digest,
# where builds have to repeat: --build-arg BASE=mirror.example/debian@sha256:...

ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv
COPY pyproject.toml README.md LICENSE /src/
COPY templates /src/templates
COPY envfreeze /src/envfreeze
# PIP_INDEX_URL and its like may be given as build arguments: pip reads them from the environment.
ARG PIP_INDEX_URL
ARG PIP_CERT
RUN /usr/bin/python3 -m venv /opt/envfreeze \
    && /opt/envfreeze/bin/pip install --no-cache-dir --disable-pip-version-check /src \
    && /opt/envfreeze/bin/pip uninstall --yes --quiet pip setuptools

FROM ${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/envfreeze /opt/envfreeze
# Any user may run it (docker run --user "$(id -u):$(id -g)"): the cache is open to all, and
# nothing is expected of a home directory.
RUN mkdir -m 1777 /var/cache/envfreeze /locks
ENV PATH=/opt/envfreeze/bin:$PATH \
    ENVFREEZE_CACHE_DIR=/var/cache/envfreeze \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /locks
ENTRYPOINT ["envfreeze"]
CMD ["--help"]
LABEL org.opencontainers.image.title="envfreeze" \
      org.opencontainers.image.description="Capture a Python environment, rebuild it exactly, prove it" \
      org.opencontainers.image.licenses="Apache-2.0"
