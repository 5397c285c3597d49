"""Compiles a module's network before the first epoch, by steps that leave no trace."""

import time

import lightning as L
import torch

from hpml.errors import UserError, first_line


def compile_for(module: L.LightningModule, shape: tuple[int, ...]) -> float:
    """Has a module compile for training batches of `shape`, in its fit; the seconds that took.

    Weights, buffers and random numbers stay. Raises UserError where torch cannot compile it here.
    """
    trainer, on_cuda = module.trainer, module.device.type == "cuda"
    begun_s = time.perf_counter()
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    images = trainer.precision_plugin.convert_input(torch.zeros(shape, device=module.device))
    try:
        with torch.random.fork_rng(devices=[module.device] if on_cuda else []):
            for _ in range(3 if on_cuda else 1):  # the second records a CUDA graph
                with trainer.precision_plugin.train_step_context():
                    loss = module(images).float().sum()
                module.zero_grad()  # a graph's gradients lie where its next run writes
                loss.backward()
    except torch._dynamo.exc.TorchDynamoException as error:
        cause = getattr(error, "inner_exception", error)  # of what a backend raised
        raise UserError(
            f"compile: torch cannot compile this here ({first_line(cause)}); give compile=false"
        ) from error
    except OSError as error:  # of the folder for what is compiled
        raise UserError(f"compile: {error.filename}: {error.strerror}") from error
    finally:
        module.zero_grad()
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            buffer.copy_(buffers[name])
    return time.perf_counter() - begun_s
