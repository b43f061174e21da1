#!/usr/bin/env bash
# Prints new secrets for compose.yaml: `deploy/secrets.sh > .env`. Keep the file; a new secret_key ends all sessions.
set -euo pipefail
umask 077
for name in POA_SECRET_KEY POA_ADMIN_PASSWORD POA_POSTGRES_PASSWORD POA_AWS_SECRET POA_DASHBOARD_SECRET; do
    echo "$name=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')"
done
