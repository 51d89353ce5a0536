"""Networks, lab training, export, measuring, releasing, and the one fine-tune program.

Importing this package loads nothing: the fine-tune child runs on onnxruntime and numpy alone. It
does turn off onnxruntime's telemetry, which is on by default and must be off before it is loaded.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
