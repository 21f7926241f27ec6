"""Models of HF `transformers` for images, sound, and images with text."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.models.pretrained import (
    BATCH,
    CLASSES,
    VOCABULARY,
    each_class,
    each_token,
    padded,
    pictures,
    pretrained,
    tokens,
)
from tests.models.row import Model

_image = partial(pretrained, terms=each_class, family="images and sound")
_vit: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 8,
    "patch_size": 4,
    "num_labels": CLASSES,
}
_sound: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8, 8),
    "conv_stride": (3, 2),
    "conv_kernel": (5, 3),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8,
    "num_labels": CLASSES,
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
    "attention_dropout": 0.0,
    "apply_spec_augment": False,
}


def _waves() -> dict[str, Tensor]:
    return {"input_values": torch.randn(BATCH, 60), "labels": torch.tensor([0, 2, 4])}


def _spoken() -> dict[str, Tensor]:
    return {"input_features": torch.randn(BATCH, 8, 20), "labels": tokens(5)}


def _captioned() -> dict[str, Any]:
    given = padded()
    given.pop("labels")
    given["input_ids"][:, -1] = VOCABULARY - 1  # the end token, whose state is the text's
    return {**given, "pixel_values": torch.randn(BATCH, 3, 8, 8), "return_loss": True}


def _matched(out: Any, given: dict[str, Tensor]) -> Tensor:
    """Each sample's caption among all captions, and its image among all images."""
    target = torch.arange(BATCH)
    logits = out.logits_per_text
    return 0.5 * (
        F.cross_entropy(logits, target, reduction="none") + F.cross_entropy(logits.T, target, reduction="none")
    )


_clip_part: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "projection_dim": 8,
}

ROWS: list[Model] = [
    _image("ViT", "ViTForImageClassification", _vit, pictures(8)),
    _image("DeiT", "DeiTForImageClassification", _vit, pictures(8), note="distillation token"),
    _image("BEiT", "BeitForImageClassification", {
        **_vit, "vocab_size": VOCABULARY, "use_relative_position_bias": True, "drop_path_rate": 0.0,
    }, pictures(8), note="relative position biases that are trained"),
    _image("DINOv2", "Dinov2ForImageClassification", _vit, pictures(8)),
    _image("Swin", "SwinForImageClassification", {
        "image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [2, 1], "num_heads": [1, 2], "window_size": 2,
        "drop_path_rate": 0.0, "num_labels": CLASSES,
    }, pictures(16), note="shifted windows", whole="aten.as_strided_.default cannot be run"),
    _image("ConvNeXt", "ConvNextForImageClassification", {
        "hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "patch_size": 2, "num_labels": CLASSES,
    }, pictures(16)),
    _image("ResNet", "ResNetForImageClassification", {
        "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "num_labels": CLASSES, "hidden_act": "silu",
    }, pictures(16), smooth=False, note="batch normalisation in training mode", whole="samples mix behind"),
    _image("MobileNet V2", "MobileNetV2ForImageClassification", {
        "image_size": 32, "depth_multiplier": 0.125, "min_depth": 4, "depth_divisible_by": 4, "num_labels": CLASSES,
        "classifier_dropout_prob": 0.0,
    }, pictures(32), smooth=False, note="depthwise convolutions, batch normalisation in training mode",
        whole="samples mix behind"),
    _image("PoolFormer", "PoolFormerForImageClassification", {
        "hidden_sizes": [8, 16], "depths": [1, 1], "num_encoder_blocks": 2, "patch_sizes": [3, 3], "strides": [2, 2],
        "padding": [1, 1], "drop_path_rate": 0.0, "num_labels": CLASSES,
    }, pictures(16), note="pooling for attention"),
    _image("SegFormer", "SegformerForImageClassification", {
        "num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [8, 16], "patch_sizes": [3, 3],
        "strides": [2, 2], "num_attention_heads": [1, 2], "mlp_ratios": [2, 2], "drop_path_rate": 0.0,
        "num_labels": CLASSES,
    }, pictures(16)),
    pretrained("CLIP", "CLIPModel", {
        "text_config": {**_clip_part, "vocab_size": VOCABULARY, "max_position_embeddings": 16,
                        "eos_token_id": VOCABULARY - 1},
        "vision_config": {**_clip_part, "image_size": 8, "patch_size": 4},
        "projection_dim": 8,
    }, _captioned, _matched, family="images and sound", exact=False,
               note="the loss compares every sample with every other"),
    pretrained("Whisper", "WhisperForConditionalGeneration", {
        "vocab_size": VOCABULARY, "num_mel_bins": 8, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24,
        "max_source_positions": 10, "max_target_positions": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        "decoder_start_token_id": 1, "suppress_tokens": None, "begin_suppress_tokens": None,
    }, _spoken, each_token, family="images and sound"),
    pretrained("Wav2Vec2", "Wav2Vec2ForSequenceClassification", _sound, _waves, each_class, family="images and sound",
               note="group normalisation, weight normalisation of a convolution"),
    pretrained("HuBERT", "HubertForSequenceClassification", _sound, _waves, each_class, family="images and sound"),
    pretrained("Audio spectrogram transformer", "ASTForAudioClassification", {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "patch_size": 4,
        "max_length": 12, "num_mel_bins": 8, "frequency_stride": 4, "time_stride": 4, "num_labels": CLASSES,
    }, lambda: {"input_values": torch.randn(BATCH, 12, 8), "labels": torch.tensor([0, 2, 4])}, each_class,
               family="images and sound"),
]  # fmt: skip
