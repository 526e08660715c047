# The scoring pods. Targets: `cpu` (FAQ models), `gpu` (image models; runs on a CPU too), and `with-model`: one of the
# two, POOL says which, with a packed model baked in. Built by docker/build.sh; PYTHON_IMAGE should name a digest.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG POOL=cpu

# Libraries ------------------------------------------------------------------------------------------------------------
# Wheels only: nothing is compiled, so no image needs a compiler, and no package runs code of its own to be installed.

FROM ${PYTHON_IMAGE} AS cpu-libraries
RUN python3 -m venv --without-pip /opt/venv
COPY scoring_service/requirements.txt /requirements/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf --mount=type=secret,id=pip_cert,target=/etc/pip.crt \
    --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/venv/bin/python3 install --only-binary :all: --requirement /requirements/requirements.txt
COPY docker/sbom.py /
RUN python3 /sbom.py scorepod-scoring-cpu /opt/venv > /sbom.cdx.json

FROM ${PYTHON_IMAGE} AS program
WORKDIR /app
COPY scoring_service scoring_service
# Compiled now, for the file system is read-only later.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash .

# What runs ------------------------------------------------------------------------------------------------------------

FROM ${PYTHON_IMAGE} AS runtime
# The folder belongs to the user, so that a volume that is new takes this over.
RUN groupadd --gid 10001 scorepod \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin scorepod \
    && install -d -o 10001 -g 10001 /srv/models
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MODEL_STORE=/srv/models \
    SCORING_HOST=0.0.0.0 \
    SCORING_PORT=8001
WORKDIR /app
USER 10001:10001
EXPOSE 8001
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['SCORING_PORT'] + '/v2/health/ready', timeout=4)"]
CMD ["python3", "-m", "scoring_service", "serve"]

FROM runtime AS cpu
COPY --from=cpu-libraries /opt/venv /opt/venv
COPY --from=cpu-libraries /sbom.cdx.json /app/sbom.cdx.json
COPY --from=program /app /app
ENV SCORING_POOL=cpu
ARG VERSION=dev
ARG REVISION=unknown
ARG BASE_NAME=python:3.11-slim-bookworm
ARG BASE_DIGEST=unknown
LABEL org.opencontainers.image.title="Scorepod scoring pod" \
    org.opencontainers.image.description="Serves FAQ models on a CPU over the Open Inference Protocol." \
    org.opencontainers.image.version=$VERSION \
    org.opencontainers.image.revision=$REVISION \
    org.opencontainers.image.base.name=$BASE_NAME \
    org.opencontainers.image.base.digest=$BASE_DIGEST

FROM cpu-libraries AS gpu-libraries
COPY scoring_service/requirements-gpu.txt /requirements/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf --mount=type=secret,id=pip_cert,target=/etc/pip.crt \
    --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/venv/bin/python3 install --only-binary :all: \
    --requirement /requirements/requirements.txt --requirement /requirements/requirements-gpu.txt
RUN python3 /sbom.py scorepod-scoring-gpu /opt/venv > /sbom.cdx.json

FROM runtime AS gpu
COPY --from=gpu-libraries /opt/venv /opt/venv
COPY --from=gpu-libraries /sbom.cdx.json /app/sbom.cdx.json
COPY --from=program /app /app
# The last two tell NVIDIA's container runtime which parts of the driver to bring in.
ENV SCORING_POOL=gpu \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
ARG VERSION=dev
ARG REVISION=unknown
ARG BASE_NAME=python:3.11-slim-bookworm
ARG BASE_DIGEST=unknown
LABEL org.opencontainers.image.title="Scorepod scoring pod" \
    org.opencontainers.image.description="Serves image models on a GPU, or a CPU, over the Open Inference Protocol." \
    org.opencontainers.image.version=$VERSION \
    org.opencontainers.image.revision=$REVISION \
    org.opencontainers.image.base.name=$BASE_NAME \
    org.opencontainers.image.base.digest=$BASE_DIGEST

# `model` is a build context: the folder that `python -m scoring_service pack` wrote.
FROM ${POOL} AS with-model
# hadolint ignore=DL3022  # not a stage, and meant so
COPY --from=model . /srv/models
LABEL org.opencontainers.image.description="Serves the models baked in over the Open Inference Protocol."
