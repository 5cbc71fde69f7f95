#!/usr/bin/env bash
# The zoo: the mission's networks from their published descriptions, in PyTorch.
#
#   scripts/zoo.sh                      parameter counts beside the published ones
#   scripts/zoo.sh models [NAME...]     networks of full size, random weights, at 640 -> $TRTACT_CACHE/zoo
#   scripts/zoo.sh layouts [FAMILY...]  thin networks in every form their exporters write -> $TRTACT_CACHE/zoo/layouts
#   scripts/zoo.sh siblings [FAMILY...] train the small siblings -> examples/zoo
#   scripts/zoo.sh figures siblings [FAMILY...]   what the built program makes of them, as tables
#   scripts/zoo.sh figures models [NAME...]
#   scripts/zoo.sh peers MODEL...       their mAP in onnxruntime and OpenVINO (another environment, 200 MB)
#
# PyTorch lives in an environment of its own (scripts/setup/torch.sh, 6 GB); figures, peers
# and using trtact need none of it.
STEP=zoo
. "$(dirname "$0")/setup/common.sh"
. "$ROOT_DIR/scripts/env.sh"
cd "$ROOT_DIR"

export TORCH_CPP_LOG_LEVEL=ERROR PYTHONDONTWRITEBYTECODE=1
case ${1:-} in figures | peers) ;; *) python=$(scripts/setup/torch.sh) ;; esac
zoo=$TRTACT_CACHE/zoo
pictures=$TRTACT_CACHE/shapes
run() { nice -n 10 "$python" "scripts/zoo/$@"; }

make_pictures() {
    for part in "train 6000 100" "val 500 7" "calib 256 11"; do
        set -- $part
        [ -e "$pictures/$1/annotations.json" ] || go run ./scripts/shapes -out "$pictures/$1" -n "$2" -seed "$3"
    done
}

# Epochs at half the size and at full size, then those of further trainings at a lower
# rate, each of which goes on from the one before, where that fell short of 60 mAP.
epochs() {
    case $1 in
    yolov5) echo 8 2 1 ;;
    yolov6) echo 8 2 3 ;;
    yolov7) echo 6 2 3 3 ;;
    ppyoloe) echo 8 2 ;;
    esac
}

# What is finished stays until all of it is, so a run that was stopped goes on.
train() {
    local family=$1 at=$zoo/$1.1.pt n=1 next
    set -- $(epochs "$family")
    [ -e "$at" ] || run siblings.py "$family" --pictures "$pictures/train" --out "$at" --half "$1" --full "$2"
    shift 2
    for full; do
        n=$((n + 1)) next=$zoo/$family.$n.pt
        [ -e "$next" ] || run siblings.py "$family" --pictures "$pictures/train" --start "$at" --half 0 --full "$full" --rate 1.5e-3 --out "$next"
        at=$next
    done
    mv "$at" "$zoo/$family.pt"
    rm -f "$zoo/$family".[0-9].pt
}

command=${1:-count}
[ $# -eq 0 ] || shift
case $command in
count) run zoo.py count ;;
models) run zoo.py models "$zoo" "$@" ;;
layouts) run zoo.py layouts "$zoo/layouts" "$@" ;;
siblings)
    make_pictures
    mkdir -p "$zoo" examples/zoo
    for family in ${*:-yolov5 yolov6 yolov7 ppyoloe}; do
        train "$family"
        run zoo.py sibling "$family" "$zoo/$family.pt" "examples/zoo/$family.onnx"
    done
    ;;
figures)
    make_pictures
    nice -n 10 python3 scripts/zoo/figures.py "$@" --calib "$pictures/calib" --val "$pictures/val" --models "$zoo" --work "$zoo/figures"
    ;;
peers)
    make_pictures
    peers=$TRTACT_CACHE/openvino
    if [ ! -e "$peers/complete" ]; then
        logged openvino-venv python3 -m venv "$peers"
        logged openvino-wheels "$peers/bin/python" -m pip install --quiet --requirement scripts/requirements-openvino.txt
        touch "$peers/complete"
    fi
    nice -n 10 "$peers/bin/python" scripts/zoo/peers.py "$@" --val "$pictures/val"
    ;;
*)
    echo "zoo: unknown command $command: want count, models, layouts, siblings, figures or peers" >&2
    exit 2
    ;;
esac
