"""Networks for tests: tersor.zoo's, and what else users bring, randomly initialised.

Batch-norm statistics and affine parameters are drawn so that activations keep a sane scale and no
channel is dead; every network is in eval mode. ``NETWORKS`` lists name -> (module, example inputs).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from tersor import zoo

Example = tuple[torch.Tensor, ...]


def initialise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Draw every parameter and batch-norm statistic from ``seed`` and switch to eval mode."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: torch.Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for m in module.modules():
            if isinstance(m, nn.modules.batchnorm._BatchNorm):
                uniform(m.running_mean, -0.2, 0.2)
                uniform(m.running_var, 0.6, 1.6)
                uniform(m.weight, 0.7, 1.3)
                uniform(m.bias, -0.2, 0.2)
            elif isinstance(m, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                fan_in = m.weight[0].numel()
                if isinstance(m, nn.ConvTranspose2d):
                    fan_in = (
                        m.weight.shape[0] * m.weight[0, 0].numel() // (m.stride[0] * m.stride[1])
                    )
                m.weight.copy_(
                    torch.randn(m.weight.shape, generator=generator) * (2 / fan_in) ** 0.5
                )
                if m.bias is not None:
                    uniform(m.bias, -0.1, 0.1)
    return module.eval()


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    activation: nn.Module | None = None,
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([activation] if activation is not None else []))


def autoencoder(features: int = 640) -> nn.Sequential:
    """Anomaly detection of MLPerf Tiny's shape."""
    widths = [features, 128, 128, 8, 128, 128]
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], features))


class TorchEncoder(nn.Module):
    """Two layers of torch.nn.TransformerEncoderLayer on [N, time, features], mean over time."""

    def __init__(self, width: int = 32, heads: int = 4, classes: int = 7) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            width, heads, 64, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(x).mean(1))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, c = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        a = (q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5).softmax(-1)
        return self.out((a @ v).transpose(1, 2).reshape(n, t, c))


class PlainEncoder(nn.Module):
    """A hand-written encoder on token ids: embedding, class token, two post-norm layers."""

    def __init__(
        self, vocabulary: int = 50, time: int = 9, width: int = 24, classes: int = 5
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.1)
        self.position = nn.Parameter(torch.randn(1, time + 1, width) * 0.1)
        self.attention = nn.ModuleList(Attention(width, 3) for _ in range(2))
        self.norm1 = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.mlp = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 48), nn.GELU(), nn.Linear(48, width)) for _ in range(2)
        )
        self.norm2 = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.head = nn.Linear(width, classes)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        for attention, norm1, mlp, norm2 in zip(
            self.attention, self.norm1, self.mlp, self.norm2, strict=True
        ):
            x = norm1(x + attention(x))
            x = norm2(x + mlp(x))
        return self.head(x[:, 0])


def conv1d_net(classes: int = 6) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(3, 16, 5, 2, 2),
        nn.BatchNorm1d(16),
        nn.LeakyReLU(0.1),
        nn.MaxPool1d(2),
        nn.Conv1d(16, 32, 3, 1, 2, dilation=2),
        nn.BatchNorm1d(32),
        nn.ELU(),
        nn.AvgPool1d(2),
        nn.Conv1d(32, 32, 3, padding=1, groups=4),
        nn.PReLU(32),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(32, classes),
        nn.LogSoftmax(1),
    )


class Decoder(nn.Module):
    """Transposed convolutions and both kinds of resize."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            conv_bn(3, 8, 3, 2, activation=nn.ReLU()), conv_bn(8, 16, 3, 2, activation=nn.ReLU())
        )
        self.up1 = nn.ConvTranspose2d(16, 8, 3, 2, 1, output_padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.mix = nn.Conv2d(16, 8, 3, padding=1)
        self.up2 = nn.ConvTranspose2d(8, 4, 2, 2, groups=2)
        self.last = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        e = self.encode(x)
        a = F.relu(self.bn1(self.up1(e)))
        b = F.interpolate(e[:, :8], scale_factor=2, mode="nearest")
        y = torch.tanh(self.up2(F.relu(self.mix(torch.cat([a, b], 1)))))
        return torch.sigmoid(
            F.interpolate(self.last(y), size=(40, 40), mode="bilinear", align_corners=False)
        )


class TwoInTwoOut(nn.Module):
    """An image and a vector in, a class and an embedding out."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(
            conv_bn(3, 12, 3, 2, activation=nn.ReLU()), conv_bn(12, 12, 3, 2, activation=nn.ReLU())
        )
        self.vector = nn.Linear(5, 12)
        self.head = nn.Linear(24, 4)

    def forward(
        self, image: torch.Tensor, vector: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = self.image(image), F.relu(self.vector(vector))
        gated = a * torch.sigmoid(b)[:, :, None, None]
        first, second = gated.mean((2, 3)), torch.amax(a, (2, 3))
        embedding = torch.cat([first - second, torch.clamp(b, -1.0, 0.5)], 1)
        return self.head(embedding), embedding


def _image(size: int, channels: int = 3) -> Example:
    return (torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(size)),)


def _normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


# name -> (module, example inputs of batch 2)
NETWORKS: dict[str, Callable[[], tuple[nn.Module, Example]]] = {
    "resnet20": lambda: (zoo.resnet20(), _image(32)),
    "resnet8": lambda: (zoo.resnet8(), _image(32)),
    "mobilenet_v1": lambda: (
        zoo.mobilenet_v1(num_classes=2, input_size=96, width=0.25),
        _image(96),
    ),
    "mobilenet_v2": lambda: (zoo.mobilenet_v2(), _image(224)),
    "mobilenet_v2_cifar": lambda: (zoo.mobilenet_v2(num_classes=10, input_size=32), _image(32)),
    "mobilenet_v3_small": lambda: (zoo.mobilenet_v3_small(), _image(224)),
    "efficientnet_b0": lambda: (zoo.efficientnet_b0(), _image(224)),
    "squeezenet": lambda: (zoo.squeezenet1_1(), _image(224)),
    "densenet121": lambda: (zoo.densenet121(), _image(224)),
    "ds_cnn": lambda: (
        nn.Sequential(zoo.ds_cnn(), nn.Softmax(-1)),
        (_normal(2, 1, 49, 10),),
    ),
    "autoencoder": lambda: (autoencoder(), (_normal(2, 640),)),
    "transformer_torch": lambda: (TorchEncoder(), (_normal(2, 11, 32),)),
    "transformer_plain": lambda: (PlainEncoder(), (torch.arange(18).reshape(2, 9) % 50,)),
    "conv1d": lambda: (conv1d_net(), (_normal(2, 3, 100),)),
    "decoder": lambda: (Decoder(), _image(32)),
    "two_in_two_out": lambda: (TwoInTwoOut(), (*_image(32), _normal(2, 5))),
}


def build(name: str, seed: int = 0) -> tuple[nn.Module, Example]:
    """Return network ``name`` in eval mode and example inputs of batch 2, fixed by ``seed``."""
    torch.manual_seed(seed)
    module, example = NETWORKS[name]()
    return initialise(module, seed), example
