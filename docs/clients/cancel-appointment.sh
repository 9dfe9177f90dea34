#!/usr/bin/env bash
# Cancels one Bookings appointment with curl. The request's JSON comes on standard input:
#
#   API=https://contoso-bookings.azurewebsites.net/api \
#   SCOPE=api://<API client id>/Appointments.Cancel \
#     ./cancel-appointment.sh <<< '{"businessId": "...", "appointmentId": "..."}'
#
# The request may hold a "cancellationMessage", too.
# TOKEN: an access token for the API; without it the Azure CLI is asked (az login first).
# IDEMPOTENCY_KEY repeats an earlier request. CURL_CA_BUNDLE: a PEM file to trust, if the API has a
# certificate of your own authority. Needs bash, curl, jq.
# Ends with 0: cancelled, 3: not found, 1: anything else, 2: called wrongly.
set -euo pipefail

usage() { echo "Missing: $1" >&2; sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
[ -n "${API:-}" ] || usage API
[ -n "${TOKEN:-}${SCOPE:-}" ] || usage "SCOPE or TOKEN"
[ ! -t 0 ] || usage "the request, on standard input"
[ -n "${TOKEN:-}" ] || command -v az > /dev/null || usage "TOKEN, or the Azure CLI (az)"
TOKEN=${TOKEN:-$(az account get-access-token --scope "${SCOPE:-}" --query accessToken --output tsv)}
# One key for all attempts: they are one request.
KEY=${IDEMPOTENCY_KEY:-$(cat /proc/sys/kernel/random/uuid 2>/dev/null || uuidgen)}
# Seconds to wait in all: the service may ask for an hour, and a person waits here.
patience=120
body=$(cat)
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

member() { jq --raw-output --arg name "$1" '.[$name]? // empty' "$answer" 2>/dev/null || true; }
faults() { jq --raw-output '.errors[]? | "\(.field): \(.message)"' "$answer" 2>/dev/null || true; }
fail() { echo "$1" >&2; faults >&2; echo "requestId $(member requestId)" >&2; exit 1; }

for attempt in 1 2 3 4; do
  # Token and body travel in file descriptors: arguments can be seen by every user of the machine.
  status=$(curl --silent --show-error --max-time 30 --output "$answer" --write-out '%{http_code}' \
    --config <(printf 'header = "Authorization: Bearer %s"\n' "$TOKEN") \
    --header 'Content-Type: application/json' --header "Idempotency-Key: $KEY" \
    --data-binary @- "$API/v1/cancel-appointment" <<< "$body") || { status=000; : > "$answer"; }
  # The service always names its requestId: without one it is not its answer.
  [ -n "$(member requestId)" ] || : > "$answer"
  code=$(member code)

  if [ "$status" = 200 ]; then
    case $(member outcome) in
      cancelled) echo "Cancelled. $(member message)"; exit 0 ;;
      not_found) echo "Not found. $(member message)"; exit 3 ;;
      *) fail "Unknown outcome '$(member outcome)': treated as a failure." ;;
    esac
  fi
  if [ "$code" = interaction_required ]; then
    fail "Sign in again as the same person, then repeat:\
 az login --scope '${SCOPE:-}' --claims-challenge '$(member claims)'"
  fi
  # Where nothing of the service came (no answer, the page of a gateway), a repeat finds out.
  case $code/$status in
    /000 | /408 | /429 | /5*) pause=5 ;;
    /*) fail "No answer of the service ($status)." ;;
    *)
      [ "$(member retryable)" = true ] || fail "Failed: $status $code $(member detail)"
      pause=$(member retryAfterSeconds)
      pause=${pause:-5} ;;
  esac
  if [ "$attempt" = 4 ] || [ "$pause" -gt "$patience" ]; then
    fail "Gave up: $status $code $(member detail)\
 The same request may be sent again in $pause seconds, with IDEMPOTENCY_KEY=$KEY:\
 that is safe, and finds out how it ended."
  fi
  patience=$((patience - pause))
  echo "${code:-no answer}: trying again in $pause seconds ..." >&2
  sleep "$pause"
done
