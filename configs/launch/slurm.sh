#!/bin/sh
# A Slurm job of a run, requeued and resumed:    sh configs/launch/slurm.sh -c CONFIG --out runs/NAME [--KEY VALUE ...]
# Numbers are variables:    NODES=2 GPUS=4 TIME=24:00:00 PARTITION=gpu sh configs/launch/slurm.sh -c CONFIG ...
#   NODES 1, GPUS 8 (of each node), CPUS 8 (of each GPU), WARNING 120 (seconds before the time limit);
#   TIME, PARTITION, ACCOUNT: the cluster's defaults; SBATCH_ARGS: other arguments of sbatch.
# On several nodes the run's folder, the packed faces (SSL_FACES_CACHE) and the faces must be at the
# same path everywhere. Inside an allocation (salloc) it starts the run at once.
if [ -z "${SLURM_JOB_ID:-}" ]; then
    # shellcheck disable=SC2086 # several words
    exec sbatch --job-name=ssl-faces --nodes="${NODES:-1}" --ntasks-per-node="${GPUS:-8}" \
        --gpus-per-node="${GPUS:-8}" --cpus-per-task="${CPUS:-8}" \
        ${TIME:+--time="$TIME"} ${PARTITION:+--partition="$PARTITION"} ${ACCOUNT:+--account="$ACCOUNT"} \
        --signal=SIGUSR1@"${WARNING:-120}" --requeue --open-mode=append ${SBATCH_ARGS:-} "$0" "$@"
fi
exec srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit ssl-faces fit --ckpt_path last "$@"
