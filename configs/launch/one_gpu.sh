#!/bin/sh
# FaceCycle at the paper's size on one GPU for a short time, in bf16, without a download:
#   sh configs/launch/one_gpu.sh OUT [FOLDER]
# Measures the time of a step, trains stage 1 for MINUTES and stage 2 for a third of that on
# rendered clips, with the faces of FOLDER beside them, and writes encoder and editing networks in
# half precision to OUT/released. PAIRS a step; STEPS replaces MINUTES. The same command resumes.
set -e
OUT=$1 PAIRS=${PAIRS:-64} MINUTES=${MINUTES:-6}
if [ -n "${2:-}" ]; then
    set -- -c configs/data/mixed.yaml --data.root "$2" --data.epoch_of images
else
    set -- -c configs/data/rendered.yaml
fi
mkdir -p "$OUT"
[ -f "$OUT/step.json" ] || ssl-faces bench step -c facecycle_motion \
    --model.trunk_weights random --trainer.precision bf16-mixed --data.batch_size "$PAIRS" \
    --rounds "${ROUNDS:-5}" --out "$OUT/step.json"
if [ -z "${STEPS:-}" ]; then
    STEPS=$(python -c 'import json, sys
rate = json.load(open(sys.argv[1]))["rows"][0]["pictures/s"]
print(int(rate / 2 / int(sys.argv[2]) * 60 * float(sys.argv[3])))' "$OUT/step.json" "$PAIRS" "$MINUTES")
fi
ssl-faces fit -c configs/method/facecycle_motion.yaml "$@" --model.trunk_weights hed \
    --model.learning_rates null --model.peak_learning_rate "${RATE:-2e-4}" --probe_every 0 \
    --trainer.precision bf16-mixed --data.batch_size "$PAIRS" --trainer.max_epochs -1 \
    --trainer.max_steps "$STEPS" --out "$OUT/motion" --ckpt_path last
ssl-faces fit -c configs/method/facecycle_identity.yaml "$@" --data.epoch_of images \
    --data.positives frames --model.motion_checkpoint "$OUT/motion/checkpoints/last.ckpt" \
    --model.learning_rates null --model.peak_learning_rate "${RATE:-2e-4}" --probe_every 0 \
    --trainer.precision bf16-mixed --data.batch_size "$PAIRS" --trainer.max_epochs -1 \
    --trainer.max_steps "$((STEPS / 3 + 1))" --out "$OUT/identity" --ckpt_path last
[ -d "$OUT/released/facecycle_paper" ] ||
    ssl-faces release "$OUT/identity" --name facecycle_paper --out "$OUT/released"
