"""The problems of the league, one row each."""

from __future__ import annotations

from benchmarks.league.problem import Problem
from benchmarks.league.problems import (
    contrastive,
    convex,
    deep,
    embeddings,
    finetune,
    generative,
    labels,
    moving,
    physics,
    recurrent,
    tabular,
    text,
    vision,
)

_ROWS = (
    Problem("bytes-llama", "language", 700, text.bytes_llama, "transformer on bytes, rotary, SwiGLU, RMS norm"),
    Problem("bytes-gpt", "language", 700, text.bytes_gpt, "transformer on bytes, layer norm, dropout"),
    Problem("sorting", "language", 800, text.sorting, "transformer that sorts"),
    Problem("bytes-gru", "recurrent", 800, text.bytes_gru, "GRU on bytes"),
    Problem("adding-lstm", "recurrent", 1200, recurrent.adding_lstm, "LSTM, adding problem"),
    Problem("oscillation-gru", "recurrent", 900, recurrent.oscillation_gru, "GRU, next value of a noisy wave"),
    Problem("cifar-batchnorm", "vision", 700, vision.cifar_batchnorm, "residual network, batch norm"),
    Problem("cifar-groupnorm", "vision", 700, vision.cifar_groupnorm, "residual network, group norm, augmented"),
    Problem("mnist-layernorm", "vision", 700, vision.mnist_layernorm, "vision transformer, layer norm"),
    Problem("mnist-autoencoder", "vision", 800, vision.mnist_autoencoder, "deep autoencoder, ELU"),
    Problem("ratings", "embeddings", 1500, embeddings.matrix_factorisation, "matrix factorisation"),
    Problem("skip-gram", "embeddings", 2000, embeddings.skip_gram, "word embeddings, negative samples"),
    Problem("clicks", "embeddings", 1500, embeddings.click_through, "embeddings of categories, dense network"),
    Problem("friedman", "tabular", 1500, tabular.friedman_batchnorm, "regression, batch norm"),
    Problem("clusters", "tabular", 1500, tabular.clusters_dropout, "classification, dropout"),
    Problem("vae", "generative", 800, generative.mnist_vae, "variational autoencoder"),
    Problem("diffusion", "generative", 1500, generative.digits_diffusion, "diffusion model of digits"),
    Problem("poisson", "physics", 1500, physics.poisson, "physics-informed, −u'' = f; error of the solution"),
    Problem("oscillator", "physics", 1500, physics.oscillator, "physics-informed, damped oscillation; error"),
    Problem("label-noise", "labels", 1500, labels.label_noise, "40 % of the labels wrong"),
    Problem("imbalance", "labels", 1500, labels.imbalance, "classes in a ratio of 100 to 1"),
    Problem("finetune-full", "fine-tuning", 300, finetune.finetune_full, "all weights, 800 images"),
    Problem("finetune-last", "fine-tuning", 500, finetune.finetune_last, "last layer, 800 images"),
    Problem("finetune-lowrank", "fine-tuning", 1000, finetune.finetune_lowrank, "corrections of rank 4"),
    Problem("fitted-values", "moving", 2000, moving.fitted_values, "targets from a copy of the network"),
    Problem("contrastive", "contrastive", 1500, contrastive.contrastive, "in-batch negatives"),
    Problem("logistic", "convex", 1500, convex.logistic_regression, "logistic regression"),
    Problem("least-squares", "convex", 2000, convex.least_squares, "least squares, condition 10⁴"),
    Problem("deep-linear", "deep", 1500, deep.deep_linear, "ten linear layers"),
    Problem("teacher-student", "deep", 2000, deep.teacher_student, "near interpolation"),
)
PROBLEMS = {row.name: row for row in _ROWS}
