#!/usr/bin/env bash
# Puts an overlay into the cluster that kubectl talks to, and waits until it runs. For the first time and for upgrades.
#
#   k8s/deploy.sh OVERLAY        local, aks, or a folder of your own with a kustomization.yaml
#
# Jobs of the last time go first, for Kubernetes changes none. `setup` then brings the database up to date while the old
# version serves on; new pods wait for it. When it fails, its log is shown and the old version keeps serving.
set -euo pipefail

NAMESPACE=scorepod
SETUP_WITHIN_S=${SETUP_WITHIN_S:-1200}
ROLLED_OUT_WITHIN_S=${ROLLED_OUT_WITHIN_S:-1200}
LOOK_EACH_S=${LOOK_EACH_S:-3}

if [ $# -ne 1 ] || [ "$1" = --help ]; then
  sed -n '2,/^set /p' "$0" | sed '$d; s/^# \{0,1\}//' >&2
  exit 2
fi
overlay=$1
[ -d "$overlay" ] || overlay=$(dirname "$0")/overlays/$1
[ -f "$overlay/kustomization.yaml" ] || {
  echo "deploy.sh: there is no kustomization.yaml in $overlay" >&2
  exit 2
}
kube() { kubectl --namespace "$NAMESPACE" "$@"; }

manifests=$(mktemp)
trap 'rm -f "$manifests"' EXIT
kubectl kustomize "$overlay" >"$manifests"
kube delete jobs --selector app.kubernetes.io/part-of=scorepod --ignore-not-found
kubectl apply --filename "$manifests"

echo "Waiting for the database to be brought up to date."
until state=$(kube get job/setup --output 'jsonpath={.status.conditions[?(@.status=="True")].type}') && [ -n "$state" ]; do
  [ "$SECONDS" -lt "$SETUP_WITHIN_S" ] || state=Late
  [ -z "$state" ] || break
  sleep "$LOOK_EACH_S"
done
case $state in
  *Complete*) ;;
  *)
    echo "deploy.sh: the job setup has not done its work ($state). Its log ends with:" >&2
    kube logs job/setup --tail 30 >&2 || true
    exit 1
    ;;
esac
for deployment in $(kube get deployments --selector app.kubernetes.io/part-of=scorepod --output name); do
  kube rollout status "$deployment" --timeout "${ROLLED_OUT_WITHIN_S}s"
done
echo "It runs."
