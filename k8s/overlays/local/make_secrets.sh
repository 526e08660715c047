#!/usr/bin/env bash
# Makes up the secrets of a laptop's cluster, once, in the folder secrets/ beside this file. What is there is kept.
set -euo pipefail
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
cd secrets

random() { head -c 36 /dev/urandom | base64 | tr -d '/+=\n'; }
once() { [ -s "$1" ] || cat >"$1"; } # once FILE <text

once password <<<"$(random)"
once redis-password <<<"$(random)"
once token <<<"$(random)"
printf 'requirepass %s\n' "$(cat redis-password)" >auth.conf
once site.env <<EOF
SECRET_KEY=$(random)
API_KEY_HMAC_SECRET=$(random)
WEBHOOK_KEYS=$(random)
SCORING_TOKEN=$(cat token)
DATABASE_URL=postgres://scorepod:$(cat password)@postgres:5432/scorepod
REDIS_URL=redis://:$(cat redis-password)@redis:6379/0
EMAIL_URL=console:
EOF
once scoring.env <<EOF
SCORING_TOKEN=$(cat token)
EOF
once setup.env <<EOF
ADMIN_PASSWORD=$(random)
EOF
echo "The secrets are in $PWD; the password of admin@example.com is in setup.env."
