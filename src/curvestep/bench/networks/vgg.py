"""VGG11 and VGG19 for 32×32 images."""

from __future__ import annotations

from torch import nn

from curvestep.nn import FeatureMemory

# Channels of each convolution as multiples of the first one's; None halves the image (configurations of the source).
_PLANS: dict[int, tuple[int | None, ...]] = {
    11: (1, None, 2, None, 4, 4, None, 8, 8, None, 8, 8, None),
    19: (1, 1, None, 2, 2, None, 4, 4, 4, 4, None, 8, 8, 8, 8, None, 8, 8, 8, 8, None),
}


def vgg(
    depth: int,
    base_width: int,
    classes: int,
    beta: float | None,
    memory: int | None = None,
    *,
    scaled: bool = False,
    halved: bool = False,
) -> nn.Sequential:
    """Return 3×3 convolutions with softplus or ReLU, five max-poolings down to 1×1, and one linear layer.

    Args:
        depth: 11 or 19, the layers of the published network.
        base_width: channels of the first convolution.
        classes: number of classes.
        beta: sharpness of softplus, None for ReLU.
        memory: rows that a memory of features before the last layer shows it, None for no memory.
        scaled: whether weights start at the scale of He et al. and biases at 0, instead of torch's own numbers.
        halved: whether the images are averaged to 16×16 first, and the last pooling is left out.

    Source: Simonyan, Zisserman, Very Deep Convolutional Networks, arXiv 1409.1556, table 1, columns A and E.

    Deviations: one linear layer instead of three of width 4096, as is usual for 32×32 images; softplus where a second
    derivative is wanted everywhere; a start at the scale of He et al. (arXiv 1502.01852) for deep or narrow
    networks, in which at torch's own the signal fades before it reaches the last layer.
    """
    layers: list[nn.Module] = [nn.AvgPool2d(2)] if halved else []
    channels = 3
    for multiple in _PLANS[depth][:-1] if halved else _PLANS[depth]:
        if multiple is None:
            layers.append(nn.MaxPool2d(2))
            continue
        convolution = nn.Conv2d(channels, multiple * base_width, kernel_size=3, padding=1)
        if scaled:
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(convolution.bias)  # pyright: ignore[reportArgumentType] - it has one
        layers.append(convolution)
        layers.append(nn.ReLU() if beta is None else nn.Softplus(beta=beta))
        channels = multiple * base_width
    remembered = [] if memory is None else [FeatureMemory(memory)]
    return nn.Sequential(*layers, nn.Flatten(), *remembered, nn.Linear(channels, classes))
