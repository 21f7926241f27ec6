"""Real data as tensors, read once a process from the folder that CURVESTEP_DATA names."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from curvestep.bench.data.images import ImageSet, cifar10, cifar100, mnist
from curvestep.bench.data.text import tinyshakespeare

Images = tuple[Tensor, Tensor, Tensor, Tensor]


def _scaled(images: ImageSet, train: int, test: int, shrink: int) -> Images:
    """Return the first images, shrunk by means over squares and standardised with the training pixels."""
    parts = []
    for pixels, rows in ((images.train_images, train), (images.test_images, test)):
        part = pixels[:rows].float() / 255.0
        parts.append(torch.nn.functional.avg_pool2d(part, shrink) if shrink > 1 else part)
    mean, deviation = parts[0].mean(), parts[0].std()
    first, second = ((part - mean) / deviation for part in parts)
    return first, images.train_labels[:train], second, images.test_labels[:test]


@cache
def mnist_images(train: int, test: int, shrink: int = 1) -> Images:
    """Return MNIST's first images as (N, 1, 28 / shrink, 28 / shrink), standardised, and their labels."""
    return _scaled(mnist(None), train, test, shrink)


@cache
def mnist_pixels(train: int, test: int) -> tuple[Tensor, Tensor]:
    """Return MNIST's first images as rows of 784 pixels in [0, 1]."""
    images = mnist(None)
    pixels = images.train_images[:train], images.test_images[:test]
    first, second = (part.float().reshape(-1, 784) / 255.0 for part in pixels)
    return first, second


@cache
def mnist_ink(train: int, test: int) -> Images:
    """Return MNIST's first images as (N, 1, 14, 14) with the ink of each pixel from 0 to 1, and their labels."""
    first, labels, second, truth = mnist_images(train, test, 2)
    least, most = first.min(), first.max()
    return (first - least) / (most - least), labels, ((second - least) / (most - least)).clamp(0.0, 1.0), truth


@cache
def cifar_images(train: int, test: int) -> Images:
    """Return CIFAR-10's first images at 16×16, standardised, and their labels."""
    return _scaled(cifar10(None), train, test, 2)


@cache
def cifar100_images(train: int, test: int) -> Images:
    """Return CIFAR-100's first images at 16×16, standardised, and the numbers of their hundred classes."""
    return _scaled(cifar100(None), train, test, 2)


@cache
def text_bytes() -> tuple[Tensor, Tensor]:
    """Return Tiny Shakespeare as byte values, the last tenth apart."""
    corpus = tinyshakespeare(None, 65)
    codes = torch.tensor([ord(character) for character in corpus.vocabulary])[corpus.tokens.long()]
    cut = len(codes) * 9 // 10
    return codes[:cut], codes[cut:]


@cache
def text_words(vocabulary: int) -> tuple[Tensor, Tensor]:
    """Return Tiny Shakespeare as numbers of its commonest words, 0 for all others; the last tenth apart."""
    corpus = tinyshakespeare(None, 65)
    text = "".join(corpus.vocabulary[token] for token in corpus.tokens.tolist())
    words = "".join(c if c.isalpha() else " " for c in text.lower()).split()
    names, places, counts = np.unique(np.array(words), return_inverse=True, return_counts=True)
    rank = np.zeros(len(names), dtype=np.int64)
    common = np.argsort(-counts, kind="stable")[: vocabulary - 1]
    rank[common] = np.arange(1, len(common) + 1)
    numbers = torch.from_numpy(rank[places])
    cut = len(numbers) * 9 // 10
    return numbers[:cut], numbers[cut:]


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Return scikit-learn's 1,797 digits as rows of 64 pixels, standardised as a whole, in a fixed random order.

    Returns:
        Pixels and labels.
    """
    inputs, labels = load_digits(return_X_y=True)
    pixels = torch.tensor(inputs, dtype=torch.float32)
    pixels = (pixels - pixels.mean()) / pixels.std()
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
    return pixels[order], torch.tensor(labels)[order]
