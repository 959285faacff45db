"""The classifier that judges samples: for MNIST the one that ships; for other data, one trained here and kept."""

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from diffusion_lib.data import Digits
from diffusion_lib.datasets import cache_root
from diffusion_lib.metrics import DigitClassifier, label_agreement
from diffusion_lib.profiles import DataConfig
from diffusion_lib.training.checkpoints import WEIGHTS, load_classifier, load_into, load_tensors, save_tensors

EPOCHS, BATCH, SHIFT, SEED = 6, 128, 2, 0
LEAST_STEPS = 300  # small data is seen more often than EPOCHS times


def train_classifier(train: Digits, say: Callable[[str, DigitClassifier], None] | None = None) -> DigitClassifier:
    """A classifier of ``train``, in eval mode on its device: AdamW, one cycle of the rate, random shifts.

    ``say`` is called after each epoch with "epoch N of M". Whoever draws random numbers next is not disturbed.
    """
    device, batch = train.labels.device, min(BATCH, len(train))
    steps = len(train) // batch
    epochs = max(EPOCHS, -(-LEAST_STEPS // steps))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(SEED)
        model = DigitClassifier.of(train.config).to(device).to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * steps)
        for epoch in range(1, epochs + 1):
            model.train()
            for index in torch.randperm(len(train))[: steps * batch].to(device).split(batch):
                images, labels = train[index]
                shift = torch.randint(-SHIFT, SHIFT + 1, (2,)).tolist()
                loss = cross_entropy(model(torch.roll(images, shift, dims=(2, 3))), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
            model.eval()
            if say:
                say(f"epoch {epoch} of {epochs}", model)
    return model.requires_grad_(False)


def classifier_for(train: Digits, test: Digits, say: Callable[[str], None]) -> tuple[DigitClassifier, float]:
    """A classifier of such data, and the share of its test images that it reads rightly.

    MNIST and its stand-in have the shipped one. Any other data has one trained on first need and kept in the cache,
    under a name that holds a sum of the images. ``say`` is told what takes time.
    """
    device = train.labels.device
    if train.config == DataConfig():
        return load_classifier(device), load_tensors(WEIGHTS / "classifier.safetensors")[1]["test_accuracy"]
    path = _place(train)
    if path.is_file():
        tensors, card = load_tensors(path)
        model = DigitClassifier.of(train.config)
        load_into(model, tensors, path)
        return model.to(device).eval().requires_grad_(False), card["test_accuracy"]
    say(f"No classifier ships for {train.source}: training one.")
    model = train_classifier(train, lambda told, _: say(f"classifier, {told}"))
    accuracy = label_agreement(model, *test[:])
    card = {"what": f"classifier of {train.source}", "test_accuracy": accuracy}
    try:
        save_tensors(path, dict(model.state_dict()), card)
    except OSError as error:
        say(f"It will be trained again next time: {error}.")
    return model, accuracy


def _place(train: Digits) -> Path:
    config = train.config
    name = re.sub(r"\W+", "-", train.source).strip("-").lower()
    shape = "x".join(map(str, (config.channels, *config.size, config.num_classes)))
    return cache_root() / "classifiers" / f"{name}-{shape}-{train.digest}.safetensors"
