#!/bin/sh
# Starts Docker's engine where none answers and this user may: in the background, with its log and its process in FOLDER.
#   engine.sh start FOLDER    says why, and ends with 1, where there can be none
#   engine.sh stop FOLDER     stops what it started
set -u

folder=$2
answers() { docker info >/dev/null 2>&1; }

case "$1" in
start)
    command -v docker >/dev/null || { echo "Docker is not installed (apt-get install docker.io docker-compose)"; exit 1; }
    answers && exit 0
    [ "$(id -u)" -eq 0 ] || { echo "no Docker engine answers, and only root can start one"; exit 1; }
    command -v dockerd >/dev/null || { echo "no Docker engine answers, and there is no dockerd to start"; exit 1; }
    mkdir -p "$folder"
    setsid dockerd --pidfile "$folder/dockerd.pid" >"$folder/dockerd.log" 2>&1 </dev/null &
    started=$!
    tries=0
    until answers; do
        tries=$((tries + 1))
        if [ $tries -gt 120 ] || ! kill -0 $started 2>/dev/null; then
            echo "dockerd does not run here: $(grep -v level=info "$folder/dockerd.log" | tail -1)"
            exit 1
        fi
        sleep 0.5
    done
    ;;
stop)
    if [ -f "$folder/dockerd.pid" ]; then
        kill "$(cat "$folder/dockerd.pid")"
        while [ -f "$folder/dockerd.pid" ]; do sleep 0.2; done
    fi
    ;;
esac
