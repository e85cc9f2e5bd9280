"""A stand-in for the package facenet-pytorch, which asks for an old torch and is not installed."""

import types

import torch
from torch import nn


class InceptionResnetV1(nn.Module):
    """Of the package's signature, and of its output: unit embeddings of 512 numbers."""

    def __init__(self, pretrained=None, classify=False, num_classes=None):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 7, stride=4)
        self.last = nn.Linear(8, 512)

    def forward(self, x):
        pooled = torch.relu(self.first(x)).mean((2, 3))
        return nn.functional.normalize(self.last(pooled))


def put_in_place(monkeypatch):
    """Let ``import facenet_pytorch`` give the stand-in."""
    module = types.ModuleType("facenet_pytorch")
    module.InceptionResnetV1 = InceptionResnetV1
    monkeypatch.setitem(__import__("sys").modules, "facenet_pytorch", module)
