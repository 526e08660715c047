#!/usr/bin/env bash
# Runs the whole stack on this machine with `docker compose` or podman-compose, whichever is there.
#
#   docker/compose.sh up         make up the secrets that are missing, build the images that are missing, start, wait
#   docker/compose.sh secrets    only the secrets
#   docker/compose.sh rotate SECRET…  new ones, and a restart of whom they concern: secret_key, scoring_token,
#                                webhook_keys, postgres_password, redis_password, api_key_hmac_secret (ends all API keys)
#   docker/compose.sh backup FOLDER   database, models, batches and secrets, into a folder that is new
#   docker/compose.sh restore FOLDER  those, into a stack that has nothing yet; then start
#   docker/compose.sh get SERVICE PATH  what a container says of itself: get scoring-cpu /v2/pod, get worker /metrics
#   docker/compose.sh COMMAND…   any other command of compose: ps, logs --follow web, down, down --volumes
#
# Environment, or lines NAME=value in the file site.env in the folder of the secrets:
#   IMAGE_MODELS on or off: the pod for images with PyTorch, about 6 GB    (on)
#   COMPOSE_GPU  on or off: give that pod this machine's NVIDIA GPU        (off)
#   MONITORING   on or off: Prometheus with the alerts, on port 9090       (off)
#   SECRETS      the folder of the secrets                                 (var/compose)
#   PORT, BIND   where the site listens                                    (8000, 127.0.0.1)
#   PUBLIC_URL   the address people use                                    (http://127.0.0.1:$PORT)
#   REGISTRY, TAG, PYTHON_IMAGE                                            as in docker/build.sh
#   COMPOSE      the program                                               (the one that works)
set -euo pipefail
cd "$(dirname "$0")/.."

SECRETS=$(realpath -m "${SECRETS:-var/compose}")
settings=$SECRETS/site.env
[ "${1:-}" != restore ] || settings=${2:-}/secrets/site.env
if [ -e "$settings" ]; then
  while IFS= read -r line; do
    name=${line%%=*}
    [[ ! $line =~ ^[A-Z][A-Z0-9_]*= || -v $name ]] || export "${line?}"
  done <"$settings"
fi
REGISTRY=${REGISTRY:-localhost}
TAG=${TAG:-dev}
PORT=${PORT:-8000}
PUBLIC_URL=${PUBLIC_URL:-http://127.0.0.1:$PORT}
READY_WITHIN=${READY_WITHIN:-300} # seconds
export SECRETS REGISTRY TAG PORT PUBLIC_URL

fail() {
  echo "compose.sh: $*" >&2
  exit 1
}

# Secrets --------------------------------------------------------------------------------------------------------------

random() {
  head -c "${1:-36}" /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'
}

# keep NAME VALUE: writes the secret, unless there is one.
keep() {
  [ -e "$SECRETS/$1" ] || replace "$1" "$2"
}

# The folder keeps others out; in a container the file is another user's, so everybody who got so far may read it.
replace() {
  printf '%s\n' "$2" >"$SECRETS/$1.new"
  chmod 0444 "$SECRETS/$1.new"
  mv "$SECRETS/$1.new" "$SECRETS/$1"
}

make_secrets() {
  local name redis_password
  mkdir -p "$SECRETS"
  chmod 0700 "$SECRETS"
  for name in secret_key api_key_hmac_secret webhook_keys scoring_token postgres_password; do keep "$name" "$(random)"; done
  for name in demo_password admin_password; do keep "$name" "$(random 12)"; done
  keep email_url console:
  keep database_url "postgres://scorepod:$(cat "$SECRETS/postgres_password")@postgres/scorepod"
  keep redis_conf "requirepass $(random)"
  redis_password=$(sed -n 's/^requirepass //p' "$SECRETS/redis_conf")
  keep redis_url "redis://:$redis_password@redis:6379/0"
}

# rotate SECRET…: restarts come last, all at once, so that both sides of a secret change together.
rotate() {
  local name new concerned=() site=(web worker trainer beat) pods=(scoring-cpu)
  [ $# -gt 0 ] || fail "name the secrets"
  [ "${IMAGE_MODELS:-on}" = off ] || pods+=(scoring-gpu)
  for name in "$@"; do
    case $name in
      secret_key | api_key_hmac_secret | scoring_token) replace "$name" "$(random)" ;;
      # The first encrypts, each may decrypt.
      webhook_keys) replace "$name" "$(random),$(cut -d, -f1-3 "$SECRETS/$name")" ;;
      postgres_password)
        new=$(random)
        printf "ALTER ROLE scorepod PASSWORD '%s';\n" "$new" |
          "${compose[@]}" exec -T postgres psql --quiet --username scorepod --set ON_ERROR_STOP=1
        replace "$name" "$new"
        rm -f "$SECRETS/database_url"
        ;;
      redis_password) rm -f "$SECRETS/redis_conf" "$SECRETS/redis_url" ;;
      *) fail "there is no secret '$name' to rotate" ;;
    esac
    case $name in
      redis_password) concerned+=(redis) ;;
      scoring_token) concerned+=("${pods[@]}") ;;
    esac
  done
  make_secrets
  mapfile -t concerned < <(printf '%s\n' "${concerned[@]}" "${site[@]}" | sort -u | sed '/^$/d')
  "${compose[@]}" restart "${concerned[@]}"
  wait_ready
}

# Backup ---------------------------------------------------------------------------------------------------------------

# The database comes first: files that it names are there before it names them.
backup() {
  local folder=${1:-}
  [ -n "$folder" ] || fail "name the folder of the backup"
  [ ! -e "$folder" ] || fail "$folder is there already; name a new folder"
  (umask 077 && mkdir -p "$folder.part/secrets")
  "${compose[@]}" exec -T postgres pg_dump --username scorepod --no-owner scorepod >"$folder.part/database.sql"
  tail -n 5 "$folder.part/database.sql" | grep -q 'dump complete' || fail "the dump of the database was cut off"
  # 1: a file changed meanwhile, as those of a batch that runs do; what is missing of it is scored again.
  "${compose[@]}" exec -T web sh -c 'tar --create --directory /srv models batches || [ $? = 1 ]' >"$folder.part/files.tar"
  tar --list --file "$folder.part/files.tar" >/dev/null || fail "the copy of the files was cut off"
  cp "$SECRETS"/* "$folder.part/secrets/"
  mv "$folder.part" "$folder"
  echo "Saved in $folder. It holds all secrets: keep it as you keep those."
}

restore() {
  local folder=${1:-} within=$((SECONDS + 60))
  if [ ! -e "$folder/database.sql" ] || [ ! -e "$folder/files.tar" ]; then
    fail "'$folder' is no folder that backup has made"
  fi
  [ ! -e "$SECRETS/secret_key" ] || fail "$SECRETS has secrets already. To give up what is there: \
docker/compose.sh down --volumes, then remove $SECRETS"
  mkdir -p "$SECRETS"
  chmod 0700 "$SECRETS"
  cp "$folder"/secrets/* "$SECRETS/"
  chmod 0444 "$SECRETS"/*
  build_missing
  "${compose[@]}" up --detach --no-build --no-deps postgres
  until "${compose[@]}" exec -T postgres pg_isready --quiet --host 127.0.0.1 --username scorepod; do
    [ $SECONDS -lt $within ] || fail "the database does not answer; docker/compose.sh logs postgres says why"
    sleep 1
  done
  "${compose[@]}" exec -T postgres psql --quiet --username scorepod --set ON_ERROR_STOP=1 --single-transaction scorepod \
    <"$folder/database.sql" >/dev/null || fail "the database was not restored; is it empty?"
  "${compose[@]}" run --rm --no-deps -T migrate tar --extract --no-overwrite-dir --directory /srv <"$folder/files.tar"
  up
}

# Compose --------------------------------------------------------------------------------------------------------------

choose_compose() {
  if [ -n "${COMPOSE:-}" ]; then
    read -ra compose <<<"$COMPOSE"
  elif docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1; then
    compose=(docker compose)
  elif command -v podman-compose >/dev/null; then
    compose=(podman-compose)
  else
    fail "neither docker compose nor podman-compose works here. On Debian: apt-get install podman, then pip install podman-compose"
  fi
  case ${compose[0]} in docker) engine=docker ;; *) engine=podman ;; esac
  compose+=(--file docker/compose.yaml)
  [ "${COMPOSE_GPU:-off}" = off ] || compose+=(--file docker/compose.gpu.yaml)
  [ "${IMAGE_MODELS:-on}" = off ] || compose+=(--profile images)
  [ "${MONITORING:-off}" = off ] || compose+=(--profile monitoring)
}

# What a container says of itself at this path. Pods listen on 8001, the others for Prometheus on 9100.
ask_for() {
  local port=9100
  [ $# = 2 ] || fail "name a service and a path: get scoring-cpu /v2/health/ready"
  case $1 in scoring-*) port=8001 ;; esac
  "${compose[@]}" exec -T "$1" python3 -c '
import sys, urllib.error, urllib.request

token = open("/run/secrets/scoring_token").read().strip()
request = urllib.request.Request(sys.argv[1], headers={"Authorization": f"Bearer {token}"})
try:
    answer = urllib.request.urlopen(request, timeout=10)
except urllib.error.HTTPError as error:
    answer = error
print(answer.read().decode().rstrip())' "http://127.0.0.1:$port$2"
}

build_missing() {
  local image missing=() images=(web trainer scoring-cpu)
  [ "${IMAGE_MODELS:-on}" = off ] || images+=(scoring-gpu)
  for image in "${images[@]}"; do
    $engine image inspect "$REGISTRY/scorepod-$image:$TAG" >/dev/null 2>&1 || missing+=("$image")
  done
  [ ${#missing[@]} = 0 ] || BUILDER=${BUILDER:-$([ "$engine" = docker ] && echo docker || echo buildah)} \
    docker/build.sh "${missing[@]}"
}

ready() {
  local status
  exec 3<>"/dev/tcp/${BIND:-127.0.0.1}/$PORT" || return 1
  printf 'GET /health/ready HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' >&3
  read -r -t 5 _ status _ <&3 && [ "$status" = 200 ]
}

# Under podman a container that requires another is not started again once that one has ended, as migrate does. So there
# the order is kept here, and nothing requires anything.
start() {
  local rest
  if [ "$engine" = docker ]; then
    "${compose[@]}" up --detach --no-build || fail "not everything has started; docker/compose.sh logs migrate may say why"
    return
  fi
  "${compose[@]}" up --detach --no-build --no-deps postgres redis
  "${compose[@]}" up --no-build --no-deps --exit-code-from migrate migrate ||
    fail "the database could not be brought up to date; the lines above say why"
  mapfile -t rest < <("${compose[@]}" config --services | grep -vx migrate)
  "${compose[@]}" up --detach --no-build --no-deps "${rest[@]}"
}

wait_ready() {
  local within=$((SECONDS + READY_WITHIN))
  until (ready) 2>/dev/null; do
    [ $SECONDS -lt $within ] || fail "not ready after $READY_WITHIN s; docker/compose.sh logs web migrate says why"
    sleep 1
  done
}

up() {
  make_secrets
  build_missing
  start
  wait_ready
  cat <<SAID

  Scorepod runs at  $PUBLIC_URL
  Demo user         demo@example.com   $SECRETS/demo_password holds the password
  Admin user        admin@example.com  $SECRETS/admin_password holds the password   ($PUBLIC_URL/admin/)
  The sample models are trained at the first start, which takes a minute more. \`make down\` stops everything.

SAID
}

case ${1:-} in
  '' | -h | --help) sed -n '2,/^set /p' "$0" | sed '$d; s/^# \{0,1\}//' ;;
  secrets) make_secrets ;;
  rotate) shift && choose_compose && rotate "$@" ;;
  backup) shift && choose_compose && backup "$@" ;;
  restore) shift && choose_compose && restore "$@" ;;
  up)
    [ $# = 1 ] || fail "up starts everything and takes no more words"
    choose_compose && up
    ;;
  get) shift && choose_compose && ask_for "$@" ;;
  *) choose_compose && "${compose[@]}" "$@" ;;
esac
