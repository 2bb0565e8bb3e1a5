#!/bin/sh
# Starts MLflow in the container. `exec` lets a stop signal reach it.
set -eu

case "$MLFLOW_BACKEND_STORE_URI" in
sqlite:///*) # the write-ahead log stays with the file: readers and the writer do not wait for each other
    python -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute("PRAGMA journal_mode=WAL")' \
        "${MLFLOW_BACKEND_STORE_URI#sqlite:///}"
    ;;
esac

# The Host header is checked: a name that is not listed gets a 403.
hosts="tracking_server,tracking_server:*,localhost,localhost:*,127.0.0.1,127.0.0.1:*"
exec mlflow server --host 0.0.0.0 --port 5000 --workers "$MLFLOW_SERVER_WORKERS" \
    --backend-store-uri "$MLFLOW_BACKEND_STORE_URI" --artifacts-destination "$MLFLOW_ARTIFACTS_DESTINATION" \
    --allowed-hosts "$hosts${MLFLOW_ALLOWED_HOSTS:+,$MLFLOW_ALLOWED_HOSTS}"
