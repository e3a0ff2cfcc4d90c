"""A small network that has one of everything that quantization-aware training handles."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

SHAPE = (3, 12, 12)


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, 4, 1)
        self.fc2 = nn.Conv2d(4, channels, 1)

    def forward(self, x):
        return x * F.hardsigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class Everything(nn.Module):
    """Convolutions of every kind, sums, products, functions, pools, copies."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(8)
        self.gate = Gate(8)
        self.project = nn.Conv2d(8, 8, 1)
        self.wide = nn.Conv2d(8, 12, 3, 2, 0)
        self.side = nn.Conv2d(12, 6, 1)
        self.pre_norm = nn.BatchNorm2d(18)
        self.dropout = nn.Dropout(0.5)
        self.hidden = nn.Linear(18, 16)
        self.last = nn.Linear(16, 10)

    def forward(self, x):
        x = F.relu6(self.stem_norm(self.stem(x)))
        y = F.hardswish(self.depthwise_norm(self.depthwise(x)))
        x = x + self.project(self.gate(y))
        x = F.relu(self.wide(F.pad(x, (0, 1, 0, 1))))
        x = torch.cat([F.max_pool2d(x, 2), F.avg_pool2d(self.side(x), 2)], 1)
        x = F.relu(self.pre_norm(x))
        x = self.dropout(x.mean((2, 3)))
        return self.last(F.silu(self.hidden(x)))


def trained(network, steps=6, seed=0):
    """Move weights and running statistics away from where they start."""
    torch.manual_seed(seed)
    optimizer = torch.optim.SGD(network.parameters(), 0.02)
    network.train()
    for _ in range(steps):
        loss = F.cross_entropy(network(images(16)), torch.randint(0, 10, (16,)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return network


def images(count, seed=None):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return torch.randn(count, *SHAPE, generator=generator)
