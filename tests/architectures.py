"""Networks of our own for tests: the architectures that users bring, randomly initialised.

Batch-norm statistics and affine parameters are drawn so that activations keep a sane scale and no
channel is dead; every network is in eval mode. ``NETWORKS`` lists name -> (module, example inputs).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

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


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, option: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.option = option if stride > 1 or inputs != outputs else "identity"
        self.extra = (outputs - inputs) // 2
        if self.option == "B":
            self.shortcut = conv_bn(inputs, outputs, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.option == "A":  # parameter-free: subsample, pad channels with zeros
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra))
        elif self.option == "B":
            x = self.shortcut(x)
        return F.relu(y + x)


class ResNetCifar(nn.Module):
    """ResNet-(6n+2) of He et al. 2016 for 32 x 32 images."""

    def __init__(self, blocks: int, option: str = "A", classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks, 1, option)
        self.layer2 = self._stage(16, 32, blocks, 2, option)
        self.layer3 = self._stage(32, 64, blocks, 2, option)
        self.linear = nn.Linear(64, classes)

    @staticmethod
    def _stage(inputs: int, outputs: int, blocks: int, stride: int, option: str) -> nn.Sequential:
        return nn.Sequential(
            *(
                BasicBlock(inputs if i == 0 else outputs, outputs, stride if i == 0 else 1, option)
                for i in range(blocks)
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.avg_pool2d(x, x.shape[3])
        return self.linear(x.view(x.shape[0], -1))


def mobilenet_v1(width: float = 0.25, classes: int = 10) -> nn.Sequential:
    layers: list[nn.Module] = [conv_bn(3, int(32 * width), 3, 2, activation=nn.ReLU())]
    inputs = int(32 * width)
    for channels, stride in [
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        (512, 1),
        (1024, 2),
        (1024, 1),
    ]:
        outputs = int(channels * width)
        layers += [
            conv_bn(inputs, inputs, 3, stride, inputs, nn.ReLU()),
            conv_bn(inputs, outputs, 1, activation=nn.ReLU()),
        ]
        inputs = outputs
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(inputs, classes)
    )


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, inner: int, activation: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, inner, 1)
        self.expand = nn.Conv2d(inner, channels, 1)
        self.activation, self.gate = activation, gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = F.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.expand(self.activation(self.reduce(s))))


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise, optional squeeze-excite, 1x1 projection."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        kernel: int,
        stride: int,
        activation: Callable[[], nn.Module],
        excite: nn.Module | None = None,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if hidden != inputs:
            layers.append(conv_bn(inputs, hidden, 1, activation=activation()))
        layers.append(conv_bn(hidden, hidden, kernel, stride, hidden, activation()))
        if excite is not None:
            layers.append(excite)
        layers.append(conv_bn(hidden, outputs, 1))
        self.block = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x) if self.residual else self.block(x)


class Classifier(nn.Module):
    """Features, mean over the image, a head."""

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features, self.head = features, head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


def mobilenet_v2(classes: int = 1000, cifar: bool = False) -> Classifier:
    stages = [
        (1, 16, 1, 1),
        (6, 24, 2, 1 if cifar else 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]
    layers: list[nn.Module] = [conv_bn(3, 32, 3, 1 if cifar else 2, activation=nn.ReLU6())]
    inputs = 32
    for ratio, outputs, count, stride in stages:
        for i in range(count):
            layers.append(
                InvertedResidual(
                    inputs, inputs * ratio, outputs, 3, stride if i == 0 else 1, nn.ReLU6
                )
            )
            inputs = outputs
    layers.append(conv_bn(inputs, 1280, 1, activation=nn.ReLU6()))
    return Classifier(
        nn.Sequential(*layers), nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))
    )


def mobilenet_v3_small(classes: int = 1000) -> Classifier:
    rows = [
        (3, 16, 16, True, "R", 2),
        (3, 72, 24, False, "R", 2),
        (3, 88, 24, False, "R", 1),
        (5, 96, 40, True, "H", 2),
        (5, 240, 40, True, "H", 1),
        (5, 240, 40, True, "H", 1),
        (5, 120, 48, True, "H", 1),
        (5, 144, 48, True, "H", 1),
        (5, 288, 96, True, "H", 2),
        (5, 576, 96, True, "H", 1),
        (5, 576, 96, True, "H", 1),
    ]
    layers: list[nn.Module] = [conv_bn(3, 16, 3, 2, activation=nn.Hardswish())]
    inputs = 16
    for kernel, hidden, outputs, excite, kind, stride in rows:
        se = SqueezeExcite(hidden, max(8, hidden // 4 // 8 * 8), nn.ReLU(), nn.Hardsigmoid())
        layers.append(
            InvertedResidual(
                inputs,
                hidden,
                outputs,
                kernel,
                stride,
                nn.ReLU if kind == "R" else nn.Hardswish,
                se if excite else None,
            )
        )
        inputs = outputs
    layers.append(conv_bn(inputs, 576, 1, activation=nn.Hardswish()))
    return Classifier(
        nn.Sequential(*layers),
        nn.Sequential(
            nn.Linear(576, 1024), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(1024, classes)
        ),
    )


def efficientnet_b0(classes: int = 1000) -> Classifier:
    rows = [
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 40, 2, 2, 5),
        (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    ]
    layers: list[nn.Module] = [conv_bn(3, 32, 3, 2, activation=nn.SiLU())]
    inputs = 32
    for ratio, outputs, count, stride, kernel in rows:
        for i in range(count):
            hidden = inputs * ratio
            se = SqueezeExcite(hidden, max(1, inputs // 4), nn.SiLU(), nn.Sigmoid())
            layers.append(
                InvertedResidual(
                    inputs, hidden, outputs, kernel, stride if i == 0 else 1, nn.SiLU, se
                )
            )
            inputs = outputs
    layers.append(conv_bn(inputs, 1280, 1, activation=nn.SiLU()))
    return Classifier(
        nn.Sequential(*layers), nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))
    )


class Fire(nn.Module):
    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1(x)), F.relu(self.expand3(x))], 1)


def squeezenet(classes: int = 1000) -> nn.Sequential:
    def pool() -> nn.MaxPool2d:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 2),
        nn.ReLU(),
        pool(),
        Fire(64, 16, 64),
        Fire(128, 16, 64),
        pool(),
        Fire(128, 32, 128),
        Fire(256, 32, 128),
        pool(),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        Fire(512, 64, 256),
        nn.Dropout(),
        nn.Conv2d(512, classes, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


class DenseLayer(nn.Module):
    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(F.relu(self.bn1(x)))
        return torch.cat([x, 0.3 * self.conv2(F.relu(self.bn2(y)))], 1)


def densenet(
    blocks: tuple[int, ...] = (6, 12, 24, 16), growth: int = 32, classes: int = 1000
) -> Classifier:
    """DenseNet-BC; the default is DenseNet-121."""
    channels = 2 * growth
    layers: list[nn.Module] = [
        conv_bn(3, channels, 7, 2, activation=nn.ReLU()),
        nn.MaxPool2d(3, 2, 1),
    ]
    for i, count in enumerate(blocks):
        for _ in range(count):
            layers.append(DenseLayer(channels, growth))
            channels += growth
        if i + 1 < len(blocks):
            layers += [
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                nn.Conv2d(channels, channels // 2, 1, bias=False),
                nn.AvgPool2d(2),
            ]
            channels //= 2
    layers += [nn.BatchNorm2d(channels), nn.ReLU()]
    return Classifier(nn.Sequential(*layers), nn.Linear(channels, classes))


def ds_cnn(classes: int = 12) -> nn.Sequential:
    """Keyword spotting on 49 x 10 MFCC features (Zhang et al. 2017)."""
    layers: list[nn.Module] = [
        nn.ZeroPad2d((1, 2, 4, 5)),
        nn.Conv2d(1, 64, (10, 4), 2, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
    ]
    for _ in range(4):
        layers += [conv_bn(64, 64, 3, 1, 64, nn.ReLU()), conv_bn(64, 64, 1, activation=nn.ReLU())]
    return nn.Sequential(
        *layers, nn.AvgPool2d((25, 5)), nn.Flatten(), nn.Linear(64, classes), nn.Softmax(-1)
    )


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
    "resnet20": lambda: (ResNetCifar(3), _image(32)),
    "resnet8": lambda: (ResNetCifar(1, "B"), _image(32)),
    "mobilenet_v1": lambda: (mobilenet_v1(), _image(96)),
    "mobilenet_v2": lambda: (mobilenet_v2(), _image(224)),
    "mobilenet_v2_cifar": lambda: (mobilenet_v2(10, cifar=True), _image(32)),
    "mobilenet_v3_small": lambda: (mobilenet_v3_small(), _image(224)),
    "efficientnet_b0": lambda: (efficientnet_b0(), _image(224)),
    "squeezenet": lambda: (squeezenet(), _image(224)),
    "densenet121": lambda: (densenet(), _image(224)),
    "ds_cnn": lambda: (ds_cnn(), (_normal(2, 1, 49, 10),)),
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
