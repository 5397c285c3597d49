#!/bin/bash
# A sweep as an array job: three optimizers by three seeds, each on a node with one GPU.
set -eu
python -m hpml.train -m hydra/launcher=slurm sweep.name=optimizers \
  hydra.launcher.timeout_min=120 hydra.launcher.gpus_per_node=1 \
  optimizer=sgd,nesterov,adam seed=0,1,2 device=gpu "$@"
