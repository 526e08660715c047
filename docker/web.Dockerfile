# The site. Two images: `web`, which runs the site, workers and the schedule, and `trainer`, a worker that can also train
# FAQ models. Built by docker/build.sh; PYTHON_IMAGE should name a digest: python:3.11-slim-bookworm@sha256:…
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# Libraries ------------------------------------------------------------------------------------------------------------
# Wheels only: nothing is compiled, so no image needs a compiler, and no package runs code of its own to be installed.

FROM ${PYTHON_IMAGE} AS libraries
RUN python3 -m venv --without-pip /opt/venv
COPY webapp/requirements.txt /requirements/web.txt
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf --mount=type=secret,id=pip_cert,target=/etc/pip.crt \
    --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/venv/bin/python3 install --only-binary :all: --requirement /requirements/web.txt
COPY docker/sbom.py /
RUN python3 /sbom.py scorepod-web /opt/venv > /sbom.cdx.json

FROM libraries AS trainer-libraries
COPY scoring_service/requirements.txt /requirements/scoring.txt
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf --mount=type=secret,id=pip_cert,target=/etc/pip.crt \
    --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/venv/bin/python3 install --only-binary :all: \
    --requirement /requirements/web.txt --requirement /requirements/scoring.txt
RUN python3 /sbom.py scorepod-trainer /opt/venv > /sbom.cdx.json

# The program ----------------------------------------------------------------------------------------------------------
# Of the scoring service the site gets the contract alone: an import that crosses the line fails at once.

FROM libraries AS site
WORKDIR /app
COPY manage.py ./
COPY docs docs
COPY frontend frontend
COPY webapp webapp
COPY scoring_service/__init__.py scoring_service/contract.py scoring_service/
# Compiled now, for the file system is read-only later. The two words keep the settings content; nothing is signed here.
RUN /opt/venv/bin/python3 -m compileall -q --invalidation-mode unchecked-hash . \
    && SECRET_KEY=unused API_KEY_HMAC_SECRET=unused STATIC_ROOT=/app/static \
    /opt/venv/bin/python3 -B manage.py collectstatic --no-input

FROM site AS trainer-site
COPY scoring_service scoring_service
RUN /opt/venv/bin/python3 -m compileall -q --invalidation-mode unchecked-hash scoring_service

# What runs ------------------------------------------------------------------------------------------------------------

FROM ${PYTHON_IMAGE} AS runtime
# The folders belong to the user, so that a volume that is new takes this over.
RUN groupadd --gid 10001 scorepod \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin scorepod \
    && install -d -o 10001 -g 10001 /srv/models /srv/batches /srv/tmp
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DJANGO_SETTINGS_MODULE=webapp.settings \
    STATIC_ROOT=/app/static \
    VAR_DIR=/srv \
    MODEL_STORE=/srv/models \
    BATCH_DIR=/srv/batches \
    TMPDIR=/srv/tmp \
    WEB_BIND=0.0.0.0:8000
WORKDIR /app
USER 10001:10001

FROM runtime AS trainer
COPY --from=trainer-libraries /opt/venv /opt/venv
COPY --from=trainer-libraries /sbom.cdx.json /app/sbom.cdx.json
COPY --from=trainer-site /app /app
ENV METRICS_BIND=0.0.0.0:9100
EXPOSE 9100
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9100/metrics', timeout=4)"]
CMD ["celery", "--quiet", "--app", "webapp.celery", "worker", "--without-gossip", "--without-mingle", "--without-heartbeat", "--queues", "training"]
ARG VERSION=dev
ARG REVISION=unknown
ARG BASE_NAME=python:3.11-slim-bookworm
ARG BASE_DIGEST=unknown
LABEL org.opencontainers.image.title="Scorepod trainer" \
    org.opencontainers.image.description="A worker of the site that can also train FAQ models." \
    org.opencontainers.image.version=$VERSION \
    org.opencontainers.image.revision=$REVISION \
    org.opencontainers.image.base.name=$BASE_NAME \
    org.opencontainers.image.base.digest=$BASE_DIGEST

FROM runtime AS web
COPY --from=libraries /opt/venv /opt/venv
COPY --from=libraries /sbom.cdx.json /app/sbom.cdx.json
COPY --from=site /app /app
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/ready', timeout=4)"]
CMD ["gunicorn", "--config", "webapp/gunicorn_conf.py"]
ARG VERSION=dev
ARG REVISION=unknown
ARG BASE_NAME=python:3.11-slim-bookworm
ARG BASE_DIGEST=unknown
LABEL org.opencontainers.image.title="Scorepod site" \
    org.opencontainers.image.description="The site, its workers and its schedule." \
    org.opencontainers.image.version=$VERSION \
    org.opencontainers.image.revision=$REVISION \
    org.opencontainers.image.base.name=$BASE_NAME \
    org.opencontainers.image.base.digest=$BASE_DIGEST
