#!/usr/bin/env bash
# Installs the programs that tests start, if they are missing. It needs root and apt-get. A test whose program is missing says so
# and is skipped. If CI is set, the test fails.
set -euo pipefail

missing=()
for program in openssl curl python3 chromium redis-server nginx haproxy caddy prometheus; do command -v "$program" > /dev/null || missing+=("$program"); done
[ "${#missing[@]}" -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
  echo "not installed, and can't be by this user: ${missing[*]}"
  exit 0
fi
echo "installing ${missing[*]}"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
