"""What the lab asks, part by part."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    title: str
    asked: str
    task: str  # which answers it


SUMMARY, WORKERS, DIAGNOSIS = "summary", "workers", "diagnosis"
TRAINING, NO_NORM, DEVICES = "training", "no_norm", "devices"
PARTS = {
    "c1": Part(
        "Training",
        "Train ResNet-18 on CIFAR-10 for five epochs with SGD, and report loss and accuracy.",
        TRAINING,
    ),
    "c2": Part(
        "Where an epoch's time goes",
        "Measure in each epoch the time of loading data, of training, and of all of it.",
        TRAINING,
    ),
    "c3": Part(
        "The number of workers",
        "Raise the number of loading workers from 0 until loading gets no faster.",
        WORKERS,
    ),
    "c4": Part(
        "One worker against the best",
        "Compare the times with one worker and with the best number, and explain the difference.",
        DIAGNOSIS,
    ),
    "c5": Part(
        "CPU against GPU",
        "Compare the time of an epoch on the CPU and on the GPU, with the best number of workers.",
        DEVICES,
    ),
    "c6": Part(
        "Five optimizers",
        "Train with SGD, SGD with Nesterov, Adagrad, Adadelta and Adam at one learning rate, and "
        "compare time, loss and accuracy.",
        TRAINING,
    ),
    "c7": Part(
        "Without batch normalisation",
        "Train with SGD without batch normalisation, and compare.",
        NO_NORM,
    ),
    "q1": Part("Convolutions", "How many convolutional layers has the network?", SUMMARY),
    "q2": Part("The last layer", "How many inputs has the last linear layer?", SUMMARY),
    "q3": Part(
        "Parameters and gradients with SGD",
        "How many parameters are trained, and how many gradients are there, with SGD?",
        SUMMARY,
    ),
    "q4": Part(
        "Parameters and gradients with Adam",
        "How many parameters are trained, and how many gradients are there, with Adam?",
        SUMMARY,
    ),
}
# What the lab asks for, and what its timed parts leave out: validation and checkpoints.
LABS_OWN = {
    "data.pipeline": "per_sample",
    "optimizer.lr": "0.1",
    "trainer.limit_val_batches": "0",
    "trainer.enable_checkpointing": "false",
    "monitor": "train/accuracy",
}
# What a search for workers takes at most, unless a budget is short or other figures are asked for.
SEARCH_ROUNDS, SEARCH_S = 30, 180.0
OPTIMIZERS = ("sgd", "nesterov", "adagrad", "adadelta", "adam")
# Which networks and optimizers are counted; the first ones are the network as it is, which is all
# where it has no normalisation to do without.
SUMMARIES_AS_IT_IS = {"sgd": ["optimizer=sgd"], "adam": ["optimizer=adam"]}
FIRST_STEPS = "summary.first_steps=4"  # by which C7 is explained
SUMMARIES = {
    "sgd": ["optimizer=sgd", FIRST_STEPS],
    "adam": ["optimizer=adam"],
    "no_norm_sgd": ["optimizer=sgd", "model.norm=false", FIRST_STEPS],
    "no_norm_adam": ["optimizer=adam", "model.norm=false"],
}
# For each part that counts, or is explained by counts, those that its figures are from, if any.
COUNTED = {
    **dict.fromkeys(("q1", "q2"), ("sgd",)),
    "q3": ("sgd", "no_norm_sgd"),
    "q4": ("adam", "no_norm_adam"),
    "c7": ("sgd", "no_norm_sgd"),
}
