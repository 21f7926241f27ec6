"""Residual networks of basic blocks for 32×32 images, with batch normalisation or with none."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn


def resnet(
    base_width: int, blocks: int, classes: int, stem_stride: int, *, normalised: bool, stages: int = 3
) -> nn.Sequential:
    """Return a 3×3 convolution, stages of basic blocks, the mean over the image, a linear layer; ReLU.

    Each stage but the first halves the image and doubles the channels. Convolutions start from N(0, 2/fan_out); without
    normalisation the last convolution of each block starts at zero, so that the network starts as a shallow one, in
    which no signal grows with depth.

    Source: He, Zhang, Ren, Sun, Deep Residual Learning for Image Recognition, arXiv 1512.03385, section 4.2; the zero
    start: Zhang, Dauphin, Ma, Fixup Initialization, arXiv 1901.09321, section 3.

    Deviations: where the shape changes the shortcut is a 1×1 convolution instead of zero channels; of Fixup only the
    zero start, not the scalars and not the start of the other convolutions.
    """
    layers: list[nn.Module] = [*_convolution(3, base_width, 3, stem_stride, normalised), nn.ReLU()]
    channels = base_width
    for stage in range(stages):
        for block in range(blocks):
            width = base_width * 2**stage
            layers.append(BasicBlock(channels, width, 2 if stage and not block else 1, normalised=normalised))
            channels = width
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if not normalised:
        for module in network.modules():
            if isinstance(module, BasicBlock):
                nn.init.zeros_([part for part in module.branch if isinstance(part, nn.Conv2d)][-1].weight)
    return network


@final
class BasicBlock(nn.Module):
    """relu(shortcut(x) + convolution(relu(convolution(x)))).

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        stride: of the first convolution and of the shortcut.
        normalised: whether each convolution is followed by batch normalisation.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, normalised: bool) -> None:
        super().__init__()
        first = _convolution(inputs, outputs, 3, stride, normalised)
        self.branch = nn.Sequential(*first, nn.ReLU(), *_convolution(outputs, outputs, 3, 1, normalised))
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(*_convolution(inputs, outputs, 1, stride, normalised))
        self.activation = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return self.activation(self.shortcut(images) + self.branch(images))


def _convolution(inputs: int, outputs: int, size: int, stride: int, normalised: bool) -> list[nn.Module]:
    """A convolution that keeps the size of the image up to its stride, and its normalisation."""
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=not normalised)
    return [convolution, nn.BatchNorm2d(outputs)] if normalised else [convolution]
