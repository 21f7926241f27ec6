"""Encoders and encoder–decoders for text of HF `transformers`, each with the loss that it computes itself."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.models.pretrained import (
    CLASSES,
    VOCABULARY,
    classed,
    each_class,
    each_token,
    masked,
    pretrained,
    translated,
)
from tests.models.row import Model

_encoder = partial(pretrained, family="language models, encoder")
_pair = partial(pretrained, terms=each_token, family="language models, encoder–decoder")
_bert: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 16,
    "attention_probs_dropout_prob": 0.0,
    "num_labels": CLASSES,
}
_deberta: dict[str, Any] = {
    **_bert,
    "relative_attention": True,
    "position_buckets": 4,
    "pos_att_type": ["c2p", "p2c"],
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "pooler_hidden_size": 16,
    "max_relative_positions": 8,
}
_bart: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 16,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
}
_t5: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 24,
    "num_layers": 1,
    "num_heads": 2,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
}

ROWS: list[Model] = [
    _encoder("BERT", "BertForMaskedLM", _bert, masked, each_token, note="dropout of 0.1 in the residuals"),
    _encoder("RoBERTa", "RobertaForSequenceClassification", _bert, classed, each_class,
             note="positions counted by a cumulative sum"),
    _encoder("DistilBERT", "DistilBertForSequenceClassification", {
        "vocab_size": VOCABULARY, "dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2,
        "max_position_embeddings": 16, "attention_dropout": 0.0, "num_labels": CLASSES,
    }, classed, each_class, smooth=False),
    _encoder("ALBERT", "AlbertForMaskedLM", {**_bert, "embedding_size": 8}, masked, each_token,
             note="one set of weights for all layers"),
    _encoder("ELECTRA", "ElectraForTokenClassification", {**_bert, "embedding_size": 8, "num_labels": VOCABULARY},
             masked, each_token),
    _encoder("DeBERTa v2", "DebertaV2ForTokenClassification", {**_deberta, "num_labels": VOCABULARY}, masked,
             each_token, note="disentangled attention", whole="aten.gather.default cannot be run"),
    _encoder("DeBERTa v2, labels picked", "DebertaV2ForSequenceClassification", _deberta, classed, each_class,
             exact=False, note="drops unlabelled samples by value, so the split over samples is not claimed"),
    _encoder("ConvBERT", "ConvBertForSequenceClassification", {
        **_bert, "embedding_size": 16, "conv_kernel_size": 3, "head_ratio": 2, "num_attention_heads": 4,
    }, classed, each_class, note="convolutions of weights made from the tokens"),
    _encoder("FNet", "FNetForSequenceClassification", {
        **{k: v for k, v in _bert.items() if not k.startswith("att")}, "type_vocab_size": 2,
    }, lambda: {k: v for k, v in classed().items() if k != "attention_mask"}, each_class,
             note="Fourier transforms for attention"),
    _encoder("ModernBERT", "ModernBertForMaskedLM", {
        **_bert, "pad_token_id": 0, "global_attn_every_n_layers": 2, "local_attention": 4,
    }, masked, each_token),
    _pair("T5", "T5ForConditionalGeneration", _t5, translated, smooth=False, note="relative position biases"),
    _pair("mT5", "MT5ForConditionalGeneration", {**_t5, "feed_forward_proj": "gated-gelu"}, translated),
    _pair("BART", "BartForConditionalGeneration", _bart, translated),
    _pair("Pegasus", "PegasusForConditionalGeneration", {**_bart, "activation_function": "gelu"}, translated),
    _pair("Marian", "MarianMTModel", {**_bart, "activation_function": "swish"}, translated),
]  # fmt: skip
