#!/usr/bin/env bash
# Builds the images with docker or buildah, whichever is there.
#
#   docker/build.sh [IMAGE…]             web, trainer, scoring-cpu, scoring-gpu; without a name, all four
#   docker/build.sh with-model FOLDER    the pod with the models in FOLDER, which `python -m scoring_service pack` wrote
#   docker/build.sh base                 only the base image: fetched, or made where no registry can be reached
#
# Environment:
#   REGISTRY      what the images' names begin with          (localhost)
#   TAG           their tag                                  (dev)
#   PYTHON_IMAGE  the base image; with @sha256:… it is always the same one
#                                                            (python:3.11-slim-bookworm)
#   POOL          of with-model: cpu or gpu                  (cpu)
#   BUILDER       docker or buildah                          (the one that works)
#
# Each image gets the digest of the base that it was built on as its label org.opencontainers.image.base.digest. Where no
# registry can be reached, the base is made of Debian's packages with debootstrap; such images are for trying out.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/sbin # debootstrap

REGISTRY=${REGISTRY:-localhost}
TAG=${TAG:-dev}
PYTHON_IMAGE=${PYTHON_IMAGE:-python:3.11-slim-bookworm}
POOL=${POOL:-cpu}
FALLBACK=localhost/scorepod-base:bookworm
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
  echo "build.sh: $*" >&2
  exit 1
}

choose_builder() {
  if [ -n "${BUILDER:-}" ]; then
    case $BUILDER in docker | buildah) return ;; esac
    fail "BUILDER must be docker or buildah, not '$BUILDER'"
  elif docker info >/dev/null 2>&1; then
    BUILDER=docker
  elif command -v buildah >/dev/null; then
    BUILDER=buildah
  else
    fail "neither docker nor buildah works here. On Debian: apt-get install buildah"
  fi
}

# The base -------------------------------------------------------------------------------------------------------------

# Sets `base` and `base_digest`.
find_base() {
  base=$PYTHON_IMAGE
  if has_image "$PYTHON_IMAGE" || fetch "$PYTHON_IMAGE"; then
    base_digest=$(digest_of "$PYTHON_IMAGE")
  elif has_image "$FALLBACK"; then
    base=$FALLBACK base_digest=none
  else
    case $PYTHON_IMAGE in *@sha256:*) fail "the base $PYTHON_IMAGE cannot be fetched" ;; esac
    echo "build.sh: $PYTHON_IMAGE cannot be fetched; making a base of Debian's packages instead" >&2
    make_base
    base=$FALLBACK base_digest=none
  fi
}

has_image() {
  case $BUILDER in
    docker) docker image inspect "$1" >/dev/null 2>&1 ;;
    buildah) buildah inspect --type image "$(full_name "$1")" >/dev/null 2>&1 ;;
  esac
}

fetch() {
  case $BUILDER in
    docker) docker pull --quiet "$1" ;;
    buildah) timeout 300 buildah pull --quiet "$(full_name "$1")" ;;
  esac >/dev/null 2>"$scratch/fetch.log"
}

# The name as buildah knows it: docker's short names are Docker Hub's.
full_name() {
  case $1 in
    *.*/* | *:*/* | localhost/*) echo "$1" ;;
    */*) echo "docker.io/$1" ;;
    *) echo "docker.io/library/$1" ;;
  esac
}

digest_of() {
  case $BUILDER in
    docker) docker image inspect --format '{{if .RepoDigests}}{{index .RepoDigests 0}}{{else}}none{{end}}' "$1" ;;
    buildah) buildah inspect --type image --format '{{.FromImageDigest}}' "$(full_name "$1")" ;;
  esac | sed 's/.*@//'
}

make_base() {
  local root=$scratch/root mirror
  command -v debootstrap >/dev/null || fail "debootstrap is missing. On Debian: apt-get install debootstrap"
  mirror=$(awk '/^URIs:/ {print $2; exit} /^deb / {for (i = 2; i <= NF; i++) if ($i ~ /^http/) {print $i; exit}}' \
    /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null || true)
  debootstrap --variant=minbase --include=ca-certificates,python3-venv,python3-pip bookworm "$root" \
    "${mirror:-http://deb.debian.org/debian}" >"$scratch/debootstrap.log" || {
    tail -20 "$scratch/debootstrap.log" >&2
    fail "debootstrap failed"
  }
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  tar -C "$root" -cf "$scratch/root.tar" .
  rm -rf "$root"
  cat >"$scratch/Dockerfile" <<'DOCKERFILE'
FROM scratch
ADD root.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
CMD ["python3"]
DOCKERFILE
  build "$FALLBACK" "$scratch/Dockerfile" "$scratch"
  rm "$scratch/root.tar"
}

# Building -------------------------------------------------------------------------------------------------------------

# build TAG DOCKERFILE CONTEXT [OPTION…]
build() {
  local tag=$1 file=$2 context=$3
  shift 3
  case $BUILDER in
    docker) DOCKER_BUILDKIT=1 docker build "$@" --tag "$tag" --file "$file" "$context" ;;
    # The format is docker's, for the other one has no HEALTHCHECK.
    buildah) buildah build --format docker --layers "$@" --tag "$tag" --file "$file" "$context" ;;
  esac
}

# Where this machine has told pip of an index of its own, builds use it as well: as a secret, so that no image keeps it.
# Prints the options, one word a line.
pip_options() {
  command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 || return 0
  python3 - "$scratch/pip.conf" "$BUILDER" <<'PYTHON'
import subprocess
import sys
from pathlib import Path

conf, builder = sys.argv[1:]
CERT = "/etc/pip.crt"  # where builds find the certificates
told = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
values: dict[str, list[str]] = {}
for line in told.splitlines():
    key, _, value = line.partition("=")
    name = key.rsplit(".", 1)[-1]
    if name in {"index-url", "extra-index-url", "find-links", "trusted-host", "cert"}:
        values.setdefault(name, []).extend(word for word in value.strip("'\"").split() if word not in values.get(name, []))
if cert := values.pop("cert", None):
    values["cert"] = [CERT]
    print(f"--secret\nid=pip_cert,src={cert[0]}")
if values:
    Path(conf).write_text("[global]\n" + "".join(f"{name} = {' '.join(words)}\n" for name, words in values.items()))
    print(f"--secret\nid=pip_conf,src={conf}")
paths = {word.removeprefix("file://").removesuffix("/simple") for words in values.values() for word in words}
if builder == "buildah":  # docker builds see no folder of this machine
    for path in sorted(path for path in paths if path.startswith("/") and Path(path).exists()):
        print(f"--volume\n{path}:{path}:ro")
PYTHON
}

# build_target NAME DOCKERFILE TARGET [OPTION…]
build_target() {
  local name=$1 file=$2 target=$3 options
  shift 3
  mapfile -t options < <(pip_options)
  echo "build.sh: $REGISTRY/scorepod-$name:$TAG on $base" >&2
  build "$REGISTRY/scorepod-$name:$TAG" "docker/$file.Dockerfile" . --target "$target" \
    --build-arg "PYTHON_IMAGE=$base" --build-arg "BASE_NAME=$base" --build-arg "BASE_DIGEST=$base_digest" \
    --build-arg "VERSION=$TAG" --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
    "${options[@]}" "$@"
}

build_image() {
  case $1 in
    web | trainer) build_target "$1" web "$1" ;;
    scoring-cpu | scoring-gpu) build_target "$1" scoring "${1#scoring-}" ;;
    *) fail "there is no image '$1'; there are web, trainer, scoring-cpu, scoring-gpu, with-model" ;;
  esac
}

case ${1:-} in
  -h | --help)
    sed -n '2,/^set /p' "$0" | sed '$d; s/^# \{0,1\}//'
    exit
    ;;
esac
choose_builder
case ${1:-} in
  base)
    find_base
    echo "$base"
    ;;
  with-model)
    [ -d "${2:-}" ] || fail "name the folder that \`python -m scoring_service pack\` wrote"
    case $POOL in cpu | gpu) ;; *) fail "POOL must be cpu or gpu, not '$POOL'" ;; esac
    find_base
    build_target scoring-with-model scoring with-model --build-arg "POOL=$POOL" --build-context "model=$2"
    ;;
  *)
    [ $# -gt 0 ] || set -- web trainer scoring-cpu scoring-gpu
    find_base
    for image in "$@"; do build_image "$image"; done
    ;;
esac
