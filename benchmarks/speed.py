"""ResNet-18's training speed beside its peers, and beside what a matrix product reaches here.

    python benchmarks/speed.py                  # on the CPU: 128 images a step
    python benchmarks/speed.py --device gpu     # whole epochs of 50,000
    python benchmarks/speed.py --quick          # whether it runs, with the small network

In one run, in turn, each in a fresh process: (1) the widely copied script, torchvision's operations
on PIL images in two workers, eager, float32, `.item()` at every step; (2) the same in a bare
Lightning Trainer; hpml as it is; (3) a loop by hand with all that `experiment=fast` chooses; and
`experiment=fast` itself, in the precision that the device offers and in float32. (4) is the product
of two square matrices. Timed are the steps after those that warm up, with loading and all that
happens between them; outside are start-up, compiling, validation and checkpoints.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import lightning as L
import torch
from harness import configured, contents, interleaved, keep_nothing, ratios, spread, table, write
from input_pipeline import PlainImages
from omegaconf import DictConfig
from torch.autograd import DeviceType
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

import hpml.train
from hpml.config.auto import on_device
from hpml.data.build import build_data
from hpml.diagnosis.ceiling import ceiling_flops_per_s
from hpml.models.counts import flops_per_sample
from hpml.system import fresh_process
from hpml.training.build import build_module

# Kinds of operations by a part of their names, the first that fits.
KINDS = (
    ("convolutions", ("conv", "implicit", "xmma", "cutlass", "gemm", "mkldnn")),
    (
        "normalisation, activations, copies",
        ("batch_norm", "fused", "relu", "copy", "triton", "cpp"),
    ),
    ("optimizer", ("sgd", "optimizer", "adam")),
    ("loading and augmentation", ("index", "gather", "arange", "where", "dataloader")),
)


def job(device: str, model: str, batch_size: int, steps: int, *overrides: str) -> DictConfig:
    """A job of ours of so many steps an epoch, without validation and checkpoints."""
    return configured(
        *("data=synthetic", f"model={model}", f"device={device}", "trainer.max_epochs=2"),
        *(f"data.batch_size={batch_size}", f"data.train_samples={batch_size * steps}"),
        *("data.test_samples=16", "trainer.limit_val_batches=0"),
        *("trainer.enable_checkpointing=false", "monitor=train/accuracy", *overrides),
    )


FAST = ("experiment=fast",)
FLOAT32 = ("experiment=fast", "trainer.precision=32-true")


def ours(device: str, overrides: tuple[str, ...], *size: Any) -> dict[str, float]:
    """`hpml.train` as it is: the second epoch, whole; the first warms up."""
    record = hpml.train.train(job(device, *size, *overrides))
    epoch = record.epochs[-1]
    found = {"samples_per_s": epoch.samples / epoch.time["epoch_s"]}  # type: ignore[operator]
    if epoch.device_time is not None:
        found["busy"] = epoch.device_time["busy_s"] / epoch.time["epoch_s"]  # type: ignore[operator]
    return found | {"compile_s": record.compile_s or 0.0, "startup_s": record.startup_s or 0.0}


def by_hand(device: str, overrides: tuple[str, ...], *size: Any) -> dict[str, float]:
    """A plain loop over the same loader with the same network, optimizer and settings."""
    step, batches = _loop_by_hand(device, overrides, *size)
    return {"samples_per_s": _timed(step, batches, size[-1], _device(device))}


def _loop_by_hand(
    device: str, overrides: tuple[str, ...], *size: Any
) -> tuple[Callable[[Any], None], Iterator[Any]]:
    cfg, _ = on_device(job(device, *size, *overrides))
    data: Any = build_data(cfg)
    torch.backends.cudnn.benchmark = bool(cfg.trainer.benchmark)
    to = _device(device)
    module: Any = build_module(cfg, data)
    network = module.network
    network.to(to, memory_format=torch.channels_last if cfg.channels_last else None)
    optimizer = module.make_optimizer(network.parameters())
    reduced = str(cfg.trainer.precision).startswith("bf16")

    def step(batch: Any) -> None:
        moved = data.transfer_batch_to_device(batch, to, 0)
        images, labels = data.on_after_batch_transfer(moved, 0)
        if cfg.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(to.type, torch.bfloat16, enabled=reduced):
            loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def batches() -> Iterator[Any]:
        loader = data.train_dataloader()
        while True:
            yield from loader

    return step, batches()


def copied_script(device: str, model: str, batch_size: int, steps: int) -> dict[str, float]:
    """As the scripts that everybody copies do it."""
    module = _Plain(device, model, batch_size, steps)
    to = _device(device)
    network = module.network.to(to)
    optimizer = module.configure_optimizers()
    seen = {"loss": 0.0, "correct": 0.0, "total": 0.0}

    def step(batch: Any) -> None:
        images, labels = (part.to(to) for part in batch)
        optimizer.zero_grad()
        logits = network(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        seen["loss"] += loss.item()
        seen["total"] += labels.size(0)
        seen["correct"] += logits.max(1)[1].eq(labels).sum().item()

    def batches() -> Iterator[Any]:
        while True:
            yield from module.loader

    return {"samples_per_s": _timed(step, batches(), steps, to)}


class _Plain(L.LightningModule):
    """Network, optimizer and loader of the copied script, as a module."""

    def __init__(self, device: str, model: str, batch_size: int, steps: int) -> None:
        super().__init__()
        cfg = job(device, model, batch_size, steps, "optimizer.fused=null")
        built: Any = build_module(cfg, build_data(cfg))
        self.network, self.make_optimizer = built.network, built.make_optimizer
        self.loader = DataLoader(
            PlainImages(batch_size * steps), batch_size=batch_size, shuffle=True, num_workers=2
        )

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """The loss."""
        images, labels = batch
        return F.cross_entropy(self.network(images), labels)

    def configure_optimizers(self) -> Any:
        """SGD, as everywhere here."""
        return self.make_optimizer(self.network.parameters())


class _Stamps(L.Callback):
    """The time from a step's end to the last one's."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.took_s = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Counts steps."""
        if trainer.global_step in (self.first, self.last):
            _wait(trainer.strategy.root_device)
            self.took_s = time.perf_counter() - self.took_s


def bare_lightning(device: str, model: str, batch_size: int, steps: int) -> dict[str, float]:
    """The copied script's network and loader in a Trainer with nothing around it."""
    stamps = _Stamps(steps, 2 * steps - 1)
    trainer = L.Trainer(
        max_epochs=2,
        accelerator=device,
        devices=1,
        callbacks=[stamps],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = _Plain(device, model, batch_size, steps)
    trainer.fit(module, module.loader)
    return {"samples_per_s": batch_size * (steps - 1) / stamps.took_s}


def _timed(
    step: Callable[[Any], None], batches: Iterator[Any], steps: int, device: torch.device
) -> float:
    """Samples/s over as many steps as were trained before them."""
    for _ in range(steps):
        step(next(batches))
    _wait(device)
    begun_s = time.perf_counter()
    samples = 0
    for _ in range(steps):
        batch = next(batches)
        step(batch)
        samples += len(batch[0])
    _wait(device)
    return samples / (time.perf_counter() - begun_s)


def ceiling(device: str, precision: str) -> dict[str, float]:
    """Floating-point operations a second of a matrix product."""
    return {"flops_per_s": ceiling_flops_per_s(_device(device), precision)}


def shares_by_kind(device: str, *size: Any) -> dict[str, float]:
    """Where the steps of the loop by hand spend their time, by the profiler of torch."""
    step, batches = _loop_by_hand(device, FAST, *size)
    for _ in range(3):
        step(next(batches))
    _wait(_device(device))
    on_gpu = _device(device).type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=activities) as profiled:
        for _ in range(3):
            step(next(batches))
        _wait(_device(device))
    times: dict[str, float] = {}
    for event in profiled.key_averages():
        # on a GPU an operation's entry has the time of its kernels, which have entries too
        is_kernel = event.device_type == DeviceType.CUDA and not event.is_user_annotation
        if on_gpu and not is_kernel:
            continue
        spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        name = event.key.lower()
        kind = next((k for k, parts in KINDS if any(p in name for p in parts)), "the rest")
        times[kind] = times.get(kind, 0.0) + spent
    return {kind: spent / sum(times.values()) for kind, spent in times.items()}


def _device(name: str) -> torch.device:
    return torch.device({"gpu": "cuda"}.get(name, name))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure(device: str, model: str, batch_size: int, steps: int, rounds: int) -> None:
    """Measures everything in turn and writes it down."""
    size = (model, batch_size, steps)
    functions: dict[str, Callable[[], dict[str, float]]] = {
        "copied script (1)": partial(
            fresh_process.run_in_fresh_process, copied_script, device, *size
        ),
        "bare Lightning (2)": partial(
            fresh_process.run_in_fresh_process, bare_lightning, device, *size
        ),
        "hpml, defaults": partial(fresh_process.run_in_fresh_process, ours, device, (), *size),
        "by hand, float32 (3)": partial(
            fresh_process.run_in_fresh_process, by_hand, device, FLOAT32, *size
        ),
        "hpml, fast in float32": partial(
            fresh_process.run_in_fresh_process, ours, device, FLOAT32, *size
        ),
        "by hand, all tricks (3)": partial(
            fresh_process.run_in_fresh_process, by_hand, device, FAST, *size
        ),
        "hpml, fast": partial(fresh_process.run_in_fresh_process, ours, device, FAST, *size),
    }
    cfg, chosen = on_device(job(device, *size, *FAST))
    precision = str(cfg.trainer.precision or "32-true")
    products = {
        "matrix product, float32 (4)": partial(
            fresh_process.run_in_fresh_process, ceiling, device, "32-true"
        ),
        f"matrix product, {precision} (4)": partial(
            fresh_process.run_in_fresh_process, ceiling, device, precision
        ),
    }
    more: dict[str, list[dict[str, float]]] = {}

    def kept(name: str, function: Callable[[], dict[str, float]], key: str) -> float:
        found = function()
        more.setdefault(name, []).append(found)
        return found[key]

    cases = {n: partial(kept, n, f, "samples_per_s") for n, f in functions.items()}
    cases |= {n: partial(kept, n, f, "flops_per_s") for n, f in products.items()}
    seen = interleaved(cases, rounds)
    network: Any = build_module(cfg, build_data(cfg)).network  # type: ignore[union-attr]
    flops = flops_per_sample(network, (3, 32, 32))
    by_name = list(products)
    rows = [["case", "samples/s", "times (1)", "of the loop by hand", "of the matrix product"]]
    for name in functions:
        reduced = "fast" in name or "tricks" in name
        reduced = reduced and "float32" not in name
        top = [value / flops for value in seen[by_name[-1 if reduced else 0]]]
        hand = "by hand, all tricks (3)" if reduced else "by hand, float32 (3)"
        compared = spread(ratios(seen[name], seen[hand]), ".3f") if "hpml, fast" in name else ""
        rows.append(
            [
                name,
                spread(seen[name], ",.1f"),
                spread(ratios(seen[name], seen["copied script (1)"]), ".2f"),
                compared,
                spread(ratios(seen[name], top), ".0%"),
            ]
        )
    compiling = [f["compile_s"] for f in more["hpml, fast"]]
    kinds = fresh_process.run_in_fresh_process(shares_by_kind, device, *size)
    parts = [["of the loop by hand, all tricks", "share"]]
    parts += [[k, f"{s:.1%}"] for k, s in sorted(kinds.items(), key=lambda item: -item[1])]
    gflops = ", ".join(f"{n}: {spread([v / 1e9 for v in seen[n]])} GFLOP/s" for n in products)
    told = (
        f"{model}, batches of {batch_size} images of 32×32, {steps} steps after {steps} that warm "
        f"up; {rounds} rounds after one that is dropped, in turn, each case in a fresh process; "
        "median (lowest to highest), ratios within a round. Timed are steps with their loading; "
        "start-up, compiling, validation and checkpoints are outside. On this device `auto` is "
        f"{', '.join(f'{key}={value}' for key, value in chosen.items())}. {gflops}. A sample's "
        f"forward and backward pass are {flops / 1e9:.3f} GFLOP. Compiling took "
        f"{spread(compiling[1:], '.1f')} s in a process that found the code in torch's cache."
    )
    busy = [found["busy"] for found in more["hpml, fast"][1:] if "busy" in found]
    if busy:
        told += f" With `experiment=fast` the device is busy {spread(busy, '.1%')} of the epoch."
    configuration = {
        name: contents(on_device(job(device, *size, *given))[0])
        for name, given in (("defaults", ()), ("fast", FAST), ("fast in float32", FLOAT32))
    }
    theme = f"speed-{model}-{batch_size}"
    title = f"Training speed of {model}"
    profiled = "\n".join(["By torch's profiler:", "", *table(parts)])
    write(
        theme, title, told, rows, {"cases": more, "kinds": kinds}, configuration, profiled, device
    )
    print(f"fast: {statistics.median(ratios(seen['hpml, fast'], seen['copied script (1)'])):.2f}")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small network, few steps")
    given = parser.parse_args()
    steps = 50_000 // given.batch_size if given.device == "gpu" else 4
    if given.quick:
        keep_nothing()
        measure(given.device, "small", 32, 4, 1)
    else:
        measure(given.device, "resnet18", given.batch_size, steps, given.rounds)


if __name__ == "__main__":
    main()
