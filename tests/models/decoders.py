"""Causal language models of HF `transformers`, each with the loss that it computes itself."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.models.pretrained import VOCABULARY, causal, next_token, padded, pretrained
from tests.models.row import Model

_row = partial(pretrained, terms=next_token, family="language models, decoder")
_gpt: dict[str, Any] = {"vocab_size": VOCABULARY, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
_llama: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
}
_bloom: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": 16, "n_layer": 2, "n_head": 2}
_experts: dict[str, Any] = {
    **_llama,
    "num_hidden_layers": 1,
    "num_experts_per_tok": 2,
    "experts_implementation": "eager",  # the grouped product has no float64
}
_ROUTED = "mixture of experts: rows of tokens are chosen by value, so the split over samples is not claimed"

ROWS: list[Model] = [
    _row("GPT-2", "GPT2LMHeadModel", {**_gpt, "attn_pdrop": 0.0}, padded, note="dropout of 0.1 in the residuals"),
    _row("GPT-Neo", "GPTNeoForCausalLM", {
        "vocab_size": VOCABULARY, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "max_position_embeddings": 16,
        "attention_types": [[["global", "local"], 1]], "window_size": 4, "intermediate_size": 24,
    }, causal, note="a layer of local attention"),
    _row("GPT-NeoX", "GPTNeoXForCausalLM", {
        "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 16,
    }, causal),
    _row("GPT-J", "GPTJForCausalLM", {**_gpt, "rotary_dim": 4}, causal),
    _row("Llama", "LlamaForCausalLM", _llama, padded, note="grouped queries"),
    _row("Mistral", "MistralForCausalLM", {**_llama, "sliding_window": 4}, causal, note="sliding window"),
    _row("Qwen2", "Qwen2ForCausalLM", _llama, padded),
    _row("Qwen3", "Qwen3ForCausalLM", {**_llama, "head_dim": 4}, causal),
    _row("Gemma", "GemmaForCausalLM", {**_llama, "head_dim": 4}, causal),
    _row("Gemma 2", "Gemma2ForCausalLM", {**_llama, "head_dim": 4, "sliding_window": 4}, causal,
         note="soft-capped logits"),
    _row("Phi", "PhiForCausalLM", {**_llama, "num_key_value_heads": 4}, causal),
    _row("OPT", "OPTForCausalLM", {
        "vocab_size": VOCABULARY, "hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 16, "pad_token_id": 0, "attention_dropout": 0.0,
    }, padded, smooth=False),
    _row("Falcon", "FalconForCausalLM", {
        "vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
    }, causal, note="one key and value head"),
    _row("BLOOM", "BloomForCausalLM", _bloom, padded, note="ALiBi biases; its activation is an autograd.Function"),
    _row("StarCoder2", "Starcoder2ForCausalLM", {**_llama, "embedding_dropout": 0.0, "residual_dropout": 0.0}, causal),
    _row("Mamba", "MambaForCausalLM", {
        "vocab_size": VOCABULARY, "hidden_size": 16, "state_size": 4, "num_hidden_layers": 2, "expand": 2,
        "conv_kernel": 3, "time_step_rank": 4,
    }, causal, note="selective state space, sequential scan"),
    _row("Mamba-2", "Mamba2ForCausalLM", {
        "vocab_size": VOCABULARY, "hidden_size": 16, "state_size": 4, "num_hidden_layers": 2, "expand": 2,
        "conv_kernel": 3, "num_heads": 4, "head_dim": 8, "n_groups": 1,
        "chunk_size": 2,  # chunks of 4 would have three rows of decays, as many as there are samples: no split is shown
    }, causal, note="state space duality, chunked"),
    _row("RWKV", "RwkvForCausalLM", {
        "vocab_size": VOCABULARY, "context_length": 16, "hidden_size": 16, "num_hidden_layers": 2,
        "attention_hidden_size": 16, "intermediate_size": 24,
    }, causal, smooth=False),
    _row("Mixtral", "MixtralForCausalLM", {**_experts, "num_local_experts": 4}, causal, smooth=False, exact=False,
         note=_ROUTED),
    _row("OLMoE", "OlmoeForCausalLM", {**_experts, "num_experts": 4}, causal, smooth=False, exact=False, note=_ROUTED),
    _row("RecurrentGemma", "RecurrentGemmaForCausalLM", {
        "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3,
        "num_attention_heads": 2, "lru_width": 16, "attention_window_size": 4,
        "block_types": ["recurrent", "attention"],
    }, causal, note="the gradient of a square root is clipped by an autograd.Function"),
]  # fmt: skip
