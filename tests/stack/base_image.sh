#!/bin/sh
# Makes sure of the image that the project's images start from: it is there, or can be pulled, or is made of Debian's
# packages, which takes a minute. Says why, and ends with 1, where none of that can be.
set -eu

image=python:3.11-slim-bookworm
docker image inspect "$image" >/dev/null 2>&1 && exit 0
timeout 120 docker pull --quiet "$image" >/dev/null 2>&1 && exit 0
command -v debootstrap >/dev/null || { echo "$image cannot be pulled, and there is no debootstrap to make it"; exit 1; }
[ "$(id -u)" -eq 0 ] || { echo "$image cannot be pulled, and only root can make it"; exit 1; }

# the mirror that this machine's own packages come from
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Component: main' 2>/dev/null | grep -v security | grep /debian | head -1)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
debootstrap --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates \
    bookworm "$folder/root" ${mirror:+"$mirror"} >"$folder/log" 2>&1 ||
    { echo "debootstrap failed: $(tail -1 "$folder/log")"; exit 1; }
ln -s python3 "$folder/root/usr/bin/python"
# Debian keeps its Python to itself; in the image that it stands in for nobody does
rm -f "$folder"/root/usr/lib/python3.*/EXTERNALLY-MANAGED
cp /etc/ssl/certs/ca-certificates.crt "$folder/root/etc/ssl/certs/ca-certificates.crt"
rm -rf "$folder"/root/var/cache/apt/archives/*.deb
tar -C "$folder/root" -c . | docker import -c 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' - "$image" >/dev/null
