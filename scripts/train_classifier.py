"""Train the digit classifier that ships in diffusion_lib/weights: python scripts/train_classifier.py

The recipe is diffusion_lib/classifier.py's; about four minutes on two CPU cores.
"""

import json

from diffusion_lib.data import STAND_IN, load_digits
from diffusion_lib.metrics import label_agreement
from diffusion_lib.training.checkpoints import WEIGHTS, save_tensors
from diffusion_lib.training.classifier import EPOCHS, SEED, train_classifier
from diffusion_lib.training.runs import versions


def main() -> None:
    train, test = load_digits("train"), load_digits("test")
    if train.source == STAND_IN:
        raise SystemExit("The classifier judges MNIST digits, so it needs MNIST to train on.")
    model = train_classifier(
        train, lambda told, now: print(f"{told}: {label_agreement(now, *test[:]):.2%} of the test digits")
    )
    card = {
        "what": "digit classifier; its last hidden layer gives the features of the Fréchet distance",
        "command": "python scripts/train_classifier.py",
        "data": train.source,
        "epochs": EPOCHS,
        "seed": SEED,
        "test_accuracy": label_agreement(model, *test[:]),
        "versions": versions(),
    }
    save_tensors(WEIGHTS / "classifier.safetensors", dict(model.state_dict()), card)
    (WEIGHTS / "classifier.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
