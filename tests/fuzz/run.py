"""Fuzzes the protocol with atheris, from the vectors as seeds.

    python tests/fuzz/run.py line                              # until Ctrl-C
    python tests/fuzz/run.py message -runs=100000 -seed=7      # options of libFuzzer

Targets: line, frame, message, columns. What fails is written to crash-* in the current folder;
`python tests/fuzz/run.py TARGET crash-...` shows it again.
"""

import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

with atheris.instrument_imports(include=["wayside_protocol"]):
    from fuzz import targets


def main() -> None:
    """Run the target named first; what follows are libFuzzer's options, or files to run once."""
    if len(sys.argv) < 2 or sys.argv[1] not in targets.TARGETS:
        sys.exit(__doc__)
    target = sys.argv.pop(1)
    with tempfile.TemporaryDirectory(prefix="wayside-fuzz-") as corpus:
        options = sys.argv[1:]
        if all(option.startswith("-") for option in options):
            for i, seed in enumerate(targets.seeds(target)):
                Path(corpus, f"seed-{i}").write_bytes(seed)
            options = ["-max_len=4096", *options, corpus]
        atheris.Setup([sys.argv[0], *options], targets.TARGETS[target])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
