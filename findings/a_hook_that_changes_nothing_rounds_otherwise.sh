#!/usr/bin/env bash
# DDP with torch's allreduce_hook, the one that "won't change behavior", trains to other bits.
#
# One would guess: the documentation of allreduce_hook says that results are the same as where no hook
#   was registered, so that it can be wrapped to log or to time something. So losses are equal bit for bit.
# What is seen: with 2 and 4 processes they are. With 3, 5 and 6 a part of the gradients differs in the
#   last bit: without a hook DDP multiplies each gradient by 1/n, the hook divides it by n. These round
#   alike only where n is a power of two.
# Version: torch 2.14.1.
# Why it matters: a hook that only looks on cannot be told from one that changes training by comparing
#   losses; runs with and without are no repeats of each other. A hook of one's own that multiplies the
#   bucket by 1/n, and then sums, gives the bits of no hook at all.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy
cat >"$folder/hooks.py" <<'PYTHON'
import multiprocessing
import sys
import tempfile

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook


class Weighted(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(4096))

    def forward(self, x):
        return (self.weight * x).sum()  # whose gradient is x, without any rounding


def multiplied(group, bucket):
    bucket.buffer().mul_(1 / dist.get_world_size())
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda future: future.value()[0])


def gradient(rank: int, hook) -> torch.Tensor:
    model = torch.nn.parallel.DistributedDataParallel(Weighted())
    if hook is not None:
        model.register_comm_hook(None, hook)
    model(torch.rand(4096, generator=torch.Generator().manual_seed(rank))).backward()
    return model.module.weight.grad


def train(rank: int, size: int, file: str, answers) -> None:
    store = dist.FileStore(file, size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    plain, hooked, own = (gradient(rank, hook) for hook in (None, allreduce_hook, multiplied))
    if rank == 0:
        answers.put((int((plain != hooked).sum()), int((plain != own).sum())))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    context, found = multiprocessing.get_context("fork"), {}
    for size in (2, 3, 4, 5, 6):
        with tempfile.TemporaryDirectory() as folder:
            answers = context.Queue()
            arguments = size, f"{folder}/store", answers
            ranks = [context.Process(target=train, args=(rank, *arguments)) for rank in range(size)]
            for process in ranks:
                process.start()
            found[size] = answers.get(timeout=120)
            for process in ranks:
                process.join()
    print("of 4096 gradients, how many differ from those without a hook, by processes:")
    print("  with allreduce_hook:          ", {size: of[0] for size, of in found.items()})
    print("  with one that multiplies:     ", {size: of[1] for size, of in found.items()})
    same = all(found[size] == (0, 0) for size in (2, 4))
    differ = all(found[size][0] > 0 and found[size][1] == 0 for size in (3, 5, 6))
    sys.exit(not (same and differ))
PYTHON
"$folder/venv/bin/python" "$folder/hooks.py"
