#!/usr/bin/env bash
# An MPI, for the tests of training over several processes: Open MPI from the
# distribution's packages (24 MB), unless there is an mpirun with an mpi.h (or mpicc
# that knows one) already. Without it those tests are skipped.
. "$(dirname "$0")/common.sh"

have_mpi() {
    command -v mpirun && { command -v mpicc || [ -e /usr/include/mpi.h ]; }
}
have_mpi >/dev/null && exit 0

skip() { say "$1: tests of training over several processes will be skipped"; exit 0; }
command -v apt-get >/dev/null || skip "no MPI, and no apt-get to install one"
root=()
if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || skip "no MPI (sudo apt-get install openmpi-bin libopenmpi-dev gets one)"
    root=(sudo)
fi
apt() { "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"; }

say "Open MPI, for tests of training over several processes (24 MB)"
logged apt-update-mpi apt update
logged apt-install-mpi apt install --no-install-recommends --yes openmpi-bin libopenmpi-dev
