"""ResNet-18's training speed beside its peers, and beside what a matrix product reaches here.

    python benchmarks/speed.py                  # on the CPU: 128 images a step
    python benchmarks/speed.py --device gpu     # whole epochs of 50,000, or of --images

In one run, in turn, each in a fresh process: (1) the widely copied script, torchvision's operations
on PIL images in two workers, eager, float32, `.item()` at every step; (2) the same in a bare
Lightning Trainer; hpml as it is; (3) a loop by hand with all that `experiment=fast` chooses; and
`experiment=fast` itself, in the precision that the device offers and in float32. (4) is the product
of two square matrices. Timed are the steps after those that warm up, with loading and all that
happens between them, as many as those (four on a CPU); outside are start-up, compiling, validation
and checkpoints. Median (lowest to highest) of the rounds after those that warm up; ratios within a
round.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import harness
import lightning as L
import torch
from input_pipeline import PlainImages
from lightning.pytorch.callbacks import LambdaCallback
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
from hpml.training.build import build_module

# Kinds of operations by a part of their names, the first that fits.
KINDS = {
    "convolutions": "conv implicit xmma cutlass gemm mkldnn",
    "normalisation, activations, copies": "batch_norm fused relu copy triton cpp",
    "optimizer": "sgd optimizer adam",
    "loading and augmentation": "index gather arange where dataloader",
}
FAST = ("experiment=fast",)
FLOAT32 = ("experiment=fast", "trainer.precision=32-true")
COPIED = "copied script (1)"
HAND_32, FAST_32 = "by hand, float32 (3)", "hpml, fast in float32"
HAND_ALL, FAST_ALL = "by hand, all tricks (3)", "hpml, fast"
BY_HAND = {FAST_32: HAND_32, FAST_ALL: HAND_ALL}  # the loop that each is compared with

Size = tuple[str, int, int]  # the network, the images of a batch, the steps that are timed
Figures = dict[str, float]


def job(device: str, size: Size, *overrides: str) -> DictConfig:
    """A job of ours of so many steps an epoch, without validation and checkpoints."""
    model, batch_size, steps = size
    return harness.configured(
        *("data=synthetic", f"model={model}", f"device={device}", "trainer.max_epochs=2"),
        *(f"data.batch_size={batch_size}", f"data.train_samples={batch_size * steps}"),
        *("data.test_samples=16", "trainer.limit_val_batches=0"),
        *("trainer.enable_checkpointing=false", "monitor=train/accuracy", *overrides),
    )


def ours(device: str, size: Size, overrides: tuple[str, ...]) -> Figures:
    """`hpml.train` as it is: the second epoch, whole; the first warms up."""
    record = hpml.train.train(job(device, size, *overrides))
    epoch: Any = record.epochs[-1]
    figures = {"samples_per_s": epoch.samples / epoch.time["epoch_s"]}
    if epoch.device_time is not None:
        figures["busy"] = epoch.device_time["busy_s"] / epoch.time["epoch_s"]
    return figures | {"compile_s": record.compile_s or 0.0, "startup_s": record.startup_s or 0.0}


def by_hand(device: str, size: Size, overrides: tuple[str, ...]) -> Figures:
    """A plain loop over the same loader with the same network, optimizer and settings."""
    return timed(step_by_hand(device, size, overrides), size[-1])


def step_by_hand(device: str, size: Size, overrides: tuple[str, ...]) -> Callable[[], int]:
    """A step, which returns how many samples it has trained on."""
    cfg, _ = on_device(job(device, size, *overrides))
    data: Any = build_data(cfg)
    torch.backends.cudnn.benchmark = bool(cfg.trainer.benchmark)
    to = torch_device(device)
    module: Any = build_module(cfg, data)
    network = module.network
    network.to(to, memory_format=torch.channels_last if cfg.channels_last else None)
    optimizer = module.make_optimizer(network.parameters())
    reduced = str(cfg.trainer.precision).startswith("bf16")
    batches = endless(data.train_dataloader())

    def step() -> int:
        moved = data.transfer_batch_to_device(next(batches), to, 0)
        images, labels = data.on_after_batch_transfer(moved, 0)
        if cfg.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(to.type, torch.bfloat16, enabled=reduced):
            loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return len(labels)

    return step


def copied(device: str, size: Size) -> tuple[harness.Plain, Any]:
    """Network and optimizer of the copied script as a module, and its loader."""
    _, batch_size, steps = size
    cfg = job(device, size, "optimizer.fused=null")
    module: Any = build_module(cfg, build_data(cfg))
    loader: Any = DataLoader(PlainImages(batch_size * steps), batch_size, True, num_workers=2)
    return harness.Plain(module.network, module.make_optimizer), loader


def copied_script(device: str, size: Size) -> Figures:
    """As the scripts that everybody copies do it."""
    (module, loader), to = copied(device, size), torch_device(device)
    network = module.network.to(to)
    optimizer = module.configure_optimizers()
    batches = endless(loader)
    seen = {"loss": 0.0, "correct": 0.0, "total": 0.0}

    def step() -> int:
        images, labels = (part.to(to) for part in next(batches))
        optimizer.zero_grad()
        logits = network(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        seen["loss"] += loss.item()
        seen["total"] += labels.size(0)
        seen["correct"] += logits.max(1)[1].eq(labels).sum().item()
        return len(labels)

    return timed(step, size[-1])


def bare_lightning(device: str, size: Size) -> Figures:
    """The copied script's network and loader in a Trainer with nothing around it."""
    _, batch_size, steps = size
    ends_s: list[float] = []  # of the first step that is timed, and of the last

    def stamp(trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step in (steps, 2 * steps - 1):
            wait()
            ends_s.append(time.perf_counter())

    callback = LambdaCallback(on_train_batch_end=stamp)
    trainer = harness.bare_trainer(max_epochs=2, accelerator=device, callbacks=[callback])
    trainer.fit(*copied(device, size))
    return {"samples_per_s": batch_size * (steps - 1) / (ends_s[1] - ends_s[0])}


def timed(step: Callable[[], int], steps: int) -> Figures:
    """Samples/s over as many steps as were trained before them."""
    for _ in range(steps):
        step()
    wait()
    begun_s = time.perf_counter()
    samples = sum(step() for _ in range(steps))
    wait()
    return {"samples_per_s": samples / (time.perf_counter() - begun_s)}


def matrix_product(device: str, precision: str) -> Figures:
    return {"flops_per_s": ceiling_flops_per_s(torch_device(device), precision)}


def shares_by_kind(device: str, size: Size) -> Figures:
    """Where the steps of the loop by hand spend their time, by the profiler of torch."""
    step, on_gpu = step_by_hand(device, size, FAST), device == "gpu"
    for _ in range(3):
        step()
    wait()
    with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu) as profiled:
        for _ in range(3):
            step()
        wait()
    times: dict[str, float] = {}
    for event in profiled.key_averages():
        # on a GPU an operation's entry has the time of its kernels, which have entries too
        is_kernel = event.device_type == DeviceType.CUDA and not event.is_user_annotation
        if on_gpu and not is_kernel:
            continue
        spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        name = event.key.lower()
        fits = (k for k, parts in KINDS.items() if any(part in name for part in parts.split()))
        kind = next(fits, "the rest")
        times[kind] = times.get(kind, 0.0) + spent
    return {kind: spent / sum(times.values()) for kind, spent in times.items()}


def endless(loader: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def torch_device(device: str) -> torch.device:
    return torch.device("cuda" if device == "gpu" else "cpu")


def wait() -> None:
    """Until a GPU, where there is one, has done what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def measure(
    device: str = "cpu",
    model: str = "resnet18",
    batch_size: int = 128,
    images: int = 50_000,
    rounds: int = 5,
    warm_up: int = 1,
) -> harness.Page:
    """Every peer and the matrix products, in turn; `images` of an epoch on a GPU."""
    size = (model, batch_size, images // batch_size if device == "gpu" else 4)
    cfg, chosen = on_device(job(device, size, *FAST))
    precision = str(cfg.trainer.precision or "32-true")
    cases = {
        COPIED: harness.fresh(copied_script, device, size),
        "bare Lightning (2)": harness.fresh(bare_lightning, device, size),
        "hpml, defaults": harness.fresh(ours, device, size, ()),
        HAND_32: harness.fresh(by_hand, device, size, FLOAT32),
        FAST_32: harness.fresh(ours, device, size, FLOAT32),
        HAND_ALL: harness.fresh(by_hand, device, size, FAST),
        FAST_ALL: harness.fresh(ours, device, size, FAST),
    }
    products = {
        f"matrix product, {name} (4)": harness.fresh(matrix_product, device, wanted)
        for name, wanted in {"float32": "32-true", precision: precision}.items()
    }
    seen = harness.interleaved(cases | products, rounds, warm_up)
    network: Any = build_module(cfg, build_data(cfg)).network
    flops = flops_per_sample(network, (3, 32, 32))
    rates = {name: seen[name]["samples_per_s"] for name in cases}
    tops = [seen[name]["flops_per_s"] for name in products]
    rows = [["case", "samples/s", "times (1)", "of the loop by hand", "of the matrix product"]]
    for name, rate in rates.items():
        top = tops[-1 if name in (HAND_ALL, FAST_ALL) else 0]
        hand = harness.spread(rate / rates[BY_HAND[name]], ".3f") if name in BY_HAND else ""
        shown = [harness.spread(rate, ",.1f"), harness.spread(rate / rates[COPIED], ".2f"), hand]
        rows.append([name, *shown, harness.spread(rate * flops / top, ".0%")])
    for name in products:
        gflops = harness.spread(seen[name]["flops_per_s"] / 1e9)
        rows.append([name, f"{gflops} GFLOP/s", "", "", ""])
    kinds = harness.fresh(shares_by_kind, device, size)()
    parts = [["of the loop by hand, all tricks, by torch's profiler", "share"]]
    parts += [[k, f"{s:.1%}"] for k, s in sorted(kinds.items(), key=lambda item: -item[1])]
    fast = seen[FAST_ALL]
    compiling = harness.spread(fast["compile_s"], ".1f")
    about = (
        f"On this device `auto` is {', '.join(f'{k}={v}' for k, v in chosen.items())}. A sample's "
        f"forward and backward pass are {flops / 1e9:.3f} GFLOP. Compiling took {compiling} s in a "
        "process that found the code in torch's cache."
    )
    if "busy" in fast:
        busy = harness.spread(fast["busy"], ".1%")
        about += f" With `experiment=fast` the device is busy {busy} of the epoch."
    configuration = {
        name: harness.contents(on_device(job(device, size, *overrides))[0])
        for name, overrides in (("defaults", ()), ("fast", FAST), ("fast in float32", FLOAT32))
    }
    figures, theme = {"cases": seen, "kinds": kinds}, f"speed-{model}-{batch_size}"
    return harness.Page([about, rows, parts], figures, configuration, device, theme)


if __name__ == "__main__":
    harness.main(measure, model="small", batch_size=32, rounds=1)
