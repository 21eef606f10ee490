# All GPUs of this machine:    sh configs/launch/torchrun.sh -c CONFIG --out runs/NAME [--KEY VALUE ...]
# So many processes:           DEVICES=2 sh configs/launch/torchrun.sh -c CONFIG --out runs/NAME (without a GPU: 1)
# N machines, on each (I from 0 to N-1): NODES=N NODE=I MAIN=host-of-node-0 sh configs/launch/torchrun.sh ...
export PYTHONSAFEPATH=1 # `python -m` would search the current folder for modules first
if [ -z "${DEVICES:-}" ]; then
    DEVICES=$(python -m ssl_faces.training.launch) || exit
fi
exec torchrun --nproc-per-node "$DEVICES" \
    --nnodes "${NODES:-1}" --node-rank "${NODE:-0}" \
    --master-addr "${MAIN:-127.0.0.1}" --master-port "${PORT:-29500}" \
    -m ssl_faces.cli fit "$@"
