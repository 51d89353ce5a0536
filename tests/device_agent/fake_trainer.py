"""Stands in for the fine-tune program: ``fake_trainer.py MODE JOB.json``. Standard library only.

MODE is a word, or ``DRY+FULL`` for one word for the two-step dry run and another for the training.
Like the real program it hands back a stored result at once when the job is run again.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

MODE, JOB_PATH = sys.argv[1:3]
JOB = json.loads(Path(JOB_PATH).read_text())
OUT = Path(JOB["output_dir"])
DRY = JOB.get("max_steps") is not None


def say(event, done, total=2, **more):
    line = {"event": event, "done": done, "total": total, "loss": None}
    print(json.dumps({**line, "rss_bytes": 1, "text": "", **more}), flush=True)  # noqa: T201


def write(name, data):
    temp = OUT / f".{name}"
    temp.write_bytes(data)
    temp.replace(OUT / name)


def finish(status="done", code=0, **facts):
    result = {"job_id": JOB["job_id"], "status": status, "reason": f"it was {status}", **facts}
    write("result.json", json.dumps(result).encode())
    sys.exit(code)


def good(accuracy=0.95):
    stored = OUT / "result.json"
    if stored.exists() and json.loads(stored.read_text())["job_id"] == JOB["job_id"]:
        say("done", 2)
        sys.exit(0)
    with (OUT / "started").open("a") as log:
        log.write("x")
    for done in (1, 2):
        say("step", done, loss=0.5 / done)
    shutil.copy(JOB["inference_path"], OUT / "model.onnx")
    digest = hashlib.sha256((OUT / "model.onnx").read_bytes()).hexdigest()
    scores = [[n % 2, n % 2, 0.5 + n / 200] for n in range(100)]
    kept = {"model_sha256": digest, "validation": scores, "test": scores}
    write("scores.json", json.dumps(kept).encode())
    finish(
        balanced_accuracy_before=0.5, balanced_accuracy_after=accuracy, n_train=40, n_test=20,
        peak_rss_bytes=60_000_000, peak_anonymous_bytes=30_000_000, floor_bytes=50_000_000,
        seconds=1.5, model_sha256=digest, cap_kinds=["rlimit_data"],
    )  # fmt: skip


def again(ours, rival):
    """Train another model; where the job names a rival, score both."""
    model = Path(JOB["inference_path"]).read_bytes() + b"trained again"
    (OUT / "model.onnx").write_bytes(model)
    (OUT / "seen.txt").write_text("0" * 32 + "\n")
    against = {"balanced_accuracy_rival": rival, "balanced_accuracy_against_rival": ours}
    finish(
        balanced_accuracy_before=0.5, balanced_accuracy_after=ours, n_train=60, n_test=30,
        peak_rss_bytes=60_000_000, floor_bytes=50_000_000, seconds=1.5,
        model_sha256=hashlib.sha256(model).hexdigest(),
        **(against | {"n_rival": 30} if JOB.get("rival_path") else {}),
    )  # fmt: skip


def hog():
    held = []
    for done in range(400):
        held.append(b"x" * 4_000_000)
        say("step", done)
        time.sleep(0.005)
    finish()


def sleep_forever():
    say("load", 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)


def gentle():
    def checkpoint(*_):
        write("checkpoint.safetensors", b"saved")
        sys.exit(3)

    signal.signal(signal.SIGTERM, checkpoint)
    say("load", 0)
    time.sleep(60)


def lie():
    print("<html>not json</html>")  # noqa: T201
    write("result.json", b'{"job_id": 5')
    sys.exit(0)


def big_line():
    sys.stdout.write("x" * 3_000_000 + "\n")
    good()


def fill_disk():
    """Write until the disk is full and leave it so."""
    say("load", 0)
    try:
        with (OUT / "ballast").open("wb") as file:
            while True:
                file.write(b"x" * 65_536)
                file.flush()
    except OSError:
        finish("disk_full", 5)


def killed():
    say("load", 0)
    os.kill(os.getpid(), signal.SIGKILL)


def bomb():
    """One allocation of a gigabyte, filled at once."""
    say("load", 0)
    finish(seconds=float(len(b"x" * 1_000_000_000)))


def brood(*, leave=False):
    """Stay small and have a grandchild take the memory; ``leave``: in a session of its own."""
    if os.fork() == 0:
        if leave:
            os.setsid()
        (OUT / "grandchild").write_text(str(os.getpid()))
        held = []
        for _ in range(100):
            held.append(b"x" * 4_000_000)
            time.sleep(0.005)
        time.sleep(60)
    say("load", 0)
    time.sleep(60)


MODES = {
    "fill_disk": fill_disk,
    "killed": killed,
    "bomb": bomb,
    "brood": brood,
    "stray_brood": lambda: brood(leave=True),
    "good": good,
    "poor": lambda: good(0.6),
    "better": lambda: good(0.97),
    "surpass": lambda: again(0.93, 0.90),
    "fall_short": lambda: again(0.90, 0.93),
    "both_poor": lambda: again(0.6, 0.7),
    "nan": lambda: good(float("nan")),
    "hog": hog,
    "hang": sleep_forever,
    "gentle": gentle,
    "lie": lie,
    "big_line": big_line,
    "crash": os.abort,
    "bad_input": lambda: finish("bad_input", 2),
    "over_cap": lambda: finish("over_cap", 3),
    "diverged": lambda: finish("diverged", 4),
    "disk_full": lambda: finish("disk_full", 5),
}
dry_mode, _, full_mode = MODE.partition("+")
MODES[dry_mode if DRY or not full_mode else full_mode]()
