"""What networks compute, counted and by hand, and what nothing is known of."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

from hpml.models import flop_formulas
from hpml.models.counts import flops_per_sample
from hpml.models.flops import UNSEEN, FlopCounter, may_hold_products
from hpml.models.networks import resnet18

BATCH, LENGTH, WIDTH, HEADS = 2, 5, 8, 2


def counted(compute: Callable[[], Any]) -> int:
    """What is known of all that runs."""
    with FlopCounter() as counter:
        compute()
    assert counter.uncounted == []
    return counter.total


def forward_and_both(network: nn.Module, *shape: int, device: str = "cpu") -> tuple[int, int]:
    """Of the forward pass, and with the backward pass, of inputs that need no gradient."""
    network = network.to(device)
    inputs = torch.ones(shape, device=device)

    def run() -> Tensor:
        outputs = network(inputs)
        return (outputs[0] if isinstance(outputs, tuple) else outputs).sum()

    return counted(run), counted(lambda: run().backward())


def convolution(out: int, inp: int, kernel: int, places: int, groups: int = 1) -> int:
    return 2 * BATCH * out * (inp // groups) * kernel * places


FIRST, SECOND = convolution(8, 4, 9, 36), convolution(12, 8, 9, 16)
CONVOLUTIONS = {
    "grouped": (
        nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(8, 12, 3, groups=4)),
        (4, 8, 8),
        (FIRST // 2, SECOND // 4),
    ),
    "depthwise": (
        nn.Sequential(nn.Conv2d(64, 64, 7, padding=3, groups=64), nn.Conv2d(64, 8, 1)),
        (64, 6, 6),
        (convolution(64, 64, 49, 36, groups=64), convolution(8, 64, 1, 36)),
    ),
    "transposed": (  # each place of its input meets the whole kernel
        nn.Sequential(nn.ConvTranspose2d(4, 6, 3, stride=2), nn.ConvTranspose2d(6, 4, 3, groups=2)),
        (4, 5, 5),
        (convolution(6, 4, 9, 25), convolution(4, 6, 9, 121, groups=2)),
    ),
    "of a volume": (
        nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.Conv3d(4, 4, (1, 2, 2), groups=2)),
        (2, 4, 5, 6),
        (convolution(4, 2, 27, 120), convolution(4, 4, 4, 4 * 4 * 5, groups=2)),
    ),
    "of a line": (
        nn.Sequential(nn.Conv1d(3, 6, 5, dilation=2), nn.Conv1d(6, 6, 2, groups=6)),
        (3, 20),
        (convolution(6, 3, 5, 12), convolution(6, 6, 2, 11, groups=6)),
    ),
}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_convolutions(kind: str, device: str) -> None:
    """Each gradient costs a forward pass, with groups too; the input's own is not asked for."""
    network, shape, (first, last) = CONVOLUTIONS[kind]
    found = forward_and_both(network, BATCH, *shape, device=device)
    assert found == (first + last, 2 * first + 3 * last)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("gates", [4, 3, 1])
def test_recurrent_layers(gates: int, device: str) -> None:
    """LSTM, GRU and a plain one, in two layers and both directions, fused or not: the same."""
    inputs, hidden = 3, 7
    kind = {4: nn.LSTM, 3: nn.GRU, 1: nn.RNN}[gates]
    network = kind(inputs, hidden, num_layers=2, bidirectional=True, batch_first=True)
    a_layer = 2 * gates * hidden * hidden * 2 * BATCH  # hidden to hidden, of a step
    first = 2 * gates * hidden * inputs * 2 * BATCH * LENGTH
    second = 2 * gates * hidden * (2 * hidden) * 2 * BATCH * LENGTH
    forward = first + second + 2 * a_layer * LENGTH
    # what was before the first step needs no gradient, nor does the input
    backward = first + 2 * second + 2 * a_layer * (2 * LENGTH - 1)
    found = forward_and_both(network, BATCH, LENGTH, inputs, device=device)
    assert found == (forward, forward + backward)


def test_a_recurrent_layer_that_is_not_trained() -> None:
    """Only what others behind it need is computed: the gradient of its inputs."""
    network = nn.LSTM(3, 7).requires_grad_(False)
    inputs = torch.ones(LENGTH, BATCH, 3, requires_grad=True)
    each = 2 * BATCH * 4 * 7
    forward = each * LENGTH * (3 + 7)
    backward = each * (3 * LENGTH + 7 * (LENGTH - 1))
    assert counted(lambda: network(inputs)[0].sum().backward()) == forward + backward


def test_cudnn_counts_as_a_cpu_does() -> None:
    """Of its arguments, without a GPU: projections and all layers in one operation."""
    network = nn.LSTM(3, 7, num_layers=2, bidirectional=True, batch_first=True)
    forward, both = forward_and_both(network, BATCH, LENGTH, 3)
    weights = [*network.parameters()]
    inputs, start = torch.ones(BATCH, LENGTH, 3), torch.ones(4, BATCH, 7)
    kind = (2, 7, 0, 2, True, 0.0, True, True, [], None)
    assert flop_formulas.cudnn_rnn(inputs, weights, 4, None, start, start, *kind) == forward
    arriving = (start, start, inputs, inputs, start, start)
    rest = (*arriving, *kind, inputs, [False, False, False, True])
    found = flop_formulas.cudnn_rnn_backward(inputs, weights, 4, inputs, *rest)
    assert found == both - forward
    names = {argument.name: n for n, argument in enumerate(schema_of_cudnn().arguments)}
    order = ["input", "weight", "weight_stride0", "weight_buf", "hx"]
    assert [names[name] for name in order] == [0, 1, 2, 3, 4]
    assert len(names) - names["bidirectional"] == 5
    assert len(names) - names["output_mask"] == 1


def schema_of_cudnn() -> Any:
    return torch.ops.aten._cudnn_rnn_backward.default._schema


PROJECTIONS = 2 * BATCH * LENGTH * WIDTH * 4 * WIDTH  # to queries, keys, values, and out
SCORES = 2 * BATCH * LENGTH * LENGTH * WIDTH * 2  # queries with keys, scores with values


def attend(network: nn.Module, inputs: Tensor, **how: Any) -> Tensor:
    outputs: Tensor = network(inputs, inputs, inputs, **how)[0]
    return outputs


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("weights", [True, False])
def test_attention_with_gradients(weights: bool, device: str) -> None:
    """Twice the forward pass, by a fused kernel or by one product after the other."""
    network = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, device=device)
    inputs = torch.ones(BATCH, LENGTH, WIDTH, device=device, requires_grad=True)
    found = counted(lambda: attend(network, inputs, need_weights=weights).sum().backward())
    assert found == 3 * (PROJECTIONS + SCORES)


@pytest.mark.parametrize("weights", [True, False])
def test_attention_without_gradients(weights: bool) -> None:
    """Also by the fast path of inference, whose kernel torch's counter does not know."""
    network = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).eval()
    inputs = torch.ones(BATCH, LENGTH, WIDTH)
    with torch.no_grad():
        found = counted(lambda: attend(network, inputs, need_weights=weights))
    assert found == PROJECTIONS + SCORES


def test_attention_of_few_keys_and_broad_values() -> None:
    """Queries, keys and values of sizes of their own; heads that share keys."""
    queries, keys = (torch.ones(BATCH, HEADS, n, WIDTH, requires_grad=True) for n in (6, 4))
    values = torch.ones(BATCH, HEADS, 4, WIDTH, requires_grad=True)
    forward = 2 * BATCH * HEADS * 6 * 4 * (WIDTH + WIDTH)
    attention = F.scaled_dot_product_attention
    assert counted(lambda: attention(queries, keys, values).sum().backward()) == 3 * forward
    assert flop_formulas.attention(queries, keys, values[..., :3]) == (
        2 * BATCH * HEADS * 6 * 4 * (WIDTH + 3)
    )
    assert flop_formulas.attention(queries, keys[:, :1], values[:, :1]) == forward


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_transformer_encoder(dropout: float) -> None:
    """Attention and two linear layers, training by either kernel, and by inference's fast path."""
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 16, dropout, batch_first=True)
    network = nn.TransformerEncoder(layer, 3)
    forward = 3 * (PROJECTIONS + SCORES + 2 * BATCH * LENGTH * 2 * WIDTH * 16)
    inputs = torch.rand(BATCH, LENGTH, WIDTH, requires_grad=True)
    assert counted(lambda: network(inputs).sum().backward()) == 3 * forward
    with torch.no_grad():
        assert counted(lambda: network.eval()(inputs)) == forward


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_bilinear(device: str) -> None:
    """The left with the weight, then that with the right; each of three gradients costs the first.

    What only scales element by element does not count.
    """
    left, right, out = 5, 6, 7
    network = nn.Bilinear(left, right, out, device=device)
    inputs = [torch.ones(BATCH, n, device=device, requires_grad=True) for n in (left, right)]
    first = 2 * BATCH * out * left * right
    forward = first + 2 * BATCH * out * right
    assert counted(lambda: network(*inputs)) == forward
    assert counted(lambda: network(*inputs).sum().backward()) == forward + 3 * first


def test_an_embedding_looks_up() -> None:
    """It computes nothing, nor does the sum of a bag; the layer behind it does."""
    network = nn.Sequential(nn.Embedding(50, WIDTH), nn.Flatten(), nn.Linear(LENGTH * WIDTH, 3))
    words = torch.zeros(BATCH, LENGTH, dtype=torch.long)
    head = 2 * BATCH * LENGTH * WIDTH * 3
    assert counted(lambda: network(words)) == head
    assert counted(lambda: network(words).sum().backward()) == 3 * head
    assert counted(lambda: nn.EmbeddingBag(50, WIDTH)(words).sum().backward()) == 0


def test_resnet18() -> None:
    """Twenty convolutions and a linear layer; the images need no gradient."""
    stem = 2 * 64 * 3 * 9 * 32**2
    stages = 2 * 2 * 64 * 64 * 9 * 32**2 * 2
    for width, size in ((128, 16), (256, 8), (512, 4)):
        first = width * (width // 2) * (9 + 1)  # with its shortcut
        stages += 2 * (first + 3 * width * width * 9) * size**2
    rest = stages + 2 * 512 * 10
    network = resnet18(10)
    assert counted(lambda: network.eval()(torch.ones(1, 3, 32, 32))) == stem + rest
    assert flops_per_sample(network, (3, 32, 32)) == 2 * stem + 3 * rest


def test_products_of_vectors_in_place_and_complex_ones() -> None:
    """Those that torch's counter leaves out: each pair is multiplied and added."""
    matrix, vector = torch.ones(3, 4), torch.ones(4)
    batch = torch.ones(2, 3, 4)
    assert counted(lambda: matrix @ vector) == counted(lambda: vector @ matrix.T) == 2 * 12
    assert counted(lambda: vector @ vector) == 2 * 4
    assert counted(lambda: torch.addmv(torch.ones(3), matrix, vector)) == 2 * 12
    assert counted(lambda: torch.addbmm(torch.ones(3, 3), batch, batch.mT)) == 2 * 2 * 3 * 4 * 3
    assert counted(lambda: torch.ones(3, 3).addmm_(matrix, matrix.T)) == 2 * 3 * 4 * 3
    complex_ones = torch.ones(3, 4, dtype=torch.complex64)
    assert counted(lambda: complex_ones @ complex_ones.T) == 4 * 2 * 3 * 4 * 3
    with torch.inference_mode():  # where operations come before they are taken apart
        assert counted(lambda: F.linear(matrix, matrix)) == 2 * 3 * 4 * 3


def test_compiled_networks_count_as_they_are() -> None:
    """torch runs them as they are written while operations are watched."""
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    compiled = torch.compile(network)
    assert counted(lambda: compiled(torch.ones(3, 4))) == 2 * 3 * (4 * 8 + 8 * 2)


@torch.library.custom_op("hpml_tests::square", mutates_args=())
def square(matrix: Tensor) -> Tensor:
    return matrix @ matrix


@torch.library.custom_op("hpml_tests::known", mutates_args=())
def known(matrix: Tensor) -> Tensor:
    return matrix @ matrix


square.register_fake(torch.empty_like)
register_flop_formula(torch.ops.hpml_tests.known)(
    lambda shape, out_shape=None, **_: 2 * shape[0] ** 3
)


class PastTorch(torch.autograd.Function):
    """As a kernel does that Triton or an extension in C++ starts by itself."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        product = torch.empty_like(matrix)
        product.numpy()[...] = matrix.numpy() @ matrix.numpy()
        return product

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def uncounted(compute: Callable[[], Any]) -> list[str]:
    with FlopCounter() as counter:
        compute()
    return counter.uncounted


def test_what_no_formula_knows_is_named() -> None:
    """Of other libraries each operation, of torch those of matrices, and kernels called past it."""
    matrix = torch.ones(4, 4, requires_grad=True)
    assert uncounted(lambda: square(matrix) @ matrix) == ["hpml_tests.square"]
    assert uncounted(lambda: known(matrix)) == []
    assert uncounted(lambda: torch.linalg.qr(matrix)) == ["aten.linalg_qr"]
    assert uncounted(lambda: torch.fft.rfft(matrix)) == ["aten._fft_r2c"]
    sparse = torch.eye(4).to_sparse_csr()
    assert uncounted(lambda: sparse @ torch.ones(4, 4)) == ["aten.mm"]
    nested = torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(3, 4)])
    layer = nn.Linear(4, 4)
    assert uncounted(lambda: layer(nested)) == ["aten.linear"]
    assert uncounted(lambda: (PastTorch.apply(matrix) * 2).sum().backward()) == [UNSEEN]


def test_what_a_training_step_does_besides_is_no_product() -> None:
    """Optimizers, clipped gradients, dropout, normalisation, pooling, losses, tensors to fill."""
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1)
    )
    optimizer = torch.optim.AdamW(network.parameters())

    def step() -> None:
        outputs = network(torch.empty(BATCH, 3, 8, 8).normal_()).flatten(1)
        F.cross_entropy(outputs, torch.zeros(BATCH, dtype=torch.long)).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    assert counted(step) == 2 * convolution(4, 3, 9, 36)


def test_names_of_products() -> None:
    """An operation that torch may add is told by its name; those that only sound so are not."""

    def told(name: str) -> bool:
        operation = getattr(torch.ops.aten, name)
        return may_hold_products(getattr(operation, operation.overloads()[0]), torch.ones(1))

    for name in ("_weight_int8pack_mm", "_cdist_forward", "miopen_rnn", "cudnn_convolution_relu"):
        assert told(name)
    for name in (
        *("_convert_indices_from_coo_to_csr", "upsample_bilinear2d", "upsample_linear1d", "lgamma"),
        *("_standard_gamma", "linalg_vector_norm", "_thnn_fused_lstm_cell", "_foreach_norm"),
        *("_cudnn_rnn_flatten_weight", "log_sigmoid_forward", "embedding", "native_layer_norm"),
        *("upsample_trilinear3d", "_fused_sdp_choice", "_fused_adamw_", "cumsum", "topk"),
    ):
        assert not told(name)


def test_a_network_with_an_unknown_operation_has_no_figure() -> None:
    """Rather than one that leaves it out."""

    class Squares(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.sum() + square(images.detach()[:, 0, 0])

    layer = nn.Conv2d(3, 3, 1)
    assert flops_per_sample(layer, (3, 2, 2)) == 2 * 2 * 3 * 3 * 2 * 2
    assert flops_per_sample(nn.Sequential(layer, Squares()), (3, 2, 2)) is None
