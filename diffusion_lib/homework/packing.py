"""What a student hands in, as one .zip."""

import zipfile
from pathlib import Path

from diffusion_lib.homework.exercises import TESTS_FILE, Assignment, get

MOST_BYTES = 100 * 2**20
RUN_FILES = ("code.json", "card.json", "history.jsonl", "*.png")  # of an experiment; its weights stay at home


def pack_hand_in(folder: Path, out: Path, assignment: Assignment) -> list[str]:
    """Zip the exercises' files and all modules beside them, the notebooks, every write-up.* and what runs left."""
    code = sorted({get(name).path for name in assignment.exercises})
    code += [TESTS_FILE] * bool(assignment.tests)
    missing = [name for name in code if not (folder / name).exists()]
    if missing:
        raise ValueError(f"{', '.join(missing)} is missing in {folder}: run this in the folder of the homework.")
    papers = [p.relative_to(folder).as_posix() for p in [*folder.glob("write-up*"), *folder.glob("notebooks/*.ipynb")]]
    own = [p.relative_to(folder).as_posix() for p in [*folder.glob("diffusion_lib/**/*.py"), *folder.glob("*.py")]]
    kept = [p for kind in RUN_FILES for p in folder.glob(f"experiment/*/{kind}")]
    runs = sorted(p.relative_to(folder).as_posix() for p in kept if (p.parent / "code.json").exists())
    names = [*code, *sorted(n for n in own if n not in code and "/homework/" not in n), *sorted(papers), *runs]
    size = sum((folder / name).stat().st_size for name in names)
    if size > MOST_BYTES:
        raise ValueError(f"{size / 2**20:.0f} MiB are too much to hand in; {MOST_BYTES / 2**20:.0f} MiB are allowed.")
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(folder / name, f"homework/{name}")
    return names
