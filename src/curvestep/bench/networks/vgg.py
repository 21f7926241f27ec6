"""VGG11 for 32×32 images."""

from __future__ import annotations

from torch import nn

# Channels of each convolution as multiples of the first one's; None halves the image (configuration A of the source).
_PLAN = (1, None, 2, None, 4, 4, None, 8, 8, None, 8, 8, None)


def vgg11(base_width: int, classes: int, beta: float | None) -> nn.Sequential:
    """Return eight 3×3 convolutions with softplus or ReLU, five max-poolings down to 1×1, and one linear layer.

    Source: Simonyan, Zisserman, Very Deep Convolutional Networks, arXiv 1409.1556, table 1, column A.

    Deviations: one linear layer instead of three of width 4096, as is usual for 32×32 images; softplus where a second
    derivative is wanted everywhere.
    """
    layers: list[nn.Module] = []
    channels = 3
    for multiple in _PLAN:
        if multiple is None:
            layers.append(nn.MaxPool2d(2))
            continue
        layers.append(nn.Conv2d(channels, multiple * base_width, kernel_size=3, padding=1))
        layers.append(nn.ReLU() if beta is None else nn.Softplus(beta=beta))
        channels = multiple * base_width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, classes))
