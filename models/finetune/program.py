"""``python -m models finetune JOB.json``: the one fine-tune program, from job file to result file.

It sets thread counts before numpy is loaded, hands the job to ``models.finetune.sequence``, and
turns every named end into its exit code and result. Progress goes to standard output as JSON
lines, words for people to standard error. Exit codes: see ``contract.finetune``.

It starts with onnxruntime's arena, which makes a step up to 2.5 times as fast and takes more
memory. Where that passes the cap, it starts itself anew with ``--frugal`` before it gives up
(docs/decisions/0004-finetune-child.md). Results are the same.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

from contract.finetune import EXIT_BAD_INPUT, EXIT_DONE, RESULT_FILE, FinetuneResult
from models.finetune.errors import BadJobError, FinetuneError, NeedsFrugalityError
from models.finetune.files import write_bytes
from models.finetune.job import load_job

FRUGAL = "--frugal"

_USAGE = f"usage: python -m models finetune JOB.json [{FRUGAL}]"
# Numpy's own threads would only reserve memory: onnxruntime does the work.
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def main(argv: list[str]) -> int:
    """Run the job named by the one argument and return the exit code."""
    frugal = argv[1:] == [FRUGAL]
    if len(argv) != 1 + frugal:
        print(_USAGE, file=sys.stderr)
        return EXIT_BAD_INPUT
    path = Path(argv[0])
    try:
        job = load_job(path)
    except BadJobError as error:
        return _refuse(path, error)
    for name in _ONE_THREAD:
        os.environ[name] = "1"
    # Only now: numpy reads the variables when it is loaded.
    from models.finetune.sequence import run_job  # noqa: PLC0415

    try:
        return run_job(job, frugal=frugal)
    except NeedsFrugalityError:
        _start_frugally(path)


def _start_frugally(path: Path) -> NoReturn:
    """Become a fresh process, same number and same pipes, that goes on from the checkpoint."""
    print("the memory cap was reached: going on without the arena, slower", file=sys.stderr)
    sys.stdout.flush()
    command = [sys.executable, "-m", "models", "finetune", str(path), FRUGAL]
    os.execv(sys.executable, command)  # noqa: S606 - this very program


def _refuse(path: Path, refusal: BadJobError) -> int:
    """Say what is wrong with the job, in its output folder too where it names one."""
    print(f"fine-tune failed: {refusal}", file=sys.stderr)
    try:
        fields = json.loads(path.read_bytes())
        folder, job_id = Path(fields["output_dir"]), str(fields.get("job_id", ""))
        if folder.is_absolute():
            folder.mkdir(parents=True, exist_ok=True)
            result = FinetuneResult(job_id=job_id, status="bad_input", reason=str(refusal))
            content = json.dumps(dataclasses.asdict(result), indent=1).encode()
            write_bytes(folder / RESULT_FILE, content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, FinetuneError):
        print("the job names no usable output_dir: no result file", file=sys.stderr)
    return refusal.exit_code


def print_floor(argv: list[str]) -> int:
    """Print this program's RSS after its imports, as one JSON line: what any job starts from."""
    if argv:
        print("usage: python -m models floor", file=sys.stderr)
        return EXIT_BAD_INPUT
    for name in _ONE_THREAD:
        os.environ[name] = "1"
    from models.finetune.sequence import floor_bytes  # noqa: PLC0415 - after the variables

    print(json.dumps({"floor_bytes": floor_bytes()}))
    return EXIT_DONE
