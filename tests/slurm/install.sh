#!/usr/bin/env bash
# Installs Debian's Slurm if it is not there yet. Where that is impossible: one line `not run: reason`, and exit code 1.
set -uo pipefail
PACKAGES=(slurmctld slurmd slurm-client munge)
PATH=$PATH:/usr/sbin:/sbin

refuse() { echo "not run: the cluster's tests need ${PACKAGES[*]}; $1"; exit 1; }

there() { for name in slurmctld slurmd sbatch munged; do command -v "$name" > /dev/null || return 1; done; }

apt() { apt-get -qy -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@" 2>&1; }

there && exit 0
command -v apt-get > /dev/null || refuse "there is no apt-get here to install them"
[ "$(id -u)" = 0 ] || refuse "only root can install them"

# Packages may start their daemons; a policy of 101 forbids it. Taken away again, unless the machine has its own.
POLICY=/usr/sbin/policy-rc.d
if [ ! -e $POLICY ]; then
  trap 'rm -f $POLICY' EXIT
  printf '#!/bin/sh\nexit 101\n' > $POLICY && chmod 755 $POLICY
fi
export DEBIAN_FRONTEND=noninteractive
output=$(apt update && apt install --no-install-recommends "${PACKAGES[@]}") || refuse "apt-get: ${output##*$'\n'}"
there || refuse "apt-get installed them, but a program is missing"
