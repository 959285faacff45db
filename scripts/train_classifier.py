"""Train the digit classifier that ships in diffusion_lib/weights: python scripts/train_classifier.py

Six epochs with random shifts of up to two pixels; about four minutes on two CPU cores.
"""

import json

import torch
from torch.nn.functional import cross_entropy

from diffusion_lib.checkpoints import WEIGHTS, save_tensors
from diffusion_lib.data import STAND_IN, load_digits
from diffusion_lib.metrics import DigitClassifier, label_agreement
from diffusion_lib.runs import versions

EPOCHS, BATCH, SHIFT, SEED = 6, 128, 2, 0


def main() -> None:
    train, test = load_digits("train"), load_digits("test")
    if train.source == STAND_IN:
        raise SystemExit("The classifier judges MNIST digits, so it needs MNIST to train on.")
    torch.manual_seed(SEED)
    model = DigitClassifier().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    steps = len(train) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=EPOCHS * steps)
    for epoch in range(1, EPOCHS + 1):
        model.train()
        order = torch.randperm(len(train))
        for i in range(steps):
            images, labels = train[order[i * BATCH : (i + 1) * BATCH]]
            shift = torch.randint(-SHIFT, SHIFT + 1, (2,)).tolist()
            loss = cross_entropy(model(torch.roll(images, shift, dims=(2, 3))), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        accuracy = label_agreement(model, *test[:])
        print(f"epoch {epoch}: {accuracy:.2%} of the test digits")
    card = {
        "what": "digit classifier; its last hidden layer gives the features of the Fréchet distance",
        "command": "python scripts/train_classifier.py",
        "data": train.source,
        "epochs": EPOCHS,
        "seed": SEED,
        "test_accuracy": accuracy,
        "versions": versions(),
    }
    save_tensors(WEIGHTS / "classifier.safetensors", dict(model.state_dict()), card)
    (WEIGHTS / "classifier.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
