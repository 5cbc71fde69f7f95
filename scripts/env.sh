# The environment that building and testing need, made by `make setup`.
# The Makefile sources it before every command; so may you: . scripts/env.sh
export TRTACT_CACHE=${TRTACT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/trtact}
_root=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)

if _go=$("$_root/scripts/setup/go.sh" --find); then
    PATH=$(dirname "$_go"):$PATH
fi
export PATH GOTOOLCHAIN=local CGO_ENABLED=1
# go-nvml's copy of nvml.h warns about its own deprecated functions.
export CGO_CFLAGS=${CGO_CFLAGS:--O2 -Wno-deprecated-declarations}
# Version control is not asked for a stamp: a checkout may be owned by someone else.
export GOFLAGS=${GOFLAGS:--buildvcs=false}

export ONEDNN_ROOT=${ONEDNN_ROOT:-$TRTACT_CACHE/onednn-3.2.0}
export TRTACT_LIB=$_root/build/lib # whatever a shell has from another checkout
# Headers only; the libraries are looked for when the program runs.
if [ -d "$TRTACT_CACHE/tensorrt-rtx-1.7.1/include" ]; then
    export TRTACT_TRT_RTX_INCLUDE=${TRTACT_TRT_RTX_INCLUDE:-$TRTACT_CACHE/tensorrt-rtx-1.7.1/include}
fi
if [ -d "$TRTACT_CACHE/tensorrt-11.4/include" ]; then
    export TRTACT_TRT_INCLUDE=${TRTACT_TRT_INCLUDE:-$TRTACT_CACHE/tensorrt-11.4/include}
fi
if [ -d "$TRTACT_CACHE/tensorrt-headers" ]; then # of older ones, for tests
    export TRTACT_TRT_HEADERS=${TRTACT_TRT_HEADERS:-$TRTACT_CACHE/tensorrt-headers}
fi
if _cuda=$("$_root/scripts/setup/cuda.sh" --find); then
    export TRTACT_CUDA_ROOT=${TRTACT_CUDA_ROOT:-$_cuda}
fi
if _python=$("$_root/scripts/setup/python.sh" --find); then
    export TRTACT_PYTHON=${TRTACT_PYTHON:-$_python}
fi
unset _root _go _cuda _python
