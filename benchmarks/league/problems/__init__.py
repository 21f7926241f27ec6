"""The problems of the league, one row each."""

from __future__ import annotations

from benchmarks.league.problem import Problem
from benchmarks.league.problems import (
    adapters,
    attention,
    cohorts,
    contrastive,
    convex,
    deep,
    distilled,
    double_q,
    embeddings,
    finetune,
    finetune_text,
    flows,
    generative,
    graphs,
    highway,
    labels,
    likeness,
    moving,
    ngrams,
    operators,
    patches,
    pendulum,
    physics,
    pixels,
    recurrent,
    sequences,
    series,
    tabular,
    text,
    translation,
    vision,
)
from benchmarks.league.problems.changed import CHANGES, changed

#: The thirty that the first draw split into a design half and a test half.
FIRST = (
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
#: Written after both halves had been seen, before any method ran on them.
FRESH = (
    Problem("words-convolution", "language", 400, text.words_convolution, "gated convolutions on words, no norm"),
    Problem("masked-bytes", "language", 300, text.masked_bytes, "transformer, masked bytes, norm behind the sums"),
    Problem("rows-gru", "recurrent", 400, recurrent.rows_gru, "GRU on the rows of images"),
    Problem("cifar100-plain", "vision", 350, vision.cifar100_plain, "convolutions, no norm, a hundred classes"),
    Problem("preferences", "embeddings", 900, embeddings.preferences, "pairwise ranking of implicit choices"),
    Problem("diabetes", "tabular", 400, tabular.diabetes, "regression, 332 patients"),
    Problem("digits-selu", "tabular", 750, tabular.digits_selu, "classification, self-normalising, six hidden layers"),
    Problem("moons-flow", "generative", 500, flows.moons_flow, "normalising flow in the plane"),
    Problem("mnist-matching", "generative", 400, flows.mnist_matching, "flow matching of images, group norm"),
    Problem("heat", "physics", 600, physics.heat, "physics-informed, u_t = u_xx / 10, soft edges; error"),
    Problem("pair-noise", "labels", 400, labels.pair_noise, "30 % of the labels the next class, batch norm"),
    Problem("finetune-mixer", "fine-tuning", 300, finetune.finetune_mixer, "mixer, layer norm, all weights"),
    Problem("linear-system", "moving", 900, moving.linear_system, "temporal differences, a copy that follows slowly"),
    Problem("triplets", "contrastive", 500, contrastive.triplets, "metric learning with a margin"),
    Problem("poisson-regression", "convex", 900, convex.poisson_regression, "counts, badly scaled features"),
    Problem("rescaled-layers", "deep", 750, deep.rescaled_layers, "weights 10 and 0.1 times the usual in turn"),
)
#: Written after the three sets above had been seen, before any method ran on them.
LATER = (
    Problem("spelling", "language", 350, translation.spelling, "encoder and decoder, corrects bytes, dropout"),
    Problem("bytes-experts", "language", 300, text.bytes_experts, "transformer on bytes, two of four experts a token"),
    Problem("pixels-states", "recurrent", 350, recurrent.pixels_states, "diagonal state spaces on pixels in a row"),
    Problem("forecast", "recurrent", 500, series.forecast, "dilated convolutions, quantiles of the next hours"),
    Problem("segmentation", "vision", 300, vision.segmentation, "U-Net, batch norm, a class for each pixel"),
    Problem("communities", "embeddings", 900, graphs.communities, "graph network on sampled neighbours"),
    Problem("tumours", "tabular", 520, tabular.tumours, "classification, 427 patients, dropout"),
    Problem(
        "feature-tokens", "tabular", 450, tabular.feature_tokens, "transformer of columns, Huber's loss, long tails"
    ),
    Problem("mnist-pixelcnn", "generative", 600, pixels.mnist_pixelcnn, "masked convolutions, pixel by pixel"),
    Problem("reaction", "physics", 900, operators.reaction, "operator network, solutions measured with noise"),
    Problem("mixup", "labels", 500, labels.mixup, "mixed images and labels, separable convolutions, batch norm"),
    Problem(
        "finetune-order", "fine-tuning", 300, finetune_text.finetune_order, "byte transformer, all weights, dropout"
    ),
    Problem("mean-teacher", "moving", 750, moving.mean_teacher, "1,000 labels, and a teacher that is an average"),
    Problem("captions", "contrastive", 500, contrastive.captions, "images and captions, temperature learned"),
    Problem("hinge", "convex", 900, convex.hinge, "support vector machine on pixels"),
    Problem("cifar-preact", "deep", 250, deep.cifar_preact, "20 layers, batch norm before each, augmented"),
)
#: Written after the four sets above had been seen, before any method ran on them.
FIFTH = (
    Problem(
        "bytes-alibi", "language", 300, attention.bytes_alibi, "transformer on bytes, slopes, keys shared by heads"
    ),
    Problem("bytes-retention", "language", 300, attention.bytes_retention, "linear attention that fades, on bytes"),
    Problem("keywords", "recurrent", 350, sequences.keywords, "noisy sounds, convolutions and a GRU"),
    Problem("bytes-lstm", "recurrent", 350, sequences.bytes_lstm, "two LSTM layers on bytes, dropout"),
    Problem("cifar-convnext", "vision", 250, patches.cifar_convnext, "depthwise convolutions, layer norm, mirrored"),
    Problem("ngrams", "embeddings", 1000, ngrams.ngrams, "hashed pieces of text, dense network"),
    Problem("hazards", "tabular", 750, cohorts.hazards, "survival in discrete time, batch norm"),
    Problem("multitask", "tabular", 750, cohorts.multitask, "a number, a class and a count at once"),
    Problem("masked-images", "generative", 300, patches.masked_images, "masked autoencoder of patches"),
    Problem("pendulum", "physics", 500, pendulum.pendulum, "a field behind Runge and Kutta's steps, noisy paths"),
    Problem("distilled", "labels", 900, distilled.distilled, "the softened classes of a trained network"),
    Problem("finetune-scales", "fine-tuning", 300, adapters.finetune_scales, "norms, biases and a new head"),
    Problem("double-q", "moving", 900, double_q.double_q, "double Q-learning on states behind noise"),
    Problem("class-contrast", "contrastive", 400, likeness.class_contrast, "supervised contrast, batch norm"),
    Problem("cifar-softmax", "convex", 900, convex.cifar_softmax, "linear classifier of coloured pixels"),
    Problem("highway", "deep", 400, highway.highway, "20 gated layers"),
)
#: Those that are run with a change too (`benchmarks.league.problems.changed`).
STEADY = ("bytes-gpt", "clusters", "label-noise", "mnist-layernorm", "ratings", "vae")
PROBLEMS = {row.name: row for row in (*FIRST, *FRESH, *LATER, *FIFTH)}
#: Not in a half: the same problems with the loss, the batch or a layer changed.
CHANGED = {row.name: row for name in STEADY for change in CHANGES if (row := changed(PROBLEMS[name], change))}
