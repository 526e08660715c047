#!/usr/bin/env bash
# Makes in Azure what overlays/aks needs, and writes overlays/aks/cluster.env. What is there is kept: run it again after a
# failure, or with other options for what is not there yet. Needs az 2.80 or newer, signed in, and openssl.
#
#   k8s/provision.sh --host scoring.example.org --admin-group OBJECT_ID [OPTION…]
#
#   --host NAME           the name under which people reach the site
#   --admin-group ID      the Entra ID group whose members administer the cluster
#   --name NAME           what everything is called, 3 to 12 small letters and digits     (scorepod)
#   --location REGION     a region with availability zones                                (westeurope)
#   --subscription ID     the subscription                                                (the one az uses)
#   --operator-ip CIDR    from where cluster, registry and vault may be reached           (this machine's, as 203.0.113.7/32)
#   --dns-zone ZONE       an Azure DNS zone in which the host's record is written          (none: it tells what to write)
#   --dns-group GROUP     that zone's resource group                                      (the same as ours)
#   --certificate PFX     the certificate with its key; its password in CERTIFICATE_PASSWORD   (none: a self-signed one)
#   --email-url-file FILE holds EMAIL_URL                                                 (none: mails go to the log)
#   --cpu-size SIZE       machines for web, workers and FAQ models                        (Standard_D4ds_v5)
#   --gpu-size SIZE       machines for image models                                       (Standard_NC4as_T4_v3)
#   --gpu-max N           at most so many of them; there is none while nothing needs one  (4)
#   --ddos                with a DDoS protection plan, which costs some 3,000 USD a month
#   --defender-plan       with Defender's plan for containers, for the whole subscription: some 7 USD a core and month.
#                         Without a plan the sensor that the cluster gets in any case reports to nobody
#   --dry-run             print every command, do nothing
set -euo pipefail
cd "$(dirname "$0")"

fail() {
  echo "provision.sh: $*" >&2
  exit 2
}

host="" admin_group="" name=scorepod location=westeurope subscription="" operator_ip="" dns_zone="" dns_group=""
certificate="" email_url_file="" cpu_size=Standard_D4ds_v5 gpu_size=Standard_NC4as_T4_v3 gpu_max=4 ddos="" defender_plan="" dry=""
while [ $# -gt 0 ]; do
  case $1 in
    --ddos) ddos=yes ;;
    --defender-plan) defender_plan=yes ;;
    --dry-run) dry=yes ;;
    --help)
      sed -n '2,/^set /p' provision.sh | sed '$d; s/^# \{0,1\}//'
      exit 0
      ;;
    --host | --admin-group | --name | --location | --subscription | --operator-ip | --dns-zone | --dns-group | \
      --certificate | --email-url-file | --cpu-size | --gpu-size | --gpu-max)
      [ $# -gt 1 ] || fail "$1 wants a value"
      variable=${1#--}
      printf -v "${variable//-/_}" %s "$2"
      shift
      ;;
    *) fail "there is no option '$1'; --help lists them" ;;
  esac
  shift
done
[ -n "$host" ] || fail "say the site's name: --host scoring.example.org"
[[ $host =~ ^[a-z0-9-]+(\.[a-z0-9-]+)+$ ]] || fail "--host must be a name such as scoring.example.org, not '$host'"
[ -n "$admin_group" ] || fail "say who administers the cluster: --admin-group OBJECT_ID"
[[ $name =~ ^[a-z][a-z0-9]{2,11}$ ]] || fail "--name must have 3 to 12 small letters and digits, not '$name'"
[[ $gpu_max =~ ^[0-9]+$ ]] || fail "--gpu-max must be a number, not '$gpu_max'"
[ -z "$certificate" ] || [ -n "$dry" ] || [ -f "$certificate" ] || fail "there is no file $certificate"
[ -z "$email_url_file" ] || [ -n "$dry" ] || [ -s "$email_url_file" ] || fail "there is no $email_url_file, or it is empty"
[ -z "$dns_zone" ] || [[ $host == *."$dns_zone" ]] || fail "$host is not in the zone $dns_zone"

umask 077
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# How commands are run -------------------------------------------------------------------------------------------------

show() { # the command, as a shell would take it
  printf 'az'
  printf ' %q' "$@"
  printf '\n'
}
part() { printf '\n# %s\n' "$*"; }
run() {
  if [ -n "$dry" ]; then show "$@"; else az "$@" --only-show-errors --output none; fi
}
# ask EXAMPLE COMMAND…: the command's answer; the example when nothing is done. The command is printed where `run` would.
ask() {
  local example=$1
  shift
  if [ -n "$dry" ]; then
    show "$@" >&3
    echo "$example"
  else
    az "$@" --only-show-errors --output tsv
  fi
}
exec 3>&1
# ensure LOOK… -- MAKE…: makes what is not there.
ensure() {
  local look=()
  while [ "$1" != -- ]; do
    look+=("$1")
    shift
  done
  shift
  if [ -n "$dry" ]; then
    show "${look[@]}"
  elif az "${look[@]}" --only-show-errors --output none 2>"$scratch/look"; then
    echo "is there: ${*:1:3}"
    return
  elif ! grep -qiE 'notfound|not found|was not found|could not be found|does not exist|404' "$scratch/look"; then
    cat "$scratch/look" >&2
    fail "cannot look for ${look[*]}"
  fi
  [ -n "$dry" ] || echo "making: ${*:1:4}"
  run "$@"
}
# holds VALUE COMMAND…: whether the value is among those that the command lists, one a line; an address with or without /32.
holds() {
  local value=$1
  shift
  if [ -n "$dry" ]; then
    show "$@"
    return 1
  fi
  az "$@" --only-show-errors --output tsv | sed 's:/32$::' | grep -qxF "${value%/32}"
}
random() { openssl rand -base64 48 | tr -d '/+=\n'; }

# Where ----------------------------------------------------------------------------------------------------------------

part Subscription
[ -z "$subscription" ] || run account set --subscription "$subscription"
subscription=$(ask 00000000-0000-0000-0000-000000000000 account show --query id)
tenant=$(ask 00000000-0000-0000-0000-000000000000 account show --query tenantId)
me=$(ask 00000000-0000-0000-0000-00000000000a ad signed-in-user show --query id)
for provider in AlertsManagement Cache ContainerRegistry ContainerService DBforPostgreSQL Insights KeyVault ManagedIdentity \
  Monitor Network OperationalInsights OperationsManagement Security Storage; do
  run provider register --namespace "Microsoft.$provider" --wait
done
if [ -z "$operator_ip" ]; then
  if [ -n "$dry" ]; then operator_ip=203.0.113.7/32; else
    operator_ip=$(curl --fail --silent --max-time 10 https://api.ipify.org)/32 ||
      fail "cannot find this machine's public address; say it: --operator-ip 203.0.113.7/32"
  fi
fi
suffix=$(printf %s "$subscription/$name" | openssl dgst -sha256 -r | cut -c1-6) # names that all of Azure shares
group=$name registry=$name$suffix vault=$name-$suffix storage=$name$suffix postgres=$name-$suffix redis=$name-$suffix
in_group=(--resource-group "$group")
scope=/subscriptions/$subscription/resourceGroups/$group
network_scope=$scope/providers/Microsoft.Network/virtualNetworks/$name
vault_scope=$scope/providers/Microsoft.KeyVault/vaults/$vault

ensure group show --name "$group" -- group create --name "$group" --location "$location" --tags app=scorepod

# Network --------------------------------------------------------------------------------------------------------------

part "Network: nodes, PostgreSQL, private addresses of the rest"
ensure network vnet show "${in_group[@]}" --name "$name" -- \
  network vnet create "${in_group[@]}" --name "$name" --location "$location" --address-prefixes 10.20.0.0/16
subnet() { # NAME PREFIX OPTION…
  local called=$1 prefix=$2
  shift 2
  ensure network vnet subnet show "${in_group[@]}" --vnet-name "$name" --name "$called" -- \
    network vnet subnet create "${in_group[@]}" --vnet-name "$name" --name "$called" --address-prefixes "$prefix" "$@"
}
subnet nodes 10.20.0.0/23
subnet postgres 10.20.2.0/24 --delegations Microsoft.DBforPostgreSQL/flexibleServers
subnet private 10.20.3.0/24
if [ -n "$ddos" ]; then
  ensure network ddos-protection show "${in_group[@]}" --name "$name" -- \
    network ddos-protection create "${in_group[@]}" --name "$name" --location "$location"
  run network vnet update "${in_group[@]}" --name "$name" --ddos-protection true \
    --ddos-protection-plan "$scope/providers/Microsoft.Network/ddosProtectionPlans/$name"
fi
ensure network public-ip show "${in_group[@]}" --name "$name-ip" -- \
  network public-ip create "${in_group[@]}" --name "$name-ip" --location "$location" --sku Standard \
  --allocation-method Static --version IPv4 --zone 1 2 3
address=$(ask 203.0.113.80 network public-ip show "${in_group[@]}" --name "$name-ip" --query ipAddress)

# private NAME RESOURCE GROUP-ID ZONE: an address of the resource in our network, and its name there.
private() {
  local called=$1 resource=$2 part=$3 zone=$4
  zone "$zone"
  ensure network private-endpoint show "${in_group[@]}" --name "$name-$called" -- \
    network private-endpoint create "${in_group[@]}" --name "$name-$called" --location "$location" \
    --subnet "$network_scope/subnets/private" --private-connection-resource-id "$resource" --group-id "$part" \
    --connection-name "$called"
  ensure network private-endpoint dns-zone-group show "${in_group[@]}" --endpoint-name "$name-$called" --name default -- \
    network private-endpoint dns-zone-group create "${in_group[@]}" --endpoint-name "$name-$called" --name default \
    --private-dns-zone "$zone" --zone-name "$called"
}
zone() {
  ensure network private-dns zone show "${in_group[@]}" --name "$1" -- \
    network private-dns zone create "${in_group[@]}" --name "$1"
  ensure network private-dns link vnet show "${in_group[@]}" --zone-name "$1" --name "$name" -- \
    network private-dns link vnet create "${in_group[@]}" --zone-name "$1" --name "$name" \
    --virtual-network "$network_scope" --registration-enabled false
}

# Logs and metrics -----------------------------------------------------------------------------------------------------

part "Where logs and metrics go"
ensure monitor log-analytics workspace show "${in_group[@]}" --workspace-name "$name" -- \
  monitor log-analytics workspace create "${in_group[@]}" --workspace-name "$name" --location "$location" \
  --retention-time 30
logs=$scope/providers/Microsoft.OperationalInsights/workspaces/$name
ensure monitor account show "${in_group[@]}" --name "$name" -- \
  monitor account create "${in_group[@]}" --name "$name" --location "$location"
metrics=$scope/providers/Microsoft.Monitor/accounts/$name
prometheus=$(ask "https://$name-abcd.$location.prometheus.monitor.azure.com" \
  monitor account show "${in_group[@]}" --name "$name" --query metrics.prometheusQueryEndpoint)

# Key Vault ------------------------------------------------------------------------------------------------------------

part "Key Vault, closed but for this network and the operator's address"
ensure keyvault show "${in_group[@]}" --name "$vault" -- \
  keyvault create "${in_group[@]}" --name "$vault" --location "$location" --sku standard \
  --enable-rbac-authorization true --enable-purge-protection true --retention-days 90 \
  --default-action Deny --bypass AzureServices --network-acls-ips "$operator_ip"
private vault "$vault_scope" vault privatelink.vaultcore.azure.net
# may WHO ROLE SCOPE [TYPE]
may() {
  if [ -n "$dry" ] || [ -z "$(ask "" role assignment list --assignee-object-id "$1" --role "$2" --scope "$3" --query '[].id')" ]; then
    run role assignment create --assignee-object-id "$1" --assignee-principal-type "${4:-ServicePrincipal}" --role "$2" \
      --scope "$3"
  fi
}
may "$me" "Key Vault Secrets Officer" "$vault_scope" User
may "$me" "Key Vault Certificates Officer" "$vault_scope" User
run monitor diagnostic-settings create --name audit --resource "$vault_scope" --workspace "$logs" \
  --logs '[{"category": "AuditEvent", "enabled": true}]'

# secret NAME [VALUE]: a value that is made up is kept when it is there, one that is given is always written. It goes by a
# file, for a command's words can be seen by all on this machine.
secret() {
  local called=$1 value=${2-}
  if [ $# -eq 1 ]; then
    value=$(random)
    printf %s "$value" >"$scratch/secret"
    ensure keyvault secret show --vault-name "$vault" --name "$called" -- \
      keyvault secret set --vault-name "$vault" --name "$called" --file "$scratch/secret" --encoding utf-8
  else
    printf %s "$value" >"$scratch/secret"
    run keyvault secret set --vault-name "$vault" --name "$called" --file "$scratch/secret" --encoding utf-8
  fi
}
part "Secrets"
for called in secret-key api-key-hmac-secret webhook-keys scoring-token admin-password postgres-password; do
  secret "$called"
done
if [ -n "$email_url_file" ] && [ -z "$dry" ]; then secret email-url "$(cat "$email_url_file")"; else
  printf 'console:' >"$scratch/secret"
  ensure keyvault secret show --vault-name "$vault" --name email-url -- \
    keyvault secret set --vault-name "$vault" --name email-url --file "$scratch/secret" --encoding utf-8
fi

part "Certificate"
if [ -n "$certificate" ]; then
  printf %s "${CERTIFICATE_PASSWORD:-}" >"$scratch/password"
  run keyvault certificate import --vault-name "$vault" --name scorepod --file "$certificate" \
    --password "@$scratch/password"
else
  cat >"$scratch/policy.json" <<JSON
{
  "issuerParameters": {"name": "Self"},
  "keyProperties": {"exportable": true, "keySize": 2048, "keyType": "RSA", "reuseKey": false},
  "lifetimeActions": [{"action": {"actionType": "AutoRenew"}, "trigger": {"daysBeforeExpiry": 30}}],
  "secretProperties": {"contentType": "application/x-pkcs12"},
  "x509CertificateProperties": {
    "subject": "CN=$host", "subjectAlternativeNames": {"dnsNames": ["$host"]}, "validityInMonths": 12,
    "ekus": ["1.3.6.1.5.5.7.3.1"], "keyUsage": ["digitalSignature", "keyEncipherment"]
  }
}
JSON
  ensure keyvault certificate show --vault-name "$vault" --name scorepod -- \
    keyvault certificate create --vault-name "$vault" --name scorepod --policy "@$scratch/policy.json"
fi

# Data -----------------------------------------------------------------------------------------------------------------

part "PostgreSQL, over two zones, reached from this network alone"
zone "$name.private.postgres.database.azure.com"
if [ -z "$dry" ]; then
  az keyvault secret show --vault-name "$vault" --name postgres-password --query value --output tsv >"$scratch/password"
fi
ensure postgres flexible-server show "${in_group[@]}" --name "$postgres" -- \
  postgres flexible-server create "${in_group[@]}" --name "$postgres" --location "$location" --version 17 \
  --tier GeneralPurpose --sku-name Standard_D2ds_v5 --storage-size 128 --storage-auto-grow Enabled \
  --zonal-resiliency Enabled --backup-retention 14 --geo-redundant-backup Disabled \
  --vnet "$network_scope" --subnet "$network_scope/subnets/postgres" \
  --private-dns-zone "$scope/providers/Microsoft.Network/privateDnsZones/$name.private.postgres.database.azure.com" \
  --admin-user scorepod --admin-password "@$scratch/password" --yes
ensure postgres flexible-server db show "${in_group[@]}" --server-name "$postgres" --name scorepod -- \
  postgres flexible-server db create "${in_group[@]}" --server-name "$postgres" --name scorepod
password=$(cat "$scratch/password" 2>/dev/null || true)
secret database-url \
  "postgres://scorepod:$password@$postgres.postgres.database.azure.com:5432/scorepod?sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt"

part "Redis"
redis_scope=$scope/providers/Microsoft.Cache/redisEnterprise/$redis
redis_api=2025-07-01
ensure resource show --ids "$redis_scope" --api-version "$redis_api" -- \
  resource create --id "$redis_scope" --location "$location" --api-version "$redis_api" --is-full-object --properties \
  "{\"location\": \"$location\", \"sku\": {\"name\": \"Balanced_B1\"}, \"properties\": {\"minimumTlsVersion\": \"1.2\", \"highAvailability\": \"Enabled\", \"publicNetworkAccess\": \"Disabled\"}}"
# One address for all, as Celery wants it, and no message is thrown away for another.
ensure resource show --ids "$redis_scope/databases/default" --api-version "$redis_api" -- \
  resource create --id "$redis_scope/databases/default" --location "$location" --api-version "$redis_api" --properties \
  '{"clientProtocol": "Encrypted", "port": 10000, "clusteringPolicy": "EnterpriseCluster", "evictionPolicy": "NoEviction", "accessKeysAuthentication": "Enabled"}'
private redis "$redis_scope" redisEnterprise privatelink.redis.azure.net
redis_key=$(ask "" resource invoke-action --ids "$redis_scope/databases/default" --action listKeys \
  --api-version "$redis_api" --query primaryKey)
redis_host=$(ask "$redis.$location.redis.azure.net" resource show --ids "$redis_scope" --api-version "$redis_api" \
  --query properties.hostName)
secret redis-password "$redis_key"
encoded=${redis_key//\//%2F} encoded=${encoded//+/%2B} encoded=${encoded//=/%3D}
secret redis-url "rediss://:$encoded@$redis_host:10000/0?ssl_cert_reqs=required"

part "Files: the model store and what batches bring and leave, by NFS"
ensure storage account show "${in_group[@]}" --name "$storage" -- \
  storage account create "${in_group[@]}" --name "$storage" --location "$location" --kind FileStorage \
  --sku Premium_ZRS --min-tls-version TLS1_2 --https-only false --allow-blob-public-access false \
  --allow-shared-key-access false --public-network-access Disabled --default-action Deny
storage_scope=$scope/providers/Microsoft.Storage/storageAccounts/$storage
private files "$storage_scope" file privatelink.file.core.windows.net
for share in models:100 batches:200; do
  ensure storage share-rm show "${in_group[@]}" --storage-account "$storage" --name "${share%:*}" -- \
    storage share-rm create "${in_group[@]}" --storage-account "$storage" --name "${share%:*}" --quota "${share#*:}" \
    --enabled-protocols NFS --root-squash NoRootSquash
done
run storage account file-service-properties update "${in_group[@]}" --account-name "$storage" \
  --enable-delete-retention true --delete-retention-days 14

# Registry -------------------------------------------------------------------------------------------------------------

part "Registry, closed but for this network and the operator's address"
ensure acr show "${in_group[@]}" --name "$registry" -- \
  acr create "${in_group[@]}" --name "$registry" --location "$location" --sku Premium --admin-enabled false \
  --default-action Deny --public-network-enabled true --allow-trusted-services true --zone-redundancy Enabled
holds "$operator_ip" acr network-rule list "${in_group[@]}" --name "$registry" --query 'ipRules[].ipAddressOrRange' ||
  run acr network-rule add "${in_group[@]}" --name "$registry" --ip-address "$operator_ip"
registry_scope=$scope/providers/Microsoft.ContainerRegistry/registries/$registry
private registry "$registry_scope" registry privatelink.azurecr.io
for image in docker.io/nginxinc/nginx-unprivileged:1.28.0-alpine=scorepod-proxy:1.28.0-alpine \
  nvcr.io/nvidia/k8s-device-plugin:v0.17.4=scorepod-device-plugin:v0.17.4; do
  run acr import "${in_group[@]}" --name "$registry" --source "${image%=*}" --image "${image#*=}" --force
done

# Cluster --------------------------------------------------------------------------------------------------------------

part "Identities: one for each thing that is read"
identity() { ask 00000000-0000-0000-0000-000000000000 identity show "${in_group[@]}" --name "$name-$1" --query "$2"; }
for called in cluster site setup scoring gateway keda; do
  ensure identity show "${in_group[@]}" --name "$name-$called" -- \
    identity create "${in_group[@]}" --name "$name-$called" --location "$location"
done
may "$(identity cluster principalId)" "Network Contributor" "$scope"

part "Cluster"
ensure aks show "${in_group[@]}" --name "$name" -- \
  aks create "${in_group[@]}" --name "$name" --location "$location" --tier standard --no-ssh-key \
  --nodepool-name system --node-vm-size "$cpu_size" --node-count 3 --enable-cluster-autoscaler --min-count 3 \
  --max-count 5 --zones 1 2 3 --nodepool-taints CriticalAddonsOnly=true:NoSchedule --os-sku AzureLinux \
  --network-plugin azure --network-plugin-mode overlay --network-dataplane cilium --network-policy cilium \
  --vnet-subnet-id "$network_scope/subnets/nodes" --pod-cidr 10.244.0.0/16 --service-cidr 10.21.0.0/16 \
  --dns-service-ip 10.21.0.10 --load-balancer-sku standard --api-server-authorized-ip-ranges "$operator_ip" \
  --enable-managed-identity --assign-identity "$scope/providers/Microsoft.ManagedIdentity/userAssignedIdentities/$name-cluster" \
  --enable-aad --enable-azure-rbac --aad-admin-group-object-ids "$admin_group" --disable-local-accounts \
  --enable-oidc-issuer --enable-workload-identity \
  --enable-addons azure-keyvault-secrets-provider,monitoring --enable-secret-rotation --rotation-poll-interval 10m \
  --workspace-resource-id "$logs" --enable-azure-monitor-metrics --azure-monitor-workspace-resource-id "$metrics" \
  --enable-defender --enable-keda --enable-image-cleaner --image-cleaner-interval-hours 168 \
  --auto-upgrade-channel patch --node-os-upgrade-channel NodeImage --attach-acr "$registry_scope"
[ -z "$defender_plan" ] || run security pricing create --name Containers --tier standard
cluster_scope=$scope/providers/Microsoft.ContainerService/managedClusters/$name
run monitor diagnostic-settings create --name audit --resource "$cluster_scope" --workspace "$logs" \
  --logs '[{"category": "kube-audit-admin", "enabled": true}, {"category": "guard", "enabled": true}]'
pool() { # NAME SIZE MIN MAX OPTION…
  local called=$1 size=$2 least=$3 most=$4
  shift 4
  ensure aks nodepool show "${in_group[@]}" --cluster-name "$name" --name "$called" -- \
    aks nodepool add "${in_group[@]}" --cluster-name "$name" --name "$called" --mode User --node-vm-size "$size" \
    --node-count "$least" --enable-cluster-autoscaler --min-count "$least" --max-count "$most" --zones 1 2 3 \
    --vnet-subnet-id "$network_scope/subnets/nodes" "$@"
}
pool cpu "$cpu_size" 3 12 --os-sku AzureLinux
pool gpu "$gpu_size" 0 "$gpu_max" --os-sku Ubuntu --node-taints sku=gpu:NoSchedule --labels sku=gpu
part "Gateway API"
run aks update "${in_group[@]}" --name "$name" --enable-gateway-api
run aks approuting gateway istio enable "${in_group[@]}" --name "$name"

part "Who is who: service accounts and the identities they have in Azure"
issuer=$(ask "https://$location.oic.prod-aks.azure.com/tenant/cluster/" aks show "${in_group[@]}" --name "$name" \
  --query oidcIssuerProfile.issuerUrl)
for pair in site:scorepod:web site:scorepod:worker site:scorepod:worker-batch site:scorepod:trainer site:scorepod:beat \
  site:scorepod:setup setup:scorepod:setup scoring:scorepod:scoring-cpu scoring:scorepod:scoring-gpu \
  gateway:scorepod-gateway:certificate keda:kube-system:keda-operator; do
  IFS=: read -r called namespace account <<<"$pair"
  ensure identity federated-credential show "${in_group[@]}" --identity-name "$name-$called" --name "$account" -- \
    identity federated-credential create "${in_group[@]}" --identity-name "$name-$called" --name "$account" \
    --issuer "$issuer" --subject "system:serviceaccount:$namespace:$account" --audiences api://AzureADTokenExchange
done
part "What each may read in the vault"
for right in site:secret-key site:api-key-hmac-secret site:webhook-keys site:scoring-token site:database-url \
  site:redis-url site:email-url setup:admin-password scoring:scoring-token gateway:scorepod keda:redis-password; do
  may "$(identity "${right%%:*}" principalId)" "Key Vault Secrets User" "$vault_scope/secrets/${right#*:}"
done
may "$(identity gateway principalId)" "Key Vault Certificate User" "$vault_scope/certificates/scorepod"
may "$(identity keda principalId)" "Monitoring Data Reader" "$metrics"

# Name -----------------------------------------------------------------------------------------------------------------

if [ -n "$dns_zone" ]; then
  part "DNS"
  record=${host%."$dns_zone"}
  in_zone=(--resource-group "${dns_group:-$group}" --zone-name "$dns_zone")
  # A record that leads here already is left alone: for a moment it would lead nowhere, which resolvers remember.
  if ! holds "$address" network dns record-set a list "${in_zone[@]}" --query "[?name=='$record'][].ARecords[].ipv4Address"
  then
    run network dns record-set a create "${in_zone[@]}" --name "$record" --ttl 300
    run network dns record-set a add-record "${in_zone[@]}" --record-set-name "$record" --ipv4-address "$address"
  fi
fi

# What the overlay needs to know ---------------------------------------------------------------------------------------

part "kubectl"
run aks get-credentials "${in_group[@]}" --name "$name" --overwrite-existing
settings=overlays/aks/cluster.env
[ -z "$dry" ] || settings=$scratch/cluster.env
tag=$(sed -n 's/^IMAGE_TAG=//p' overlays/aks/cluster.env)
cat >"$scratch/new.env" <<ENV
# What is there in Azure. k8s/provision.sh writes this file; keep it with your changes. It holds no secret.
HOST=$host
IMAGE_TAG=$tag
LOCATION=$location
REGISTRY=$registry.azurecr.io
TENANT_ID=$tenant
VAULT=$vault
VAULT_URI=https://$vault.vault.azure.net/
CERTIFICATE_URI=https://$vault.vault.azure.net/certificates/scorepod
SITE_CLIENT_ID=$(identity site clientId)
SETUP_CLIENT_ID=$(identity setup clientId)
SCORING_CLIENT_ID=$(identity scoring clientId)
GATEWAY_CLIENT_ID=$(identity gateway clientId)
KEDA_CLIENT_ID=$(identity keda clientId)
REDIS_ADDRESS=$redis_host:10000
STORAGE_ACCOUNT=$storage
RESOURCE_GROUP=$group
IP_NAME=$name-ip
PROMETHEUS_URL=$prometheus
ENV
umask 022
cat "$scratch/new.env" >"$settings"

part "Done. Next: build and push the images, and k8s/deploy.sh aks (docs/operations.md)"
[ -n "$dns_zone" ] || echo "# Let $host lead to $address: no DNS zone was named."
[ -n "$certificate" ] || echo "# The certificate is self-signed: browsers refuse it. Run this again with --certificate."
