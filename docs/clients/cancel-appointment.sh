#!/usr/bin/env bash
# Cancels one Bookings appointment with curl. The request's JSON comes on standard input:
#
#   API=https://contoso-bookings.azurewebsites.net/api SCOPE=api://<API client id>/Appointments.Cancel \
#     ./cancel-appointment.sh <<< '{"businessId": "...", "appointmentId": "...", "cancellationMessage": "..."}'
#
# Ends with 0: cancelled, 3: not found, 1: anything else. TOKEN: an access token for the API; without it the Azure CLI is asked (az login first).
# CURL_CA_BUNDLE: a PEM file to trust, if the API has a certificate of your own authority. Needs bash, curl, jq.
set -euo pipefail

: "${API:?API is missing: the address of the service, with /api}"
TOKEN=${TOKEN:-$(az account get-access-token --scope "${SCOPE:?SCOPE or TOKEN is missing}" --query accessToken --output tsv)}
KEY=${IDEMPOTENCY_KEY:-$(cat /proc/sys/kernel/random/uuid 2>/dev/null || uuidgen)} # one key for all attempts: they are one request
body=$(cat)
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

member() { jq --raw-output --arg name "$1" '.[$name]? // empty' "$answer" 2>/dev/null || true; }
fail() { echo "$1" >&2; exit 1; }

for attempt in 1 2 3 4; do
  # Token and body travel in file descriptors: arguments can be seen by every user of the machine.
  status=$(curl --silent --show-error --max-time 30 --output "$answer" --write-out '%{http_code}' \
    --config <(printf 'header = "Authorization: Bearer %s"\n' "$TOKEN") \
    --header 'Content-Type: application/json' --header "Idempotency-Key: $KEY" \
    --data-binary @- "$API/v1/cancel-appointment" <<< "$body") || { status=000; : > "$answer"; }

  if [ "$status" = 200 ]; then
    case $(member outcome) in
      cancelled) echo "Cancelled. $(member message)"; exit 0 ;;
      not_found) echo "Not found. $(member message)"; exit 3 ;;
      *) fail "Unknown outcome '$(member outcome)': treated as a failure. requestId $(member requestId)" ;;
    esac
  fi
  if [ "$(member code)" = interaction_required ]; then
    fail "Sign in again, then repeat: az login --scope '${SCOPE:-}' --claims-challenge '$(member claims)'"
  fi
  # No answer at all (000): a repeat with the same key is safe, and finds out.
  if [ "$status" != 000 ] && [ "$(member retryable)" != true ]; then
    fail "Failed: $status $(member code) $(member detail) requestId $(member requestId)"
  fi
  seconds=$(member retryAfterSeconds)
  if [ "$attempt" -lt 4 ]; then sleep "${seconds:-5}"; fi
done
fail "Gave up after 4 attempts: $status $(member code) requestId $(member requestId). A repeat with IDEMPOTENCY_KEY=$KEY is safe."
