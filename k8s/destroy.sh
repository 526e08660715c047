#!/usr/bin/env bash
# Takes away what provision.sh has made. Data that is gone is gone: look at docs/operations.md, Backup and restore.
#
#   k8s/destroy.sh [--name NAME] [--cluster-only] [--dns-zone ZONE --dns-group GROUP --host HOST] [--dry-run]
#
#   --cluster-only   only the cluster; database, files, registry and vault stay, and provision.sh makes a new one
#   --yes            do not ask; for scripts
#
# The vault and its secrets can be brought back for 90 days: `az keyvault recover`.
set -euo pipefail
cd "$(dirname "$0")"

fail() {
  echo "destroy.sh: $*" >&2
  exit 2
}
name=scorepod cluster_only="" dns_zone="" dns_group="" host="" dry="" yes=""
while [ $# -gt 0 ]; do
  case $1 in
    --cluster-only) cluster_only=yes ;;
    --dry-run) dry=yes ;;
    --yes) yes=yes ;;
    --help)
      sed -n '2,/^set /p' destroy.sh | sed '$d; s/^# \{0,1\}//'
      exit 0
      ;;
    --name | --dns-zone | --dns-group | --host)
      [ $# -gt 1 ] || fail "$1 wants a value"
      variable=${1#--}
      printf -v "${variable//-/_}" %s "$2"
      shift
      ;;
    *) fail "there is no option '$1'; --help lists them" ;;
  esac
  shift
done
[[ $name =~ ^[a-z][a-z0-9]{2,11}$ ]] || fail "--name must have 3 to 12 small letters and digits, not '$name'"
if [ -n "$dns_zone" ] && { [ -z "$host" ] || [[ $host != *."$dns_zone" ]]; }; then
  fail "--dns-zone needs the --host in it"
fi

run() {
  if [ -n "$dry" ]; then
    printf 'az'
    printf ' %q' "$@"
    printf '\n'
  else
    az "$@" --only-show-errors --output none
  fi
}
if [ -n "$cluster_only" ]; then what="the cluster $name"; else what="everything in the resource group $name, data included"; fi
if [ -z "$dry$yes" ]; then
  printf 'This deletes %s. Type %s to go on: ' "$what" "$name"
  read -r answer
  [ "$answer" = "$name" ] || fail "nothing was deleted"
fi
if [ -n "$dns_zone" ]; then
  run network dns record-set a delete --resource-group "${dns_group:-$name}" --zone-name "$dns_zone" \
    --name "${host%."$dns_zone"}" --yes
fi
if [ -n "$cluster_only" ]; then
  run aks delete --resource-group "$name" --name "$name" --yes
else
  run group delete --name "$name" --yes
fi
