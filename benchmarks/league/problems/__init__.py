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
    Problem("bytes-llama", "language", 350, text.bytes_llama, "transformer on bytes, rotary, SwiGLU, RMS norm"),
    Problem("bytes-gpt", "language", 350, text.bytes_gpt, "transformer on bytes, layer norm, dropout"),
    Problem("sorting", "language", 400, text.sorting, "transformer that sorts"),
    Problem("bytes-gru", "recurrent", 400, text.bytes_gru, "GRU on bytes"),
    Problem("adding-lstm", "recurrent", 600, recurrent.adding_lstm, "LSTM, adding problem"),
    Problem("oscillation-gru", "recurrent", 450, recurrent.oscillation_gru, "GRU, next value of a noisy wave"),
    Problem("cifar-batchnorm", "vision", 350, vision.cifar_batchnorm, "residual network, batch norm"),
    Problem("cifar-groupnorm", "vision", 350, vision.cifar_groupnorm, "residual network, group norm, augmented"),
    Problem("mnist-layernorm", "vision", 350, vision.mnist_layernorm, "vision transformer, layer norm"),
    Problem("mnist-autoencoder", "vision", 400, vision.mnist_autoencoder, "deep autoencoder, ELU"),
    Problem("ratings", "embeddings", 750, embeddings.matrix_factorisation, "matrix factorisation"),
    Problem("skip-gram", "embeddings", 1000, embeddings.skip_gram, "word embeddings, negative samples"),
    Problem("clicks", "embeddings", 750, embeddings.click_through, "embeddings of categories, dense network"),
    Problem("friedman", "tabular", 750, tabular.friedman_batchnorm, "regression, batch norm"),
    Problem("clusters", "tabular", 750, tabular.clusters_dropout, "classification, dropout"),
    Problem("vae", "generative", 400, generative.mnist_vae, "variational autoencoder"),
    Problem("diffusion", "generative", 750, generative.digits_diffusion, "diffusion model of digits"),
    Problem("poisson", "physics", 750, physics.poisson, "physics-informed, −u'' = f; error of the solution"),
    Problem("oscillator", "physics", 750, physics.oscillator, "physics-informed, damped oscillation; error"),
    Problem("label-noise", "labels", 750, labels.label_noise, "40 % of the labels wrong"),
    Problem("imbalance", "labels", 750, labels.imbalance, "classes in a ratio of 100 to 1"),
    Problem("finetune-full", "fine-tuning", 200, finetune.finetune_full, "all weights, 800 images"),
    Problem("finetune-last", "fine-tuning", 250, finetune.finetune_last, "last layer, 800 images"),
    Problem("finetune-lowrank", "fine-tuning", 500, finetune.finetune_lowrank, "corrections of rank 4"),
    Problem("fitted-values", "moving", 1000, moving.fitted_values, "targets from a copy of the network"),
    Problem("contrastive", "contrastive", 750, contrastive.contrastive, "in-batch negatives"),
    Problem("logistic", "convex", 750, convex.logistic_regression, "logistic regression"),
    Problem("least-squares", "convex", 1000, convex.least_squares, "least squares, condition 10⁴"),
    Problem("deep-linear", "deep", 750, deep.deep_linear, "ten linear layers"),
    Problem("teacher-student", "deep", 1000, deep.teacher_student, "near interpolation"),
)
PROBLEMS = {row.name: row for row in _ROWS}
