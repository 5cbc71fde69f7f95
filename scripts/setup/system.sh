#!/usr/bin/env bash
# Compiler, CMake and the few other tools that the other steps use, from the
# distribution's packages where they are missing.
. "$(dirname "$0")/common.sh"

packages=()
need() { # need PACKAGE TEST...: asks for PACKAGE unless the test passes
    local package=$1; shift
    "$@" >/dev/null 2>&1 || packages+=("$package")
}
# Any go will do here: the step go.sh gets the right one with it.
have_go()    { command -v go || "$SETUP_DIR/go.sh" --find; }
have_cargo() { command -v cargo || compgen -G "$TRTACT_CACHE/tensorrt-rtx-*/include"; }
have_venv()  { python3 -c 'import venv, ensurepip'; }
have_roots() { [ -s /etc/ssl/certs/ca-certificates.crt ] || [ -d /etc/pki/tls ]; }

need g++             command -v g++
need make            command -v make
need cmake           command -v cmake
need git             command -v git
need ca-certificates have_roots
need python3         command -v python3
need python3-pip     python3 -m pip --version
need python3-venv    have_venv
need golang-go       have_go
need cargo           have_cargo
[ ${#packages[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null || fail "please install: ${packages[*]} (no apt-get here to do it)"
root=()
if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || [ -t 0 ] && command -v sudo >/dev/null ||
        fail "please run: sudo apt-get install ${packages[*]}"
    root=(sudo)
fi
apt() { "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"; }

say "system packages: ${packages[*]}"
logged apt-update apt update
# Debian 12's cargo (1.63) is too old for today's crate index; its newer one is called cargo-web.
if apt-cache show cargo-web >/dev/null 2>&1; then
    packages=("${packages[@]/%cargo/cargo-web}")
fi
logged apt-install apt install --no-install-recommends --yes "${packages[@]}"
