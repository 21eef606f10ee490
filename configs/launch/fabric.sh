# As torchrun.sh, by Lightning's launcher (pip install "ssl-faces[launch]"): DEVICES, NODES, NODE, MAIN, PORT
# are read likewise. `fabric run --precision` and `--strategy` don't reach the run: give them as
# --trainer.precision and --trainer.strategy.    sh configs/launch/fabric.sh -c CONFIG --out runs/NAME
if [ -z "${DEVICES:-}" ]; then
    DEVICES=$(python -m ssl_faces.training.launch) || exit
fi
exec fabric run --accelerator "${ACCELERATOR:-auto}" --devices "$DEVICES" \
    --num-nodes "${NODES:-1}" --node-rank "${NODE:-0}" \
    --main-address "${MAIN:-127.0.0.1}" --main-port "${PORT:-29500}" \
    "$(command -v ssl-faces)" fit "$@"
